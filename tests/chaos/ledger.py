"""The jobs of the chaos tests, and the ledger that they write: what really ran, whatever the daemon says.

`python ledger.py LEDGER KIND` is a job. Each record carries the hash of the one before it, made with a key
that only jobs are given, so that none can be lost, changed or slipped in unnoticed; a Notary looks on, so
that none can be taken off the end. A record is 256 bytes: a page holds whole ones, and the kernel does not
stop a write within a page, so that a job killed while it writes tears none.

While it works a job holds a lock of its message's. The kernel lets go of it when the process is gone, and not
before: whoever finds it held has a twin, and says so.
"""

import fcntl
import hashlib
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

RECORD_BYTES = 256
BEGIN, TICK, END, TWIN = "begin", "tick", "end", "twin"
KEY = "SEAL_KEY"
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


def read(path, key):
    """Every entry, in the order of writing. Raises Tampered."""
    content = Path(path).read_bytes()
    records = [content[start : start + RECORD_BYTES] for start in range(0, len(content), RECORD_BYTES)]
    before = b""
    for place, record in enumerate(records):
        if len(record) < RECORD_BYTES or record.split()[0] != _link(before, key):
            raise Tampered(f"record {place} does not follow the one before it: {record!r}")
        before = record
    return [_entry(record.decode().split()) for record in records]


class Notary:
    """Looks at a ledger again and again: what it has seen is there to stay."""

    def __init__(self, path):
        self._path = path
        self._seen, self._last = 0, b""

    def look(self):
        """Raises Tampered."""
        with self._path.open("rb") as file:
            file.seek(max(0, self._seen - RECORD_BYTES))
            if file.read(min(self._seen, RECORD_BYTES)) != self._last:
                raise Tampered(f"what was there of the first {self._seen} bytes is gone")
            rest = file.read()
        # A record that is being written is for the next look.
        whole = len(rest) - len(rest) % RECORD_BYTES
        if whole:
            self._seen, self._last = self._seen + whole, rest[whole - RECORD_BYTES : whole]


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
    key = bytes.fromhex(os.environ[KEY])
    return b" ".join([_link(before, key), *(fact.encode() for fact in facts)]).ljust(RECORD_BYTES - 1) + b"\n"


def _link(record, key):
    return hashlib.blake2b(record, key=key, digest_size=32).hexdigest().encode()


def _entry(fields):
    _, at, message_id, attempt, pid, worker, what = fields
    return Entry(float(at), message_id, int(attempt), int(pid), worker, what)


def work(path, kind):
    """Do the job; its exit status."""
    print(f"{kind} begins")  # noqa: T201 what a job says
    write(path, BEGIN)
    lock = Path(path).with_name(os.environ["OBSERVERD_MESSAGE_ID"]).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        write(path, TWIN)
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
