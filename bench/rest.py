"""observerd and its peers with one message at a time: how soon they are there, and how soon it is begun."""

import contextlib
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from bench.contenders import Contender, Task, install, present
from bench.latency import Fifo, percentile
from bench.patience import NotMeasured, until
from bench.processes import Program, cost, cpu_s
from bench.report import Heading, Line, Remark
from bench.sqs import Sqs

SLOTS = 8
WARM_UP = 20
READY_S, ALL_S = 60.0, 15.0
# Between two messages: long enough for the next poll to be under way, and never in step with a timer.
PAUSE_S = (0.01, 0.06)
COLUMNS = ("exec to 1st receive ms", "available to exec p50 ms", "p99 ms", "idle CPU %", "idle PSS MB")


@dataclass(frozen=True, slots=True)
class Rest:
    start_ms: float
    p50_ms: float
    p99_ms: float
    idle_cpu: float
    idle_mb: float


def measure(
    directory: Path, starts: int, at_most: int, watched_s: float
) -> Iterator[Heading | Line | Remark]:
    """Raises NotMeasured."""
    yield from map(Remark, install())
    contenders, absent = present()
    yield from map(Remark, absent)
    yield Heading("rest", f"Against others: one message at a time, {SLOTS} slots", COLUMNS)
    for each in contenders:
        try:
            yield Line((each.name, *astuple(_rest(directory, each, starts, at_most, watched_s))))
        except NotMeasured as fault:
            yield Line((each.name, *[None] * len(COLUMNS)))
            yield Remark(f"{each.name}: not measured: {fault}")


def _rest(directory: Path, contender: Contender, starts: int, at_most: int, watched_s: float) -> Rest:
    start_ms = statistics.median(_start_ms(directory, contender) for _ in range(starts))
    with Fifo(directory / "fifo") as fifo, Sqs() as sqs, contextlib.ExitStack() as stack:
        task = Task(fifo.command)
        programs = [stack.enter_context(each) for each in contender.programs(directory, sqs, SLOTS, task)]
        for number in range(WARM_UP):
            _latency_ms(contender, sqs, fifo, programs, number)
        found: list[float] = []
        deadline = time.monotonic() + ALL_S
        while len(found) < at_most and time.monotonic() < deadline:
            found.append(_latency_ms(contender, sqs, fifo, programs, WARM_UP + len(found)))
        before_s, began_at = cpu_s(programs), time.monotonic()
        time.sleep(watched_s)
        share = (cpu_s(programs) - before_s) / (time.monotonic() - began_at)
        idle_mb = cost(programs).bytes / 1e6
    return Rest(start_ms, percentile(found, 50), percentile(found, 99), share * 100, idle_mb)


def _start_ms(directory: Path, contender: Contender) -> float:
    """With one slot: where a slot is a process, others would be in its way."""
    with Sqs() as sqs, contextlib.ExitStack() as stack:
        task = Task(("/bin/true",))
        programs = [stack.enter_context(each) for each in contender.programs(directory, sqs, 1, task)]
        until(lambda: sqs.receive_at is not None, READY_S, "the first receive", programs)
        assert sqs.receive_at is not None
        return (sqs.receive_at - programs[0].began_at) * 1_000


def _latency_ms(
    contender: Contender, sqs: Sqs, fifo: Fifo, programs: Sequence[Program], number: int
) -> float:
    until(sqs.is_drained, READY_S, "the last message is deleted", programs)
    time.sleep(random.uniform(*PAUSE_S))
    message = contender.message(number)
    began_at = time.monotonic()
    sqs.offer([message])
    return (fifo.read_at() - began_at) * 1_000
