"""A daemon of the fleet, which logs to a disk of its own."""

import contextlib
import json
import time

from tests.chaos.disk import Disk
from tests.daemon import Daemon


class Worker(Daemon):
    """A Daemon with a name; its lines are those of its log, and torn has such as a full disk has torn."""

    def __init__(self, name, sqs, directory, jobs, **config):
        self.name = name
        self.disk = Disk(directory / "disk")
        self.torn = []
        super().__init__(
            sqs,
            directory,
            jobs,
            within=self.disk.command,
            metrics_textfile_directory=str(self.disk.metrics),
            **config,
        )

    def __exit__(self, *_):
        super().__exit__(*_)
        self.disk.close()

    def _read(self):
        super()._read()
        # It may be dead already.
        with contextlib.suppress(OSError):
            self.disk.attach(self.process.pid)
            self._follow(self.disk.path / "log")

    def _follow(self, path):
        with path.open("rb", buffering=0) as log:
            rest, has_ended = b"", False
            while not has_ended:
                has_ended = self.process.poll() is not None
                *lines, rest = (rest + log.read()).split(b"\n")
                for line in filter(None, lines):
                    self._take(line.decode())
                time.sleep(0.02)

    def _take(self, line):
        """json.dumps is what wrote it, and begins a line of the log with nothing else."""
        try:
            whole = not line.startswith("{") or json.loads(line)
        except ValueError:
            whole = False
        (self.lines if whole else self.torn).append(line)

    def wrong_in_its_log(self, *, was_full):
        """One line each. A full disk may tear a line, but not have the next taken for the rest of it."""
        for line in self.torn:
            if not was_full or '{"time": ' in line[1:]:
                yield f"{self.name} logged {line}"

    def wrong_in_its_metrics(self, *, was_full):
        """The same, of a worker that has left by itself. A file may be missing, but none is half."""
        files = list((self.disk.path / "metrics").iterdir())
        for path in files:
            if path.suffix != ".prom" or not path.read_bytes().endswith(b"\n"):
                yield f"{self.name} left {path.name}, which is not whole"
        if not (files or was_full) and any("duration_s" in line for line in self.said("run ended")):
            yield f"{self.name} left nothing of its metrics"
