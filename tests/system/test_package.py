"""The RPM: what is in it, and what installing, upgrading and erasing it does to a machine."""

import subprocess

import pytest

from tests.system.packages import ROOT


def test_rpmlint_finds_nothing_that_has_no_reason(package):
    found = subprocess.run(
        ("rpmlint", "--config", ROOT / "packaging/rpm/rpmlint.toml", package.parent),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "2 packages and 0 specfiles checked; 0 errors, 0 warnings" in found.stdout, found.stdout


@pytest.mark.parametrize("unit", ["observerd.service", "observerd-failed.service", "observerd-jobs.slice"])
def test_systemd_finds_nothing_wrong_with_the_units(unit, worker):
    """It only prints what it does not know, and says that all is well."""
    assert "" == worker.run("systemd-analyze", "verify", "--man=no", unit).stdout


@pytest.mark.parametrize("unit", ["observerd.service", "observerd-failed.service"])
def test_the_services_are_locked_down(unit, worker):
    """2.0 of 10 at most; the threshold is in tenths."""
    done = worker.run("systemd-analyze", "security", "--threshold=20", unit, check=False)
    assert 0 == done.returncode, done.stdout
