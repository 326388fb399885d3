"""Where jobs run. An executor takes a run and answers with how it ended."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    # Which executor fits is asked before the first receive, which needs nothing of a run.
    from observerd.bell import Bell
    from observerd.core.run import Ended, Run

# Starts units, and by being there says that units can be started.
SYSTEMD_RUN = "/usr/bin/systemd-run"


class Executor(Protocol):
    def run(self, run: "Run", emit: Callable[[bytes], None], bell: "Bell") -> "Ended":
        """Run the job to its end, its output going to emit. Blocks; never raises for what the job does.

        A job that cannot be started is Ended with a fault. Raises OSError when this machine is too short of
        something (processes, memory, descriptors) to start any.
        """

    def hold(self, for_s: float) -> None:
        """Let jobs run for so long, and no longer unless this is called again: then the daemon hangs, and
        others are given its messages. Waits for nothing."""

    def close(self) -> None: ...
