"""The RPM: what is in it, and what installing, upgrading and erasing it does to a machine."""

import hashlib
import re
import subprocess

import pytest

from tests.system.packages import ROOT, build, copy_of_sources

# As /usr/bin/observerd begins, with nothing of this machine's own packages.
IMPORT_ALL = """
import importlib.util, os, pkgutil, sys
sys.path[:0] = ["/usr/lib/observerd", "/usr/lib/observerd/vendor"]
import boto3, observerd
for module in pkgutil.walk_packages(observerd.__path__, "observerd."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
for service in sys.argv[1:]:
    assert boto3.client(service, region_name="eu-west-1").meta.service_model.operation_names
files = [each.__file__ for each in list(sys.modules.values()) if getattr(each, "__file__", None)]
ours = [each for each in files if each.startswith("/usr/lib/observerd/")]
assert not [each for each in files if "-packages/" in each], files
assert not [each for each in ours if not os.path.exists(importlib.util.cache_from_source(each))], ours
print(any("/vendor/boto3/" in each for each in ours))
"""


def test_the_same_sources_make_the_same_bytes_whoever_builds_them_and_where(package, tmp_path):
    """The source package, too: its digest is in the other."""
    sources = tmp_path / "else where"
    sources.mkdir()
    careful = ("sh", "-c", 'umask 077; exec "$@"', "sh")
    elsewhere = {
        "TZ": "Pacific/Chatham",
        "LC_ALL": "tr_TR.UTF-8",
        "HOME": "/nonexistent",
        "PYTHONHASHSEED": "7",
    }
    again = build(tmp_path / "dist", copy_of_sources(sources), careful, **elsewhere)

    assert 2 == len(digests(package))
    assert digests(package) == digests(again)


def digests(package):
    """{name: SHA-256} of the package and its source package."""
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in package.parent.glob("*.rpm")}


def query(package, *options):
    """What rpm says of the file, a line each."""
    done = subprocess.run(("rpm", "-qp", *options, package), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_it_tells_what_it_bundles_and_brings_the_licence_of_each(package):
    provided = "\n".join(query(package, "--provides"))
    bundled = set(re.findall(r"^bundled\(python3dist\((\S+)\)\) = ", provided, re.MULTILINE))
    licensed = [each.split("/") for each in query(package, "--licensefiles")]

    lock = (ROOT / "requirements/runtime.txt").read_text()
    assert set(re.findall(r"^(\S+)==", lock, re.MULTILINE)) == bundled
    assert bundled == {path[5].replace("_", "-") for path in licensed if path[6:]}
    assert ["LICENSE"] in [path[5:] for path in licensed], "our own"


def test_only_root_may_write_what_is_in_it(package):
    shape = "[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\n]"
    files = [each.split() for each in query(package, "--queryformat", shape)]
    special = {path: mode for mode, _, _, path in files if mode not in ("-rw-r--r--", "drwxr-xr-x")}

    assert {("root", "root")} == {(user, group) for _, user, group, _ in files}
    assert {"/usr/bin/observerd": "-rwxr-xr-x", "/etc/observerd/observerd.toml": "-rw-r-----"} == special


def test_the_guide_says_what_every_file_is_for(package):
    guide = (ROOT / "docs/install.md").read_text().partition("## What lies where")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in guide.splitlines() if "|" in row]
    told = [each.rstrip("/") for each in re.findall(r"`(/[^`*]+)", "\n".join(rows))]
    files = query(package, "--list")

    assert ["/etc/observerd"] == [each for each in files if not each.startswith(tuple(told))]
    assert [] == [each for each in told if not any(file.startswith(each) for file in files)]


def test_rpmlint_finds_nothing_that_has_no_reason(package):
    found = subprocess.run(
        ("rpmlint", "--config", ROOT / "packaging/rpm/rpmlint.toml", package.parent),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "2 packages and 0 specfiles checked; 0 errors, 0 warnings" in found.stdout, found.stdout


def test_everything_that_the_code_imports_and_every_client_it_makes_is_there_and_compiled(worker):
    lines = (ROOT / "packaging/rpm/botocore-services").read_text().splitlines()
    services = [line for line in lines if line and not line.startswith("#")]
    done = worker.run("/usr/bin/python3.11", "-IBS", "-c", IMPORT_ALL, *services)

    assert "True\n" == done.stdout


@pytest.mark.parametrize("unit", ["observerd.service", "observerd-failed.service", "observerd-jobs.slice"])
def test_systemd_finds_nothing_wrong_with_the_units(unit, worker):
    """It only prints what it does not know, and says that all is well. Their manual pages are found, too."""
    assert "" == worker.run("systemd-analyze", "verify", unit).stdout


@pytest.mark.parametrize(
    "name", sorted(each.name for each in (ROOT / "packaging/systemd/drop-ins").iterdir())
)
def test_systemd_finds_nothing_wrong_with_a_drop_in_where_it_says_that_it_belongs(name, worker):
    text = worker.read(f"/usr/share/doc/observerd/drop-ins/{name}")
    place = re.match(rf"# (/etc/systemd/system/([a-z.-]+)\.d/{name})[:,]", text)
    worker.write(place[1], text)
    worker.run("systemctl", "daemon-reload")

    assert "" == worker.run("systemd-analyze", "verify", place[2]).stdout
    assert place[1] in worker.unit(place[2], "DropInPaths")["DropInPaths"]


@pytest.mark.parametrize("unit", ["observerd.service", "observerd-failed.service"])
def test_the_services_are_locked_down(unit, worker):
    """2.0 of 10 at most; the threshold is in tenths."""
    done = worker.run("systemd-analyze", "security", "--threshold=20", unit, check=False)
    assert 0 == done.returncode, done.stdout
