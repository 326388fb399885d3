"""What is asked from outside the daemon: end this instance, or have the daemon drain and leave."""

import fcntl
import os
import random
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from observerd.aws import Clients, Unusable, is_ec2
from observerd.core.backoff import backoff_s
from observerd.core.events import GaveUp, GiveUpAnswer, Shrink
from observerd.core.units import duration_text
from observerd.instance import Instance
from observerd.keys import Config
from observerd.metadata import Imds, NoMetadata

UNIT = "observerd.service"
# Half a minute of tries; the failure unit, which may take three minutes a turn, has many more turns.
ATTEMPTS, RETRY_S, RETRY_CAP_S = 4, 5.0, 15.0
# Auto Scaling takes a few seconds from the request to terminate until the hook waits to be completed.
COMPLETE_S = 30.0
# systemctl asks a manager on the same machine.
SYSTEMCTL_S = 10.0

# Not `systemctl poweroff`: it asks logind, which wants a capability that the daemon's unit has given up.
_POWER_OFF = (
    ("systemctl", "start", "--no-block", "--job-mode=replace-irreversibly", "poweroff.target"),
    ("shutdown", "-h", "now"),
)

# sysexits.h
EX_UNAVAILABLE, EX_TEMPFAIL, EX_CONFIG = 69, 75, 78


class NotDone(Exception):
    """What was asked for was not done. The text is one line; status says whether another try may help."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


# ---- terminate


def terminate(config: Config, reason: str, pidfile: Path) -> str:
    """Leave as config.exit_action has it, for reason; what was done, in a line. Raises NotDone.

    Blocks for two minutes at most: the metadata service, and then Auto Scaling, may be slow or silent.
    """
    match _action(config):
        case "terminate":
            instance = instance_of(config, Imds(os.environ))
            return give_up(instance, reason, daemon_pid(pidfile), hook=config.lifecycle_hook)
        case "poweroff":
            if fault := power_off():
                raise NotDone(EX_UNAVAILABLE, fault)
            return f"powering off ({reason})"
        case action:
            return f'kept, as exit_action = "{action}" has it ({reason})'


def _action(config: Config) -> str:
    if config.exit_action == "auto":
        if not is_ec2(os.environ):
            raise NotDone(EX_CONFIG, "this machine is no EC2 instance: there is nothing to terminate")
        return "terminate"
    return config.exit_action


def instance_of(config: Config, metadata: Imds) -> Instance:
    """The instance that we are on, for one who has no queue and perhaps no configuration. Raises NotDone."""
    try:
        clients = Clients(config.queue_url, config.region or _region(config, metadata))
    except NoMetadata as fault:
        raise NotDone(EX_TEMPFAIL, str(fault)) from None
    except Unusable as fault:
        raise NotDone(EX_CONFIG, str(fault)) from None
    return Instance(clients.auto_scaling, metadata, config.auto_scaling_group, config.lifecycle_hook)


def _region(config: Config, metadata: Imds) -> str | None:
    known = config.queue_url or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return None if known else metadata.region()


def give_up(
    instance: Instance,
    reason: str,
    daemon: int | None,
    hook: str | None,
    pause: Callable[[float], object] = time.sleep,
) -> str:
    """Have the group terminate the instance, and shrink if its minimum allows; a line. Raises NotDone."""
    if daemon is not None and hook is None:
        text = (
            f"process {daemon} serves, and no lifecycle_hook would let its jobs finish (try observerd drain)"
        )
        raise NotDone(EX_UNAVAILABLE, text)
    gave_up = _persistently(instance, pause)
    if gave_up.answer is not GiveUpAnswer.TERMINATING:
        status = EX_UNAVAILABLE if gave_up.answer is GiveUpAnswer.DENIED else EX_TEMPFAIL
        raise NotDone(status, f"not terminated ({gave_up.answer.value}): {gave_up.detail}")
    return f"given up ({reason}): {gave_up.detail}; {_release(instance, daemon, hook, pause)}"


def _persistently(instance: Instance, pause: Callable[[float], object]) -> GaveUp:
    # With the minimum above 0 somebody wants a worker, and this one does not work: another takes its place.
    gave_up = instance.give_up(Shrink.IF_ALLOWED)
    for failures in range(1, ATTEMPTS):
        if gave_up.answer is not GiveUpAnswer.FAILED:
            break
        pause(backoff_s(RETRY_S, failures, RETRY_CAP_S, random.random()))  # noqa: S311 jitter
        gave_up = instance.give_up(Shrink.IF_ALLOWED)
    return gave_up


def _release(
    instance: Instance, daemon: int | None, hook: str | None, pause: Callable[[float], object]
) -> str:
    """Nobody is left who would complete the hook, unless a daemon runs and finishes its jobs first."""
    if daemon is not None:
        return f"process {daemon} finishes its jobs first"
    if hook is None:
        return "a lifecycle hook, if the group has one, ends after its timeout"
    fault = instance.complete(COMPLETE_S, pause)
    return f"lifecycle hook completed: {hook}" if fault is None else f"{hook} ends after its timeout: {fault}"


def power_off() -> str | None:
    """Have the machine powered off. What went wrong in one line, or None."""
    fault = "neither systemctl nor shutdown is to be found"
    for argv in _POWER_OFF:
        if shutil.which(argv[0]):
            done = _command(argv)
            if done.returncode == 0:
                return None
            fault = f"{argv[0]}: {_one_line(done.stderr)}"
    return fault


# ---- drain


def drain(pidfile: Path, wait_s: float | None) -> str:
    """Have the running daemon finish its jobs and leave; a line. Raises NotDone.

    With wait_s, blocks until it has left, for so long at most.
    """
    pid = daemon_pid(pidfile)
    if pid is None:
        raise NotDone(EX_UNAVAILABLE, f"no daemon runs: {pidfile} is not locked, {UNIT} is not active")
    try:
        # Opened before the signal: afterwards the number may be another process's.
        process = os.pidfd_open(pid)
        signal.pidfd_send_signal(process, signal.SIGUSR1)
    except PermissionError:
        raise NotDone(EX_UNAVAILABLE, f"process {pid} is not ours to tell (run it as root)") from None
    except ProcessLookupError:
        return f"process {pid} has left already"
    if wait_s is None:
        return f"process {pid} takes no more messages, finishes its jobs and leaves"
    # Readable once the process has ended: pidfd_open(2).
    if not select.select([process], [], [], wait_s)[0]:
        raise NotDone(EX_TEMPFAIL, f"process {pid} has not left within {duration_text(wait_s)}")
    return f"process {pid} has left"


def daemon_pid(pidfile: Path) -> int | None:
    """The process of the daemon that runs here, in the background or under systemd; None: there is none."""
    return _locker(pidfile) or _main_pid()


def _locker(pidfile: Path) -> int | None:
    """Who holds the lock on it. The lock, not the file, says that a daemon runs."""
    try:
        with pidfile.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = pidfile.read_text().strip()
        return int(text) if text.isdecimal() else None
    except OSError:
        return None
    return None


def _main_pid() -> int | None:
    if not shutil.which("systemctl"):
        return None
    text = _command(("systemctl", "show", "--property=MainPID", "--value", UNIT)).stdout.strip()
    return int(text) or None if text.isdecimal() else None


def _command(argv: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=SYSTEMCTL_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(argv, 1, "", str(error))


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "failed"
