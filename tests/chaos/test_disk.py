"""The disk of a worker is full when it is said to be, and then it is not."""

import subprocess

import pytest

from tests.chaos.disk import Disk
from tests.support import eventually

# Says how each line's writing went, where there is room for that.
TALKER = 'while read -r line; do echo "$line" || echo refused >&3; done'


@pytest.fixture
def disk(tmp_path):
    made = Disk(tmp_path / "disk")
    if not made.is_real:
        pytest.skip("no mount is to be had")
    yield made
    made.close()


def test_a_full_disk_refuses_what_is_written_until_it_is_emptied(disk, tmp_path):
    refusals = tmp_path / "refusals"
    command = (*disk.command, "/bin/sh", "-c", f"{TALKER} 3>{refusals}")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as talker:
        assert b"" == talker.stdout.read(), "its output is the disk's"
        disk.attach(talker.pid)
        _say(talker, "before")
        eventually(lambda: (disk.path / "log").read_text() == "before\n")
        disk.fill()
        _say(talker, "x" * 200)
        eventually(lambda: refusals.read_text() == "refused\n")
        disk.empty()
        _say(talker, "after")
        talker.stdin.close()
        assert 0 == talker.wait(30)

    *_, torn = (disk.path / "log").read_text().split("\n")[:-1]
    assert torn == "x" * 100 + "after", "and it outlives who wrote there"
    assert not (tmp_path / "disk" / "log").exists(), "nobody else's disk"


def _say(talker, line):
    talker.stdin.write(f"{line}\n".encode())
