"""The RPM: what is in it, and what installing, upgrading and erasing it does to a machine."""

import subprocess

from tests.system.packages import ROOT


def test_rpmlint_finds_nothing_that_has_no_reason(package):
    found = subprocess.run(
        ("rpmlint", "--config", ROOT / "packaging/rpm/rpmlint.toml", package.parent),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "2 packages and 0 specfiles checked; 0 errors, 0 warnings" in found.stdout, found.stdout
