"""The daemon in the background, for hosts without systemd: python-daemon and a locked pidfile."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import daemon


class AlreadyRunning(Exception):
    """Somebody holds the lock on the pidfile. The text is one line for people."""


@contextmanager
def detached(pidfile: Path, log_file: Path) -> Iterator[None]:
    """Go to the background; standard output and error go to log_file.

    To be entered before the first thread and the first client: it forks, and closes every descriptor. The
    lock is taken before that, so that a second start is refused on the terminal. Raises AlreadyRunning, and
    OSError when a file cannot be opened.
    """
    with open(pidfile, "a+", opener=_private) as lock, open(log_file, "a", opener=_readable) as log:
        _take(lock.fileno(), pidfile)
        context = daemon.DaemonContext(
            detach_process=True,
            files_preserve=[lock],
            stdout=log,
            stderr=log,
            umask=0o027,
            working_directory="/",
            # It would take core dumps from every job, too.
            prevent_core=False,
        )
        with context:
            # The lock, not the file, says that we run: the kernel drops it with the process, however it ends.
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield


def _private(path: str, flags: int) -> int:
    # Who may read a file may lock it, and so keep the next start out.
    return os.open(path, flags, 0o600)


def _readable(path: str, flags: int) -> int:
    # By the group of administrators; without CloudWatch the output of jobs is in it.
    return os.open(path, flags, 0o640)


def _take(descriptor: int, pidfile: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = pidfile.read_text().strip() or "unknown"
        raise AlreadyRunning(f"already running as process {pid} ({pidfile} is locked)") from None
