"""Jobs as transient units: each with its own user, cgroup, limits and sandbox, whatever the daemon's own.

systemd-run starts the unit and waits for it; the job writes to our pipe itself. Its exit status is not
enough: a unit that was stopped, or whose process TERM killed, ends with 0. So systemd records how the run
ended in a file of ours (ExecStopPost), and that it was asked to stop while the job ran (ExecStop).

Every unit is bound to an anchor, a unit that ends when this process does, however it does. Not to
observerd.service: BindsTo passes a stop on at once, and `systemctl stop` would kill the jobs that the daemon
means to drain.
"""

import os
import pwd
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from observerd import process
from observerd.bell import Bell
from observerd.core.events import Cause
from observerd.core.run import DEFAULT_PATH, Ended, Run, environment
from observerd.executors import SYSTEMD_RUN
from observerd.executors.account import account_of, login_environment

SLICE = "observerd-jobs.slice"
SYSTEMCTL = "/usr/bin/systemctl"
# PID 1 answers in milliseconds, or something is wrong that more patience does not mend.
ANSWER_S = 10.0
AGAIN_S = 1.0
# systemctl's exit status for a unit that it does not know.
_NO_SUCH_UNIT = 5
# Below this a busy machine might not even run the commands that record a run's end.
STOP_LEAST_S = 5.0
# The daemon's own deadline ends a job. systemd's is for a daemon that lives and does not act.
BELT_S = 60.0
# systemd-run's own complaint is that long at most.
_WORDS = 500

_OWN_ENVIRONMENT = {
    "PATH": DEFAULT_PATH,
    "LC_ALL": "C.UTF-8",
    "SYSTEMD_LOG_TARGET": "console",
    "SYSTEMD_COLORS": "0",
}

# Where the instance metadata service is: it hands out the credentials of the instance's role.
_METADATA = "169.254.169.254 fd00:ec2::254"

# What cronie's own unit has, and so what jobs written for cron are known to bear.
_SANDBOX = ("PrivateTmp=yes", "ProtectControlGroups=yes", "ProtectProc=invisible")
# The rest of it only for root: on others it would imply NoNewPrivileges, and break sudo and sendmail.
_SANDBOX_OF_ROOT = (
    "LockPersonality=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "ProtectKernelModules=yes",
    "RestrictRealtime=yes",
)

# ExecStop runs when the job has ended by itself, too; then it has no main process any more.
_NOTE_STOP = '[ -z "$MAINPID" ] || : >"$1"'
# No program but the shell: this is a part of every run's duration. 0:: is the unified hierarchy.
_RECORD = """
exec 2>/dev/null
while IFS=: read -r number _ path; do [ "$number" = 0 ] && group=/sys/fs/cgroup$path; done </proc/self/cgroup
while read -r key value; do [ "$key" = usage_usec ] && cpu=$value; done <"$group/cpu.stat"
while read -r key value; do [ "$key" = oom_kill ] && kills=$value; done <"$group/memory.events"
read -r peak <"$group/memory.peak"
echo "$SERVICE_RESULT ${EXIT_CODE:--} ${EXIT_STATUS:--} ${cpu:--} ${peak:--} ${kills:--}" >"$1"
"""

# systemd's own exit statuses for what goes wrong between fork and exec (systemd.exec(5)).
_BEFORE_EXEC = {
    203: "cannot start {program!r}",
    216: "cannot take its groups",
    217: "cannot take its user",
    219: "cannot set up its cgroup",
    226: "cannot set up its sandbox",
    228: "cannot set up its system call filter",
}
# env(1) enters the directory (WorkingDirectory= would be ExecStopPost's too, which fails where it is
# missing), and finds a program that this process cannot see because its own sandbox hides it.
_ENV = "/usr/bin/env"
_NO_DIRECTORY = 125
_NOT_BY_ENV = {126: "Permission denied", 127: "No such file or directory"}


