"""Ends the jobs of a daemon that was killed itself.

A daemon that gets SIGKILL can do nothing any more, and its message comes back to the queue within the
visibility timeout: an old job still running by then would run beside its own successor. So a process of a
few hundred kilobytes waits at the other end of a pipe, is told each job's process group, and kills those
that are left when the pipe closes.
"""

import contextlib
import subprocess
import threading
import uuid

# Marks every process of a job, so that one whose group was not told of yet is found, and one that left it.
MARK = "OBSERVERD_WARDEN"

# "+ 123" adds a process group, "- 123" takes it off, "." says that the daemon leaves by itself; the end of
# the input is the end of the daemon. It outlives the signals that the daemon's own group is sent.
# The last loop waits until a job that was being started has its environment.
_SCRIPT = """
trap '' HUP INT TERM
groups=' '
while read -r sign group; do
  case $sign in
    +) groups="$groups$group " ;;
    -) groups="${groups%% $group *} ${groups#* $group }" ;;
    .) left=yes ;;
  esac
done
for group in $groups; do kill -KILL "-$group" 2>/dev/null; done
[ "$left" ] && exit
sleep 0.1
for file in $(grep -lzxF "$1" /proc/[0-9]*/environ 2>/dev/null); do
  process=${file#/proc/}
  kill -KILL "${process%/environ}" 2>/dev/null
done
"""


class Warden:
    """Started with the first job. Safe to use from the threads of many jobs."""

    def __init__(self) -> None:
        self.mark = {MARK: uuid.uuid4().hex}
        """For the environment of everything that is to end with this process."""
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """To be called before a process that bears the mark is started. Raises OSError when it cannot be."""
        with self._lock:
            self._started()

    def watch(self, group: int) -> None:
        """Have the process group killed if this process dies. Raises OSError when none can be started."""
        with self._lock:
            self._groups.add(group)
            self._tell(f"+ {group}\n")

    def forget(self, group: int) -> None:
        """To be called before the group's leader is reaped: until then the number is still ours."""
        with self._lock:
            self._groups.discard(group)
            self._tell(f"- {group}\n")

    def close(self) -> None:
        with self._lock:
            if self._process is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._write(".\n")
                self._end(self._process)
                self._process = None

    def _tell(self, line: str) -> None:
        try:
            self._write(line)
        except BrokenPipeError:
            # Somebody killed the warden. Its successor is told of every group anew.
            self._end(self._started())
            self._process = None
            self._write("".join(f"+ {group}\n" for group in self._groups))

    def _write(self, text: str) -> None:
        pipe = self._started().stdin
        assert pipe is not None  # noqa: S101 Popen was asked for a pipe
        pipe.write(text.encode())

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                ("/bin/sh", "-c", _SCRIPT, "warden", f"{MARK}={self.mark[MARK]}"),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                cwd="/",
                env={"PATH": "/usr/bin:/bin"},
                start_new_session=True,
            )
        return self._process

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None  # noqa: S101 as above
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()
