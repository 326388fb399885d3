"""Who saw that the jobs ran: a contender that deletes messages without running them wins every race."""

import os
from pathlib import Path

from bench.patience import NotMeasured


class Witness:
    """Counts how often its command has run, by whomever.

    The command costs what /bin/true costs, which leaves no trace; with ms it sleeps for so long.
    """

    def __init__(self, path: Path, ms: int = 0) -> None:
        self._path = path
        sleep = f"sleep {ms / 1000:g}; " if ms else ""
        self.command = ("/bin/sh", "-c", f"{sleep}printf . >> {path}")
        self.talking_command = ("/bin/sh", "-c", f"printf . >> {path}; echo done")
        path.touch()
        path.chmod(0o666)

    def reset(self) -> None:
        os.truncate(self._path, 0)

    def jobs(self) -> int:
        return self._path.stat().st_size

    def check(self, jobs: int) -> None:
        """Raises NotMeasured if not exactly so many jobs have run."""
        if self.jobs() != jobs:
            raise NotMeasured(f"{jobs} messages, but {self.jobs()} jobs ran")
