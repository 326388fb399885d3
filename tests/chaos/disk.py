"""A small disk of one worker's own, which can be full."""

import os
import resource
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path

# Of its own mount namespace, so that it is gone with the last process there, whatever becomes of the tests.
# Others than root may have one where they may have a user namespace around it.
_ROOT, _OTHERS = ("unshare", "--mount"), ("unshare", "--user", "--map-current-user", "--keep-caps", "--mount")
_MOUNT = "mount -t tmpfs -o size=4m disk"
_SCRIPT = f"""
set -e
is_real=$1 disk=$2
shift 2
[ "$is_real" ] && {_MOUNT} "$disk"
mkdir "$disk/metrics"
exec "$@" >>"$disk/log" 2>&1
"""
_CHUNK = bytes(65_536)
_HALF_A_LINE_BYTES = 100


class Disk:
    """Where one process logs to, and leaves its metrics."""

    def __init__(self, directory):
        directory.mkdir()
        self._directory = directory
        self._descriptor = None
        self.is_real = bool(_namespace())
        """Where no mount is to be had it is a directory, and another trouble must do instead."""
        self.metrics = directory / "metrics"
        """As the process sees it."""
        is_real = "yes" if self.is_real else ""
        self.command = (*_namespace(), "/bin/sh", "-c", _SCRIPT, "disk", is_real, str(directory))
        """Runs another command, which logs there. Its own output ends when that begins."""

    def attach(self, pid):
        """See what the process sees, and go on when it is gone. Raises OSError when it is gone already."""
        self._descriptor = os.open(f"/proc/{pid}/root{self._directory}", os.O_RDONLY | os.O_DIRECTORY)

    def close(self):
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def path(self):
        """As we see it."""
        return Path(f"/proc/self/fd/{self._descriptor}")

    def fill(self):
        """There is room for half a line of the log, and for nothing else."""
        with (self.path / "ballast").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(_CHUNK)
        # What is left of its last block is its own.
        with (self.path / "log").open("ab", buffering=0) as log:
            room = -log.tell() % resource.getpagesize()
            log.write(b"\n" * max(0, room - _HALF_A_LINE_BYTES))

    def empty(self):
        (self.path / "ballast").unlink(missing_ok=True)


@cache
def _namespace():
    """The command that runs another in a namespace where it may mount; none where that is not to be had."""
    command = _ROOT if os.geteuid() == 0 else _OTHERS
    try:
        tried = subprocess.run((*command, *_MOUNT.split(), "/mnt"), capture_output=True, check=False)
    except OSError:
        return ()
    return command if tried.returncode == 0 else ()
