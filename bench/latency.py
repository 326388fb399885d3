"""From a message's being available to its job's exec, in a daemon that is warm and waits.

The job tells of itself by one byte into a FIFO. What passes until it is read here is an upper bound: the
server's answer, the shell's own start and our waking up are in it. So the same command started from here and
nothing else stands beside it.
"""

import os
import select
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.daemon import OTHER_USER, can_switch_user, messages, observerd
from bench.patience import NotMeasured, rounds, until
from bench.processes import Program
from bench.report import Budget, Row, Spread, budget
from bench.sqs import Sqs

P50 = budget("latency")
JOB_S = 10.0
ALL_ROUNDS_S = 20.0
WARM_UP = 20


class Fifo:
    """with Fifo(path) as fifo: waits for the byte that fifo.command writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.command = ("/bin/sh", "-c", f"printf . > {path}")

    def __enter__(self) -> Self:
        os.mkfifo(self._path)
        # mkfifo's own mode is cut by our umask, and the job may be somebody else's.
        self._path.chmod(0o666)
        # For both directions: so it is open whether somebody writes or not.
        self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
        self._path.unlink()

    def read_at(self) -> float:
        """The instant of the next byte. Raises NotMeasured."""
        ready, _, _ = select.select([self._fd], [], [], JOB_S)
        read_at = time.monotonic()
        if not ready:
            raise NotMeasured(f"no job within {JOB_S:g} s of its message")
        os.read(self._fd, 1)
        return read_at


def measure(directory: Path, at_most: int) -> Iterator[Row]:
    """Raises NotMeasured."""
    ours, bare = _pairs(directory, at_most, None)
    yield _row("message to job's byte, p50", ours, bare, 50, P50)
    yield _row("  p99", ours, bare, 99, None)
    if can_switch_user():
        ours, bare = _pairs(directory, at_most, OTHER_USER)
        yield _row(f"as user {OTHER_USER}, p50", ours, bare, 50, P50)
        yield _row("  p99", ours, bare, 99, None)


def _pairs(directory: Path, at_most: int, user: str | None) -> tuple[list[float], list[float]]:
    """Milliseconds through the daemon, and without it."""
    ours, bare = [], []
    with Sqs() as sqs, Fifo(directory / "fifo") as fifo:
        argv = observerd(directory, sqs.queue_url, {"ping": fifo.command}, user=user)
        with Program(argv, directory / "latency.log") as daemon:
            for _ in range(WARM_UP):
                _through_the_queue(sqs, fifo, daemon)
            for _ in rounds(at_most, ALL_ROUNDS_S):
                ours.append(_through_the_queue(sqs, fifo, daemon) * 1000)
                bare.append(_at_once(fifo, user) * 1000)
    return ours, bare


def _through_the_queue(sqs: Sqs, fifo: Fifo, daemon: Program) -> float:
    daemon.check()
    until(lambda: sqs.is_drained() and sqs.waiting() > 0, JOB_S, "the daemon waits for a message")
    began_at = time.monotonic()
    sqs.offer(messages("ping", 1))
    return fifo.read_at() - began_at


def _at_once(fifo: Fifo, user: str | None) -> float:
    began_at = time.monotonic()
    with subprocess.Popen(fifo.command, user=user):
        return fifo.read_at() - began_at


def _row(what: str, ours: Sequence[float], bare: Sequence[float], percent: int, bound: Budget | None) -> Row:
    mine, other = percentile(ours, percent), percentile(bare, percent)
    ratio = mine / other
    return Row(what, mine, "ms", "Popen of the job alone", other, Spread(ratio, ratio, ratio, 1), bound)


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
