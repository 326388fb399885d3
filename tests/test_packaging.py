"""What the package is made of, as far as it needs neither root nor rpm. The rest is in tests/system."""

import gzip
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from observerd import __version__
from observerd.cli import _parser
from observerd.keys import JOB_KEYS, config_keys

ROOT = Path(__file__).parent.parent
RPM, UNITS = ROOT / "packaging/rpm", ROOT / "packaging/systemd"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    into = tmp_path_factory.mktemp("pages")
    subprocess.run((sys.executable, RPM / "pages.py", into), env={"PYTHONPATH": str(ROOT)}, check=True)
    return into


def options(parser, name=""):
    """Every (command, option) of the parser."""
    for action in parser._actions:
        for word, below in (action.choices or {}).items() if action.nargs == "A..." else ():
            yield from options(below, f"{name} {word}".strip())
        if name:
            yield from ((name, flag) for flag in action.option_strings)


def page(pages, name):
    return gzip.decompress((pages / f"{name}.gz").read_bytes()).decode().replace("\\-", "-")


def test_the_manual_has_every_command_and_option(pages):
    sections = re.split(r"^\.SS ", page(pages, "observerd.8"), flags=re.MULTILINE)[1:]

    missing = [
        (command, flag)
        for command, flag in options(_parser())
        if not any(each.startswith(command) and f"\\fB{flag}\\fR" in each for each in sections)
    ]
    assert [] == missing


@pytest.mark.parametrize(
    ("name", "keys"), [("observerd.toml.5", config_keys()), ("observerd-jobs.5", JOB_KEYS)]
)
def test_the_manual_has_every_key(pages, name, keys):
    assert list(keys) == re.findall(r"^\\fB([a-z_]+)\\fR = ", page(pages, name), re.MULTILINE)


def completed(pages, *words):
    """What bash offers for these words, the last of them unfinished."""
    script = '. "$1"; shift; COMP_WORDS=(observerd "$@"); COMP_CWORD=$#; _observerd; echo "${COMPREPLY[@]}"'
    command = ("bash", "-c", script, "bash", pages / "observerd.bash", *words)
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()


def test_bash_offers_every_command(pages):
    (commands,) = [action.choices for action in _parser()._actions if action.nargs == "A..."]

    assert [*commands, "--help", "--version"] == completed(pages, "")


def test_bash_offers_every_long_option(pages):
    expected = {}
    for command, flag in options(_parser()):
        if flag.startswith("--"):
            expected.setdefault(command, set()).add(flag)

    assert expected == {command: set(completed(pages, *command.split(), "--")) for command in expected}


def test_bash_offers_files_where_a_file_is_wanted(pages):
    assert ["pyproject.toml"] == completed(pages, "run", "--config", "pyproj")
    assert [] == completed(pages, "run", "--slots", "")


def test_the_package_has_the_version_of_the_code():
    spec = (RPM / "observerd.spec").read_text()

    assert f"\nVersion:        {__version__}\n" in spec
    assert f" - {__version__}-1\n" in spec.partition("%changelog")[2]


def test_the_default_configuration_is_an_example_that_holds():
    known = set(config_keys())

    assert set(tomllib.loads((ROOT / "docs/examples/observerd.toml").read_text())) <= known


def options_of_unit(name):
    text = (UNITS / name).read_text()
    return {line for line in text.splitlines() if line and not line.startswith(("#", "["))}


def test_the_service_is_in_no_ordering_cycle_with_cloud_init():
    """cloud-final.service is after multi-user.target, which is after us."""
    (after,) = [line for line in options_of_unit("observerd.service") if line.startswith("After=")]

    assert "cloud-config.target" in after.split()
    assert "cloud-final" not in after


def test_the_package_has_the_model_of_every_service_that_is_called():
    """Without it a command works everywhere but where the package is installed."""
    lines = (RPM / "botocore-services").read_text().splitlines()
    kept = {line for line in lines if line and not line.startswith("#")}
    sources = [path.read_text() for path in (ROOT / "observerd").rglob("*.py")]
    called = {name for text in sources for name in re.findall(r'client\(\s*"([a-z-]+)"', text)}

    assert called == kept - {"signin", "sso", "sso-oidc", "sts"}
