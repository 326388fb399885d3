"""The jobs of the chaos tests, and the ledger that they write: what really ran, whatever the daemon says.

`python ledger.py LEDGER KIND` is a job. Each record carries the hash of the one before it, so that none can
be lost, changed or slipped in unnoticed. A record is 256 bytes: a page holds whole ones, and
the kernel does not stop a write within a page, so that a job killed while it writes tears none.
"""

import fcntl
import hashlib
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

RECORD_BYTES = 256
BEGIN, TICK, END = "begin", "tick", "end"
TICK_S = 0.1
# How long each kind of job works, and what it answers. "flaky" fails until its third attempt.
WORK_S = {"quick": 0.0, "slow": 1.0, "long": 6.0}
EXIT_CODE = {"failing": 1, "refusing": 64, "flaky": 1}


class Entry(NamedTuple):
    at: float
    """By the monotonic clock, which all processes of a machine share."""
    message_id: str
    attempt: int
    pid: int
    worker: str
    what: str


class Tampered(Exception):
    """The ledger is not what its writers have left."""


def read(path):
    """Every entry, in the order of writing. Raises Tampered."""
    content = Path(path).read_bytes()
    records = [content[start : start + RECORD_BYTES] for start in range(0, len(content), RECORD_BYTES)]
    before = b""
    for place, record in enumerate(records):
        if len(record) < RECORD_BYTES or record.split()[0] != _link(before):
            raise Tampered(f"record {place} does not follow the one before it: {record!r}")
        before = record
    return [_entry(record.decode().split()) for record in records]


def write(path, what):
    """Add a record of this process. Blocks while another one writes."""
    with Path(path).open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - RECORD_BYTES))
        os.pwrite(file.fileno(), _record(file.read(), what), end)


def _record(before, what):
    own = [os.environ[f"OBSERVERD_{name}"] for name in ("MESSAGE_ID", "ATTEMPT")]
    facts = [f"{time.monotonic():.6f}", *own, str(os.getpid()), os.environ["WORKER"], what]
    return b" ".join([_link(before), *(fact.encode() for fact in facts)]).ljust(RECORD_BYTES - 1) + b"\n"


def _link(record):
    return hashlib.sha256(record).hexdigest().encode()


def _entry(fields):
    _, at, message_id, attempt, pid, worker, what = fields
    return Entry(float(at), message_id, int(attempt), int(pid), worker, what)


def work(path, kind):
    """Do the job; its exit status."""
    print(f"{kind} begins")  # noqa: T201 what a job says
    write(path, BEGIN)
    ends_at = time.monotonic() + WORK_S.get(kind, 0.0)
    while time.monotonic() < ends_at:
        time.sleep(TICK_S)
        write(path, TICK)
    status = EXIT_CODE.get(kind, 0)
    if kind == "flaky" and int(os.environ["OBSERVERD_ATTEMPT"]) > 2:
        status = 0
    # Only success is an end: it must not come twice.
    if status == 0:
        write(path, END)
    return status


if __name__ == "__main__":
    sys.exit(work(*sys.argv[1:]))