class SystemdExecutor:
    """default_user is whom a job runs as that names no user; stop_most_s how long one may take to end after
    TERM when not the daemon ends it: it died, or the machine is going down."""

    def __init__(
        self,
        default_user: str,
        common_environment: Mapping[str, str],
        stop_most_s: float,
        environ: Mapping[str, str],
    ) -> None:
        self._default_user = default_user
        self._common = common_environment
        self._stop_most_s = stop_most_s
        self._directory = _own_directory(environ)
        (self._directory / "note-stop").write_text(_NOTE_STOP)
        (self._directory / "record").write_text(_RECORD)
        self._anchor = _Anchor()

    def run(self, run: Run, emit: Callable[[bytes], None], bell: Bell) -> Ended:
        """See Executor.run."""
        try:
            entry = account_of(run, self._default_user)
        except LookupError as fault:
            return Ended(fault=str(fault.args[0]))
        unit = _Unit(f"observerd-job-{run.job.name}-{run.request.run_id}-{uuid.uuid4().hex[:8]}.service")
        files = _Files(self._directory, unit.name)
        told = {**login_environment(entry), **environment(run, self._common)}
        try:
            files.write_environment(told)
            return self._run(run, entry, _Program(run, told["PATH"]), unit, files, emit, bell)
        finally:
            files.remove()

    def hold(self, for_s: float) -> None:
        """Nothing: systemd's watchdog kills a daemon that hangs, and the anchor ends its jobs."""

    def close(self) -> None:
        self._anchor.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _run(
        self,
        run: Run,
        entry: pwd.struct_passwd,
        program: "_Program",
        unit: "_Unit",
        files: "_Files",
        emit: Callable[[bytes], None],
        bell: Bell,
    ) -> Ended:
        words = _FirstWords(emit)
        anchor = self._anchor.hold()
        options = [*unit_options(run, entry, anchor, self._stop_s(run)), *files.options()]
        child = process.spawn(_systemd_run(unit.name, options, program.argv, run.request.payload.encode()))
        tell = _Teller(unit.name, child.pid)
        try:
            ended = process.follow(
                child, tell, words, bell, None, timeout_s=run.job.timeout_s, grace_s=run.job.grace_s
            )
        finally:
            if files.record() is None:
                # It was never started, or systemd-run was killed or lost its connection: it may run on.
                unit.end(self._stop_s(run) + ANSWER_S)
        # Neither is the job's fault: nothing can be started any more, or not bound to this anchor.
        refused = files.record() is None and (_is_going_down() or self._anchor.has_ended(anchor))
        stopped = files.was_stopped() or refused
        return concluded(ended, files.record(), words.text(), program.fault, stopped=stopped)

    def _stop_s(self, run: Run) -> float:
        return max(STOP_LEAST_S, min(run.job.grace_s, self._stop_most_s))


class Record(NamedTuple):
    """What ExecStopPost wrote. None where the kernel does not tell."""

    result: str
    code: str
    status: str
    cpu_us: int | None
    peak_bytes: int | None
    oom_kills: int | None

    @classmethod
    def read(cls, text: str) -> "Record":
        result, code, status, *numbers = text.split()
        return cls(result, code, status, *(None if each == "-" else int(each) for each in numbers))


def concluded(
    ended: Ended,
    record: Record | None,
    words: str,
    fault_of: Callable[[int], str | None],
    *,
    stopped: bool,
) -> Ended:
    """How the job ended, where ended tells of systemd-run alone. words are the first that were put out;
    fault_of tells why there was no job, where an exit status means that; stopped: by others than us.

    Only what systemd calls a success, and nobody asked to stop, has succeeded.
    """
    if record is None:
        last = words.strip().rpartition("\n")[2]
        told = Ended(fault=f"systemd did not run it: {last or 'no reason was given'}")
    else:
        told = _told(record, fault_of)
    by_us = ended.cause is not None or ended.timed_out
    return replace(
        told,
        cause=Cause.OUTSIDE if stopped and not by_us else ended.cause,
        timed_out=ended.timed_out or (record is not None and record.result == "timeout" and not stopped),
        leaked=ended.leaked,
        duration_s=ended.duration_s,
        cpu_s=record.cpu_us / 1_000_000 if record and record.cpu_us is not None else None,
        max_rss_bytes=record.peak_bytes if record else None,
    )


def _told(record: Record, fault_of: Callable[[int], str | None]) -> Ended:
    oom = record.result == "oom-kill" or bool(record.oom_kills)
    if record.code in ("killed", "dumped"):
        return Ended(signal=_signal_number(record.status), out_of_memory=oom)
    if record.code != "exited":
        return Ended(fault=f"systemd did not run it: {record.result}")
    status = int(record.status)
    if status == 0 and record.result not in ("success", "timeout"):
        return Ended(fault=f"its unit failed: {record.result}", out_of_memory=oom)
    fault = fault_of(status)
    return Ended(fault=fault) if fault else Ended(exit_code=status, out_of_memory=oom)


def _signal_number(name: str) -> int:
    """From systemd's names: "KILL", "RTMIN+3"."""
    base, _, offset = name.partition("+")
    return int(signal.Signals[f"SIG{base}"]) + int(offset or 0)


def _own_directory(environ: Mapping[str, str]) -> Path:
    """An empty one that only root can enter."""
    # The daemon's unit has one, and its sandbox lets it write nowhere else.
    if "RUNTIME_DIRECTORY" not in environ:
        return Path(tempfile.mkdtemp(prefix="observerd-jobs-", dir="/run"))
    directory = Path(environ["RUNTIME_DIRECTORY"].split(":")[0], "jobs")
    # A daemon that was killed left it.
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    return directory


