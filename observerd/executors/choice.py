"""Which executor this machine and this process are fit for. Light: it is asked before the first receive."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from observerd.executors import SYSTEMD_RUN

if TYPE_CHECKING:
    from observerd.config import Loaded
    from observerd.executors import Executor
    from observerd.keys import Config

# Where it is, systemd is PID 1 (sd_booted(3)).
_BOOTED = Path("/run/systemd/system")
_PROCESS = Path("/proc/self/status")

# What a job may ask for and only a unit of its own can keep.
_LIMITS = ("memory_max", "tasks_max", "cpu_quota", "cpu_weight", "io_weight")


class Unsuitable(Exception):
    """Jobs cannot be started this way here. The text is one line: what is wrong, and what to set."""


def choose(executor: str, environ: Mapping[str, str]) -> str:
    """What executor, the configured one, means here: "direct", "systemd" or "shadow". Raises Unsuitable."""
    if executor == "shadow":
        return executor
    missing = _missing_for_systemd()
    if executor == "systemd" and missing:
        raise Unsuitable(f'executor = "systemd": {missing} (set executor = "direct" or "auto")')
    if executor == "systemd" or (executor == "auto" and not missing):
        return "systemd"
    if _is_locked_down(environ):
        left = f", which is what is left: {missing}" if executor == "auto" else ""
        raise Unsuitable(
            f'executor = "{executor}": this unit is locked down, and jobs of the direct executor{left} would'
            ' inherit that (set executor = "systemd", or relax the unit with the drop-in direct.conf)'
        )
    return "direct"


def unkept(loaded: "Loaded") -> Iterator[str]:
    """A line for each thing in jobs.d that the executor, settled by run_by, does not do."""
    if loaded.config.executor == "shadow":
        yield 'executor = "shadow": no command is run, and each run counts as succeeded'
    for name in sorted(loaded.jobs) if loaded.config.executor == "direct" else ():
        for key in (key for key in _LIMITS if getattr(loaded.jobs[name], key) is not None):
            where = f"{loaded.origins[f'job.{name}']}: job.{name}.{key}"
            yield f"{where}: not enforced by the direct executor"


def make(config: "Config", common_environment: Mapping[str, str]) -> "Executor":
    """The executor that config names. Each brings what only it needs."""
    if config.executor == "direct":
        from observerd.executors.direct import DirectExecutor  # noqa: PLC0415

        return DirectExecutor(config.default_user, common_environment)
    if config.executor == "shadow":
        from observerd.executors.shadow import ShadowExecutor  # noqa: PLC0415

        return ShadowExecutor(config.default_user, common_environment)
    from observerd.core.lease import LAST_SHARE  # noqa: PLC0415
    from observerd.executors.systemd import SystemdExecutor  # noqa: PLC0415

    # As long as a job of a lost lease gets: then somebody else may have its message.
    most_s = config.visibility_timeout_s / LAST_SHARE
    return SystemdExecutor(config.default_user, common_environment, most_s, os.environ)


def _missing_for_systemd() -> str | None:
    if not _BOOTED.is_dir():
        return "systemd is not running here"
    if os.geteuid() != 0:
        return "only root may start units"
    return None if os.access(SYSTEMD_RUN, os.X_OK) else f"there is no {SYSTEMD_RUN}"


def _is_locked_down(environ: Mapping[str, str]) -> bool:
    """Whether systemd started us (it sets INVOCATION_ID) with NoNewPrivileges, as the hardened unit has."""
    return "INVOCATION_ID" in environ and "\nNoNewPrivs:\t1\n" in _PROCESS.read_text()
