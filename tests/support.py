"""What many tests need."""

import time
from pathlib import Path


def eventually(condition, timeout_s=30.0):
    """Wait until condition() is true, and fail if that takes longer than timeout_s."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def is_running(pid):
    """Whether there is such a process and it is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descriptors():
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}