class _Files:
    """What belongs to one run in the executor's directory, which nobody but root can enter."""

    def __init__(self, directory: Path, name: str) -> None:
        self._environment, self._record, self._stop = (
            directory / f"{name}.{what}" for what in ("environment", "record", "stop")
        )

    def write_environment(self, variables: Mapping[str, str]) -> None:
        """A file, because everybody may read the properties of a unit and the arguments of a process."""
        lines = (f'{name}="{_escaped(value)}"\n' for name, value in variables.items())
        self._environment.write_text("".join(lines))

    def options(self) -> list[str]:
        # As root and outside of the sandbox, but not by the prefix "+": systemd 252 keeps such a command in
        # the unit's file as ExecStopPostEx=, which it does not know at the next systemctl daemon-reload. Nor
        # does it read a script's text again as it was, so the scripts are files.
        directory = self._record.parent
        return [
            f"EnvironmentFile={self._environment}",
            "PermissionsStartOnly=yes",
            f"ExecStop=/bin/sh {directory / 'note-stop'} {self._stop}",
            f"ExecStopPost=/bin/sh {directory / 'record'} {self._record}",
        ]

    def record(self) -> Record | None:
        with suppress(FileNotFoundError, ValueError, TypeError):
            return Record.read(self._record.read_text())
        return None

    def was_stopped(self) -> bool:
        return self._stop.exists()

    def remove(self) -> None:
        for file in (self._environment, self._record, self._stop):
            file.unlink(missing_ok=True)


class _Unit:
    def __init__(self, name: str) -> None:
        self.name = name

    def end(self, timeout_s: float) -> None:
        """Blocks until there is no such unit any more.

        A PID 1 that does not answer is asked again and again: while the job may run its message must be held.
        """
        while _systemctl("stop", self.name, timeout_s=timeout_s)[0] not in (0, _NO_SUCH_UNIT):
            time.sleep(AGAIN_S)


class _Teller:
    """Signals every process of a unit. waiter is the process group of the systemd-run that waits for it."""

    def __init__(self, unit: str, waiter: int) -> None:
        self._unit = unit
        self._waiter = waiter
        self._patient_until: float | None = None

    def __call__(self, number: int) -> bool:
        # --fail: a unit that has no process yet is no success. It will have one, and has to be told then.
        if _systemctl("kill", "--fail", f"--signal={number}", self._unit, timeout_s=ANSWER_S)[0] == 0:
            return True
        return number == signal.SIGKILL and self._is_over()

    def _is_over(self) -> bool:
        """A unit that KILL cannot reach for so long is not waited for; it is stopped."""
        now = time.monotonic()
        self._patient_until = self._patient_until or now + ANSWER_S
        if now < self._patient_until:
            return False
        with suppress(ProcessLookupError):
            os.killpg(self._waiter, signal.SIGKILL)
        return True


class _Anchor:
    """The unit that jobs are bound to. Its end of a pipe closes when this process dies; then it ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._name = ""

    def hold(self) -> str:
        """Its name; it is active. Raises OSError when systemd does not start it."""
        with self._lock:
            # Somebody stopped it, and with it every job: the next ones need another.
            if self._process is not None and self._process.poll() is not None:
                self._end()
            if self._process is None:
                self._start()
            return self._name

    def has_ended(self, name: str) -> bool:
        """Whether the anchor of that name has, which hold gave. Blocks for a moment where it has not."""
        with self._lock:
            if self._process is None or self._name != name:
                return True
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(AGAIN_S)
            return self._process.poll() is not None

    def close(self) -> None:
        with self._lock:
            self._end()

    def _start(self) -> None:
        self._name = f"observerd-anchor-{uuid.uuid4().hex[:8]}.service"
        options = [
            f"Description=Ends the jobs of observerd with process {os.getpid()}",
            "OOMScoreAdjust=-900",
        ]
        command = _systemd_run(self._name, options, ("/bin/sh", "-c", "echo up; exec cat"))
        self._process = subprocess.Popen(
            command.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=command.environment,
            cwd="/",
            bufsize=0,
            start_new_session=True,
        )
        words = self._first_words()
        if words != b"up\n":
            self._end()
            raise OSError(f"systemd did not start {self._name}: {words.decode(errors='replace').strip()}")

    def _first_words(self) -> bytes:
        assert self._process is not None  # noqa: S101 just started
        assert self._process.stdout is not None  # noqa: S101 Popen was asked for a pipe
        readable, _, _ = select.select([self._process.stdout], [], [], ANSWER_S)
        return self._process.stdout.read(_WORDS) if readable else b"no answer"

    def _end(self) -> None:
        if self._process is None:
            return
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None  # noqa: S101 Popen was asked for both
            pipe.close()
        try:
            self._process.wait(ANSWER_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class _FirstWords:
    """Passes output on, and remembers its beginning: what systemd-run says where it could start nothing."""

    def __init__(self, emit: Callable[[bytes], None]) -> None:
        self._emit = emit
        self._words = b""

    def __call__(self, chunk: bytes) -> None:
        if len(self._words) < _WORDS:
            self._words += chunk[:_WORDS]
        self._emit(chunk)

    def text(self) -> str:
        return self._words.decode(errors="replace")


def unit_options(run: Run, entry: pwd.struct_passwd, anchor: str, stop_s: float) -> list[str]:
    """The properties of a run's unit, as "Name=value"."""
    job = run.job
    options = [
        f"Description={job.name}, run {run.request.run_id}, attempt {run.message.receive_count}",
        f"BindsTo={anchor}",
        f"After={anchor}",
        f"User={entry.pw_name}",
        f"Nice={job.nice}",
        "UMask=0022",
        # The job's end is the end of all it started, as with the direct executor.
        "KillMode=mixed",
        # One that lives on without a part of it that the kernel killed might report a success.
        "OOMPolicy=kill",
        f"TimeoutStopSec={stop_s:g}",
        f"RuntimeMaxSec={job.timeout_s + job.grace_s + BELT_S:g}",
    ]
    options += [f"{name}={value}" for name, value in _limits(run) if value is not None]
    if job.sandbox:
        options += (*_SANDBOX, *(_SANDBOX_OF_ROOT if entry.pw_uid == 0 else ()))
    if not job.metadata_access:
        options.append(f"IPAddressDeny={_METADATA}")
    return options


