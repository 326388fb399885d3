"""Ends the jobs of a daemon that was killed itself, or that hangs beyond its leases.

A daemon that gets SIGKILL can do nothing any more, and its message comes back to the queue within the
visibility timeout: an old job still running by then would run beside its own successor. So a process of a
few hundred kilobytes waits at the other end of a pipe, is told each job's process group, and kills those
that are left when the pipe closes. A daemon that is stopped (SIGSTOP, a debugger) keeps the pipe open and its
jobs running: so it says, again and again, how long its leases last, and is not waited for any longer.
"""

import contextlib
import subprocess
import threading
import uuid

from observerd import clock

# Marks every process of a job, so that one whose group was not told of yet is found, and one that left it.
MARK = "OBSERVERD_WARDEN"

# The time since the boot, suspensions included: clock.now() for a shell.
_UPTIME = "/proc/uptime"

# A fuse counts in hundredths, and both the time it is given and the time it reads are rounded down.
EARLY_S = 0.02

# "+ 123" adds a process group, "- 123" takes it off, "! 8000" ends all of them in 80 s, unless it is said
# again, "." says that the daemon leaves by itself; the end of the input is the end of the daemon. It outlives
# the signals that the daemon's own group is sent. A fuse looks at the clock every five seconds, because sleep
# does not count a suspension; one that is put out leaves its sleep behind, which does nothing more. The
# marked are looked for when a job that was being started has its environment. On a machine that is short of
# time that takes a while, so those of a dead daemon are looked for again and again, for ten seconds.
_SCRIPT = """
trap '' HUP INT TERM
mark=$1 uptime=$2
groups=' '
look() {
  read -r now _ <"$uptime"
  now=$((${now%.*} * 100 + 1${now#*.} - 100))
}
burn() {
  while look; rest=$((end - now)); [ "$rest" -gt 0 ]; do
    [ "$rest" -gt 500 ] && rest=500
    sleep "$((rest / 100)).$((rest / 10 % 10))$((rest % 10))"
  done
  end_groups
  end_marked 0.1
}
end_groups() { for group in $groups; do kill -KILL "-$group" 2>/dev/null; done; }
end_marked() {
  sleep "$1"
  for file in $(grep -lzxF "$mark" /proc/[0-9]*/environ 2>/dev/null); do
    process=${file#/proc/}
    kill -KILL "${process%/environ}" 2>/dev/null
  done
}
while read -r sign what; do
  case $sign in
    +) groups="$groups$what " ;;
    -) groups="${groups%% $what *} ${groups#* $what }" ;;
    !) [ "$fuse" ] && kill -KILL "$fuse" 2>/dev/null
       look
       end=$((now + what))
       burn & fuse=$! ;;
    .) left=yes ;;
  esac
done
[ "$fuse" ] && kill -KILL "$fuse" 2>/dev/null
end_groups
[ "$left" ] || for pause in 0.1 0.4 1.5 3 5; do end_marked "$pause"; done
"""


class Warden:
    """Started with the first job. Safe to use from the threads of many jobs."""

    def __init__(self) -> None:
        self.mark = {MARK: uuid.uuid4().hex}
        """For the environment of everything that is to end with this process."""
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._expected_at: float | None = None
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

    def expect(self, within_s: float) -> None:
        """Have every group killed unless this is called again in that time. Raises OSError as watch does."""
        with self._lock:
            self._expected_at = clock.now() + within_s
            if self._process is not None:
                self._tell(self._expectation())

    def is_overdue(self) -> bool:
        """Whether what was expected has not come, and every group has been killed, or is about to be."""
        return self._expected_at is not None and clock.now() >= self._expected_at - EARLY_S

    def close(self) -> None:
        with self._lock:
            if self._process is not None:
                with contextlib.suppress(BrokenPipeError):
                    _write(self._process, ".\n")
                self._end(self._process)
                self._process = None

    def _tell(self, line: str) -> None:
        if self._process is not None:
            try:
                _write(self._process, line)
            except BrokenPipeError:
                # Somebody killed the warden. Its successor is told of everything anew.
                self._end(self._process)
                self._process = None
        self._started()

    def _started(self) -> None:
        if self._process is None:
            self._process = subprocess.Popen(
                ("/bin/sh", "-c", _SCRIPT, "warden", f"{MARK}={self.mark[MARK]}", _UPTIME),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                cwd="/",
                env={"PATH": "/usr/bin:/bin"},
                start_new_session=True,
            )
            _write(self._process, self._expectation() + "".join(f"+ {group}\n" for group in self._groups))

    def _expectation(self) -> str:
        if self._expected_at is None:
            return ""
        return f"! {max(0, int((self._expected_at - clock.now()) * 100))}\n"

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None  # noqa: S101 as above
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()


def _write(process: subprocess.Popen[bytes], text: str) -> None:
    assert process.stdin is not None  # noqa: S101 Popen was asked for a pipe
    process.stdin.write(text.encode())
