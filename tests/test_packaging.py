"""What the package is made of, as far as it needs neither root nor rpm. The rest is in tests/system."""

import ast
import gzip
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from observerd import __version__
from observerd.cli import _parser
from observerd.core.lease import LAST_SHARE
from observerd.core.units import duration_s
from observerd.keys import JOB_KEYS, Config, config_keys

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
        if flag not in ("-h", "--help")
        if not any(each.split()[0] == command and f"\\fB{flag}\\fR" in each for each in sections)
    ]
    assert [] == missing
    assert ["dlq", "list|show|retry|drop", "[RUN", "...]"] in [
        each.partition("\n")[0].split() for each in sections
    ]


@pytest.mark.parametrize("name", ["observerd.8", "observerd.toml.5", "observerd-jobs.5"])
def test_troff_finds_nothing_wrong_with_a_page(name, pages):
    source = gzip.decompress((pages / f"{name}.gz").read_bytes())
    done = subprocess.run(
        ("groff", "-man", "-Tutf8", "-ww", "-rLL=100n"), input=source, capture_output=True, check=True
    )
    assert b"" == done.stderr


@pytest.mark.parametrize(
    ("name", "keys"), [("observerd.toml.5", config_keys()), ("observerd-jobs.5", JOB_KEYS)]
)
def test_the_manual_has_every_key(pages, name, keys):
    assert list(keys) == re.findall(r"^\\fB([a-z_]+)\\fR = ", page(pages, name), re.MULTILINE)


@pytest.fixture(scope="module")
def shells(pages, tmp_path_factory):
    """The environment in which the three shells complete, and `observerd jobs` knows two."""
    bin_directory = tmp_path_factory.mktemp("bin")
    jobs = "echo JOB SCHEDULE; echo nightly-feed -; echo tidy -"
    (bin_directory / "observerd").write_text(f'#!/bin/sh\n[ "$1" = jobs ] && {{ {jobs}; }}\n')
    (bin_directory / "observerd").chmod(0o755)
    # zsh looks for a function's name.
    (pages / "_observerd").write_text((pages / "observerd.zsh").read_text())
    home = tmp_path_factory.mktemp("home")
    (home / ".zshrc").write_text(ZSHRC)
    return {"PATH": f"{bin_directory}:/usr/bin:/bin", "HOME": str(home), "PAGES": str(pages), "TERM": "dumb"}


BASH = """
. "$PAGES/observerd.bash"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_observerd
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = """
source $PAGES/observerd.fish
complete --do-complete "$argv" | string split --fields 1 \\t
"""
# zsh completes on a terminal alone. There it writes down what it would offer, and ends.
ZSH = """
zmodload zsh/zpty
zpty shell zsh -i
zpty -w -n shell "$*"$'\\C-x'
while zpty -r shell said; do :; done
"""
ZSHRC = """
fpath=($PAGES $fpath)
autoload -Uz compinit
compinit -u -d $HOME/dump
compadd() {
    local -a found
    # These flags ask, and offer nothing.
    [[ ${@[1,(i)(-|--)]} == *-(O|A|D)* ]] || {
        builtin compadd -A found "$@"
        print -rl -- $found >>$HOME/offered
    }
    builtin compadd "$@"
}
finish() { zle complete-word; exit; }
zle -N finish
bindkey '^X' finish
"""


def completed(shell, shells, *words):
    """What the shell offers for these words, the last of them unfinished."""
    words = ("observerd", *words)
    command = {
        "bash": ("bash", "-c", BASH, "bash", *words),
        "fish": ("fish", "--no-config", "-c", FISH, " ".join(words)),
        "zsh": ("zsh", "-f", "-c", ZSH, "zsh", *words),
    }[shell]
    offered = Path(shells["HOME"], "offered")
    offered.unlink(missing_ok=True)
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=shells, timeout=60
    )
    assert "" == done.stderr
    return offered.read_text().split() if offered.exists() else done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["exec", ""], ["nightly-feed", "tidy"]),
        (["why", "t"], ["tidy"]),
        (["simulate", "--design", ""], ["observerd", "seed"]),
        (["run", "--config", "pyproj"], ["pyproject.toml"]),
        (["prove", "pyproj"], ["pyproject.toml"]),
        (["run", "--slots", ""], []),
        (["import-crontab", "--out", "docs/exam"], ["examples"]),
        (["dlq", "re"], ["retry"]),
    ],
    ids=" ".join,
)
def test_a_shell_offers_what_may_stand_there(shell, words, expected, shells):
    assert expected == sorted(Path(each).name for each in completed(shell, shells, *words))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_offers_every_command(shell, shells):
    (commands,) = [action.choices for action in _parser()._actions if action.nargs == "A..."]

    assert set(commands) <= set(completed(shell, shells, ""))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_offers_every_long_option(shell, shells):
    expected = {}
    for command, flag in options(_parser()):
        if flag.startswith("--"):
            expected.setdefault(command, set()).add(flag)

    assert expected == {command: set(completed(shell, shells, command, "--")) for command in expected}


def test_bash_completes_a_value_behind_an_equals_sign(shells):
    assert ["seed"] == completed("bash", shells, "simulate", "--design", "=", "se")
    assert ["observerd", "seed"] == sorted(completed("bash", shells, "simulate", "--design", "="))


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


def test_the_watchdog_and_a_jobs_end_after_it_come_within_the_shortest_rest_of_a_lease():
    """Two thirds of it are left when all is well. A stopped daemon hears nothing but KILL, after ABRT."""
    options = dict(line.split("=", 1) for line in options_of_unit("observerd.service"))
    lease_s = Config().visibility_timeout_s

    killed_s = duration_s(options["WatchdogSec"]) + duration_s(options["TimeoutAbortSec"])
    assert killed_s + lease_s / LAST_SHARE <= lease_s * 2 / 3


def clients_made():
    """The first argument of each call that makes a client, in all of our code."""
    for path in (ROOT / "observerd").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("client", "create_client"):
                yield ast.unparse(node.args[0])


def test_the_package_has_the_model_of_every_service_that_is_called():
    """Without it a command works everywhere but where the package is installed."""
    lines = (RPM / "botocore-services").read_text().splitlines()
    kept = {line for line in lines if line and not line.startswith("#")}
    # `service` is what a caller of ours has named.
    called = {ast.literal_eval(each) for each in clients_made() if each != "service"}

    assert called == kept - {"signin", "sso", "sso-oidc", "sts"}
