"""What comes from elsewhere: pinned to the byte, and held against what is known to be vulnerable."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
AUDIT = ROOT / "packaging" / "rpm" / "audit.py"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_package_has_one_version_and_its_hashes(lock):
    entries = re.split(r"\n(?=\S)", lock.read_text().replace("\\\n", " ").strip())

    loose = [each for each in entries if not re.match(r"[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", each)]
    assert [] == [each for each in loose if not each.startswith("#")]


def test_nothing_is_installed_without_its_hash():
    """But for our own package, which is here."""
    installs = [
        line for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line and "@" in line
    ]

    assert installs
    assert all("--require-hashes" in line or "--editable ." in line for line in installs)


ADVISORY = """
id: PYSEC-2099-1
modified: 2099-01-02T03:04:05Z
aliases: [CVE-2099-1]
affected:
- package: {ecosystem: PyPI, name: Some-Thing}
  ranges:
  - {type: GIT, events: [{introduced: "0"}]}
  - type: ECOSYSTEM
    events: [{introduced: "0"}, {fixed: 1.10}, {introduced: 2.0rc1}, {last_affected: "2.9"}]
  versions: ["3.5"]
"""


@pytest.fixture
def audit(tmp_path):
    """audit(lock's text, advisory) is its exit status and what it says."""

    def run(lock, advisory=ADVISORY):
        directory = tmp_path / "vulns" / "some-thing"
        directory.mkdir(parents=True)
        (directory / "PYSEC-2099-1.yaml").write_text(advisory.replace("1.10", '"1.10"'))
        (tmp_path / "lock.txt").write_text(lock)
        command = (sys.executable, AUDIT, tmp_path, tmp_path / "lock.txt")
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout

    return run


@pytest.mark.parametrize("version", ["0.1", "1.9", "2.0", "2.0rc1", "2.9", "3.5"])
def test_a_vulnerable_version_is_named_with_its_advisory(version, audit):
    status, said = audit(f"other==1.0\nsome_thing=={version} \\\n    --hash=sha256:00\n")

    assert 1 == status
    assert f"lock.txt: some-thing {version}: PYSEC-2099-1 CVE-2099-1\n" in said


@pytest.mark.parametrize("version", ["1.10", "1.11", "2.0b1", "2.9.1", "3.4"])
def test_one_that_is_not_affected_passes_and_the_age_of_the_knowledge_is_told(version, audit):
    assert (
        0,
        "no locked version is known to be vulnerable (1 looked up)\nthe newest advisory is of 2099-01-02\n",
    ) == audit(f"some-thing=={version}\n")


def test_a_withdrawn_advisory_is_none(audit):
    assert 0 == audit("some-thing==1.0\n", f"{ADVISORY}withdrawn: 2099-02-01T00:00:00Z\n")[0]


def test_without_advisories_nothing_is_passed(tmp_path):
    done = subprocess.run((sys.executable, AUDIT, tmp_path, LOCKS[0]), capture_output=True, check=False)

    assert 2 == done.returncode