def _limits(run: Run) -> tuple[tuple[str, str | int | None], ...]:
    job = run.job
    return (
        ("MemoryMax", job.memory_max),
        ("TasksMax", job.tasks_max),
        ("CPUQuota", job.cpu_quota),
        ("CPUWeight", job.cpu_weight),
        ("IOWeight", job.io_weight),
    )


class _Program:
    """What a unit is to start, and what it means when that exits at once."""

    def __init__(self, run: Run, path: str) -> None:
        self._job = run.job
        # systemd-run looks for it itself, with this process's eyes.
        self._found = shutil.which(run.job.command[0], path=path)
        self._enters = Path(run.job.working_directory).is_dir()
        command = (self._found or run.job.command[0], *run.job.command[1:])
        if self._found and run.job.working_directory == "/":
            self.argv = command
        else:
            self.argv = (_ENV, f"--chdir={run.job.working_directory}", "--", *command)

    def fault(self, status: int) -> str | None:
        """Why the job was not started, as its exit status tells; unless the job gives that a meaning."""
        if status in self._job.success_exit_codes | self._job.no_retry_exit_codes:
            return None
        if status == _NO_DIRECTORY and not self._enters:
            return f"cannot enter {self._job.working_directory!r}"
        program = self._job.command[0]
        if status in _NOT_BY_ENV and not self._found:
            return f"cannot start {program!r}: {_NOT_BY_ENV[status]}"
        if status not in _BEFORE_EXEC:
            return None
        fault = _BEFORE_EXEC[status].format(program=program)
        return f"{fault} (status {status}, see `journalctl -u 'observerd-job-{self._job.name}-*'`)"


def _systemd_run(
    unit: str, options: list[str], program: tuple[str, ...], stdin: bytes = b""
) -> process.Command:
    argv = (
        SYSTEMD_RUN,
        "--quiet",
        "--wait",
        "--pipe",
        "--collect",
        f"--unit={unit}",
        f"--slice={SLICE}",
        *(f"--property={option}" for option in options),
        "--",
        # systemd replaces $NAME in arguments; --expand-environment=no came with 254.
        *(argument.replace("$", "$$") for argument in program),
    )
    return process.Command(argv, _OWN_ENVIRONMENT, stdin=stdin)


def _is_going_down() -> bool:
    """Whether this machine is: then nothing is started any more, which is not the job's fault."""
    return _systemctl("is-system-running", timeout_s=ANSWER_S)[1].strip() == "stopping"


def _systemctl(*arguments: str, timeout_s: float) -> tuple[int | None, str]:
    """Its exit status, None where there is none in time, and what it put out."""
    try:
        done = subprocess.run(
            (SYSTEMCTL, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_OWN_ENVIRONMENT,
            cwd="/",
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None, ""
    return done.returncode, done.stdout.decode(errors="replace")


def _escaped(text: str) -> str:
    """For between double quotes in an environment file."""
    return "".join(f"\\{each}" if each in '"\\$`' else each for each in text)
