"""Reads the configuration again while the daemon serves: jobs and logging change, the rest at a restart."""

import os
from collections.abc import Callable

from observerd import logs
from observerd.config import BadConfig, Loaded
from observerd.core.events import Reload, Reloaded, ReloadFailed
from observerd.executors import choice
from observerd.keys import Config, config_keys

# What a reload applies, beside jobs.d. Everything else is built into clients, threads and sockets.
_APPLIED = ("log_level", "log_format")


class Reloading:
    """The configuration as it was when the daemon started, and how to read it again."""

    def __init__(self, loaded: Loaded, reread: Callable[[], Loaded]) -> None:
        """Reread raises BadConfig. Raises choice.Unsuitable."""
        self._started_with = loaded.config
        self._reread = reread
        self.loaded = loaded.run_by(choice.choose(loaded.config.executor, os.environ))
        """What the daemon serves by, with "auto" settled."""

    def carry_out(self, _order: Reload) -> Reloaded | ReloadFailed:
        """All of it or nothing: with a single fault, everything stays as it is."""
        try:
            loaded = self._reread()
        except BadConfig as bad:
            return ReloadFailed(bad.faults)
        logs.set_up(loaded.config.log_level, loaded.config.log_format, os.environ)
        warnings = (*loaded.warnings, *choice.unkept(loaded.run_by(self.loaded.config.executor)))
        return Reloaded(loaded.jobs, warnings, _not_applied(self._started_with, loaded.config))


def _not_applied(before: Config, after: Config) -> tuple[str, ...]:
    changed = (
        key
        for key, attribute in config_keys().items()
        if getattr(before, attribute.name) != getattr(after, attribute.name)
    )
    return tuple(key for key in changed if key not in _APPLIED)
