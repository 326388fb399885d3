"""Runs one command as a child and sees it, and what it started, to the end.

Only the thread that started a child signals it and reaps it. The child leads a session and a process group
of its own; the group is killed when the leader has died and before it is reaped, while its number is still
ours. A process that left the group by setsid can keep the output open for LINGER_S, and no longer.

What the end of a job is told by is handed in (Tell): a signal to a group, or a word to systemd.
"""

import contextlib
import os
import resource
import select
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from observerd import clock
from observerd.bell import Bell
from observerd.core.events import Cause
from observerd.core.run import Ended
from observerd.warden import Warden

# The size of a pipe's buffer on Linux: one read takes all there is.
CHUNK_BYTES = 65_536
LINGER_S = 2.0
# A signal that could not be sent is tried again. systemd may not have heard of the job yet.
TELL_AGAIN_S = 0.1

Tell = Callable[[int], bool]
"""Sends a signal to every process of a job; False where it has not arrived."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a command runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Command:
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str = "/"
    stdin: bytes = b""
    account: Account | None = None
    """None: whom this process runs as."""
    nice: int = 0


def run(
    command: Command,
    emit: Callable[[bytes], None],
    bell: Bell,
    warden: Warden,
    *,
    timeout_s: float,
    grace_s: float,
) -> Ended:
    """Run command until nothing of its group is left. Blocks for as long as that takes.

    emit is called with standard output and error, merged in order, in chunks of up to 64 KiB. After
    timeout_s, or when the bell rings, the group gets TERM and grace_s later KILL. Raises OSError when the
    command cannot be started.
    """
    # Before the child: a daemon killed between the two would leave it to nobody.
    warden.start()
    child = spawn(command)
    return follow(child, _group_teller(child.pid), emit, bell, warden, timeout_s=timeout_s, grace_s=grace_s)


def follow(
    child: subprocess.Popen[bytes],
    tell: Tell,
    emit: Callable[[bytes], None],
    bell: Bell,
    warden: Warden | None,
    *,
    timeout_s: float,
    grace_s: float,
) -> Ended:
    """See a child of spawn to its end, as run does. Its group is killed and reaped even if emit raises."""
    started_at = clock.now()
    try:
        if warden is not None:
            warden.watch(child.pid)
        watch = _Watch(child, tell, emit, bell, started_at + timeout_s, grace_s)
        with contextlib.closing(watch):
            watch.until_over()
    finally:
        # Not reaped yet, so the group's number is still ours to signal.
        _signal_group(child.pid, signal.SIGKILL)
        if warden is not None:
            warden.forget(child.pid)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    code = child.returncode
    return Ended(
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        cause=watch.cause,
        timed_out=watch.timed_out,
        leaked=watch.leaked,
        duration_s=clock.now() - started_at,
        cpu_s=usage.ru_utime + usage.ru_stime,
        max_rss_bytes=_peak_bytes(usage.ru_maxrss),
    )


class _Watch:
    """Waits for output, the child's death and the bell at once, with one deadline."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        tell: Tell,
        emit: Callable[[bytes], None],
        bell: Bell,
        deadline: float,
        grace_s: float,
    ) -> None:
        assert child.stdout is not None  # noqa: S101 Popen was asked for a pipe
        self.cause: Cause | None = None
        self.timed_out = False
        self.leaked = False
        self._group = child.pid
        self._send = tell
        self._emit = emit
        self._bell = bell
        self._grace_s = grace_s
        self._deadline: float | None = deadline
        self._told = False
        self._unsent: int | None = None
        self._dead = False
        self._pipe = child.stdout
        self._death = os.pidfd_open(child.pid)
        self._poll = select.poll()
        for descriptor in (self._pipe.fileno(), self._death, bell.fd):
            self._poll.register(descriptor, select.POLLIN)
        self._open = True

    def close(self) -> None:
        self._pipe.close()
        os.close(self._death)

    def until_over(self) -> None:
        while (self._open or not self._dead) and not self.leaked:
            ready = {descriptor for descriptor, _ in self._poll.poll(self._wait_ms())}
            if self._pipe.fileno() in ready:
                self._read()
            if self._death in ready:
                self._died()
            elif self._bell.fd in ready:
                self._rung()
            if self._deadline is not None and clock.now() >= self._deadline:
                self._time_up()
            if self._unsent is not None and not self._dead:
                self._signal(self._unsent)

    def _wait_ms(self) -> float | None:
        due = self._deadline
        waits_s = [] if due is None else [clock.LOOK_S, max(0.0, due - clock.now())]
        waits_s += [] if self._unsent is None or self._dead else [TELL_AGAIN_S]
        # Rounded up: a wait that ends early would spin until its deadline.
        return min(waits_s) * 1000 + 1 if waits_s else None

    def _read(self) -> None:
        chunk = os.read(self._pipe.fileno(), CHUNK_BYTES)
        if chunk:
            self._emit(chunk)
        else:
            self._poll.unregister(self._pipe.fileno())
            self._open = False

    def _died(self) -> None:
        # Background children would keep the output open, and run on unseen.
        _signal_group(self._group, signal.SIGKILL)
        self._poll.unregister(self._death)
        self._poll.unregister(self._bell.fd)
        self._dead = True
        self._deadline = clock.now() + LINGER_S

    def _rung(self) -> None:
        self._bell.heard()
        self.cause = self._bell.cause
        kill_at = clock.now() + self._grace_s if self._bell.kill_at is None else self._bell.kill_at
        if self._told and self._deadline is not None:
            kill_at = min(kill_at, self._deadline)
        self._tell(kill_at)

    def _time_up(self) -> None:
        if self._dead:
            self.leaked = True
        elif self._told:
            self._signal(signal.SIGKILL)
            self._deadline = None  # Nothing is stronger than KILL; the kernel will report the death.
        else:
            self.timed_out = True
            self._tell(clock.now() + self._grace_s)

    def _tell(self, kill_at: float) -> None:
        if not self._told:
            self._signal(signal.SIGTERM)
        self._told = True
        self._deadline = kill_at

    def _signal(self, number: int) -> None:
        self._unsent = None if self._send(number) else number


