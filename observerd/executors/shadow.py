"""Runs without their commands: a rehearsal beside the cron that still does the work."""

import os
import shlex
from collections.abc import Callable, Mapping

from observerd.bell import Bell
from observerd.core.run import Ended, Run, environment
from observerd.core.units import duration_text
from observerd.executors.account import account_of


class ShadowExecutor:
    """default_user is whom a job runs as that names no user, where this process is root."""

    def __init__(self, default_user: str | None, common_environment: Mapping[str, str]) -> None:
        self._default_user = default_user
        self._common = common_environment

    def run(self, run: Run, emit: Callable[[bytes], None], _bell: Bell) -> Ended:
        """Say what would be started. A success, unless it could not be started on this machine."""
        try:
            said = self._said(run)
        except LookupError as fault:
            return Ended(fault=str(fault.args[0]))
        emit(f"{said}\n".encode(errors="replace"))
        return Ended(exit_code=min(run.job.success_exit_codes))

    def hold(self, for_s: float) -> None:
        """Nothing runs."""

    def close(self) -> None:
        pass

    def _said(self, run: Run) -> str:
        job = run.job
        account = account_of(run, self._default_user)
        if _is_missing(job.working_directory):
            raise LookupError(f"cannot enter {job.working_directory!r}: there is no such directory")
        if all(map(_is_missing, self._programs(run))):
            raise LookupError(f"cannot start {job.command[0]!r}: no such program")
        return (
            f"shadow: not run: {shlex.join(job.command)}"
            f" (as {account.pw_name}, in {job.working_directory}, for {duration_text(job.timeout_s)} at most)"
        )

    def _programs(self, run: Run) -> list[str]:
        """The paths that the command may mean."""
        name = run.job.command[0]
        directories = environment(run, self._common)["PATH"].split(":")
        if "/" in name:
            directories = [run.job.working_directory]
        return [os.path.join(directory, name) for directory in directories]  # noqa: PTH118 an absolute name wins


def _is_missing(path: str) -> bool:
    try:
        os.stat(path)  # noqa: PTH116 not for its answer
    except PermissionError:
        # The package's unit may not look into homes; jobs may.
        return False
    except OSError:
        return True
    return False
