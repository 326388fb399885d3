"""Jobs as children of the daemon, each in a session of its own: for hosts without systemd."""

import contextlib
import errno
import os
import pwd
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from observerd import process
from observerd.bell import Bell
from observerd.core.events import Cause
from observerd.core.run import Ended, Run, environment
from observerd.executors.account import account_of, login_environment
from observerd.warden import Warden

# Too short of processes, memory or descriptors: the machine's fault, which costs the job no attempt.
_SHORTAGES = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})


class DirectExecutor:
    """default_user is whom a job runs as that names no user, where this process is root."""

    def __init__(self, default_user: str | None, common_environment: Mapping[str, str]) -> None:
        self._default_user = default_user
        self._common = common_environment
        self._warden = Warden()

    def run(self, run: Run, emit: Callable[[bytes], None], bell: Bell) -> Ended:
        """See Executor.run."""
        try:
            command = self._command(run)
            ended = process.run(
                command, emit, bell, self._warden, timeout_s=run.job.timeout_s, grace_s=run.job.grace_s
            )
        except LookupError as fault:
            return Ended(fault=str(fault.args[0]))
        except OSError as error:
            if error.errno in _SHORTAGES:
                raise
            return Ended(fault=_cannot_start(run, error))
        # This process hung, and has not looked at its leases yet: it was the warden's doing, not the job's.
        fenced = ended.signal == signal.SIGKILL and self._warden.is_overdue()
        return replace(ended, cause=ended.cause or Cause.LEASE_LOST) if fenced else ended

    def hold(self, for_s: float) -> None:
        """See Executor.hold."""
        with contextlib.suppress(OSError):  # Nothing can be started: then the next one tells.
            self._warden.expect(for_s)

    def close(self) -> None:
        self._warden.close()

    def _command(self, run: Run) -> process.Command:
        entry = account_of(run, self._default_user)
        return process.Command(
            argv=run.job.command,
            environment={**login_environment(entry), **environment(run, self._common), **self._warden.mark},
            directory=run.job.working_directory,
            stdin=run.request.payload.encode(),
            account=_account(entry) if entry.pw_uid != os.geteuid() else None,
            nice=run.job.nice,
        )


def _account(entry: pwd.struct_passwd) -> process.Account:
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return process.Account(entry.pw_uid, entry.pw_gid, tuple(groups))


def _cannot_start(run: Run, error: OSError) -> str:
    if error.filename == run.job.working_directory and not Path(run.job.working_directory).is_dir():
        return f"cannot enter {error.filename!r}: {os.strerror(error.errno or 0)}"
    return f"cannot start {run.job.command[0]!r}: {os.strerror(error.errno or 0)}"