def _peak_bytes(peak_kib: int) -> int | None:
    """Linux counts in KiB, and counts in what the child was before exec: a copy of this process."""
    own_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_kib * 1024 if peak_kib > own_kib else None


def spawn(command: Command) -> subprocess.Popen[bytes]:
    """The command as a child that leads a group of its own. Raises OSError when it cannot be started."""
    stdin = _file_of(command.stdin)
    try:
        child = subprocess.Popen(
            command.argv,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=command.environment,
            cwd=command.directory,
            bufsize=0,
            umask=0o022,
            start_new_session=True,
            # Only where it differs: naming a user keeps Python from using vfork, at five times the cost.
            user=command.account.uid if command.account else None,
            group=command.account.gid if command.account else None,
            extra_groups=command.account.groups if command.account else None,
        )
    finally:
        os.close(stdin)
    if command.nice:
        # Gone already: then there is nothing to be nice about.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpriority(os.PRIO_PROCESS, child.pid, command.nice)
    return child


def _file_of(content: bytes) -> int:
    """A descriptor to read content from. A file in memory, because nobody has to feed it."""
    descriptor, done = os.memfd_create("payload", os.MFD_CLOEXEC), 0
    try:
        # Where it is said, so that the job reads from the beginning.
        while done < len(content):
            done += os.pwrite(descriptor, content[done:], done)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _group_teller(group: int) -> Tell:
    def tell(number: int) -> bool:
        _signal_group(group, number)
        return True

    return tell


def _signal_group(group: int, number: int) -> None:
    # Nobody left in it, or (PermissionError) only processes that changed their user.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
