"""The RPM: what is in it, and what installing, upgrading and erasing it does to a machine."""

import subprocess

import pytest

from tests.system.packages import ROOT

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
    """It only prints what it does not know, and says that all is well."""
    assert "" == worker.run("systemd-analyze", "verify", "--man=no", unit).stdout


@pytest.mark.parametrize("unit", ["observerd.service", "observerd-failed.service"])
def test_the_services_are_locked_down(unit, worker):
    """2.0 of 10 at most; the threshold is in tenths."""
    done = worker.run("systemd-analyze", "security", "--threshold=20", unit, check=False)
    assert 0 == done.returncode, done.stdout
