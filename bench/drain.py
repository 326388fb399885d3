"""1,000 short jobs: how fast they are worked off, at what cost in CPU time and in calls to SQS.

Every contender runs the same command, which appends one byte to a file: the witness that it ran. A rate
counts only if the file has as many bytes as there were messages. The clock runs from the messages' being
offered to a contender that is warm and waits, until the last is deleted and the last byte is there.
"""

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import SEED, Task
from bench.daemon import OTHER_USER, SLOTS, can_switch_user, messages, observerd
from bench.logsink import LogSink
from bench.patience import rounds, until
from bench.processes import Program, other
from bench.report import Budget, Row, budget, compared
from bench.sqs import Sqs
from bench.witness import Witness

AHEAD = budget("drain-ahead")
HALF = budget("drain-spawn")
CALLS = budget("calls")
WARM_UP = 2 * SLOTS
# What is slower and not the point is measured with fewer jobs.
PART = 4
READY_S = 30.0
DRAIN_S = 60.0
ALL_ROUNDS_S = 70.0


@dataclass(frozen=True, slots=True)
class Drain:
    rate: float
    """Jobs a second."""
    calls: float = 0.0
    """To SQS, a job."""
    own_ms: float = 0.0
    """CPU time a job of the contender itself; then of the processes it waited for, and of the server."""
    children_ms: float = 0.0
    server_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Round:
    """One drain by each contender."""

    ours: Drain
    seed: Drain
    seeds: Drain
    spawn: Drain
    bare: Drain
    logged: Drain
    switched: Drain | None


def measure(directory: Path, jobs: int, at_most: int) -> Iterator[Row]:
    """Raises NotMeasured."""
    contest = _Contest(directory, jobs)
    every = [contest.round() for _ in rounds(at_most, ALL_ROUNDS_S)]
    yield from _rates(every, jobs)
    yield from _costs(every)
    calls = contest.observerd(fifo=True).calls
    yield Row("SQS calls a job, FIFO queue", calls, "calls", budget=CALLS)


def _rates(every: Sequence[Round], jobs: int) -> Iterator[Row]:
    ours = [each.ours.rate for each in every]
    against: tuple[tuple[str, Callable[[Round], Drain], Budget | None], ...] = (
        (SEED.name, lambda each: each.seed, AHEAD),
        (f"seed's loop x {SLOTS}", lambda each: each.seeds, AHEAD),
        (f"spawn and wait x {SLOTS}", lambda each: each.spawn, HALF),
        (f"receive and delete x {_cores()}", lambda each: each.bare, None),
    )
    for place, (name, chosen, bound) in enumerate(against):
        what = "" if place else f"{jobs:,} jobs, {SLOTS} slots"
        yield compared(what, "/s", ours, name, [chosen(each).rate for each in every], bound)
    logged = [each.logged.rate for each in every]
    yield compared("  a line each to CloudWatch Logs", "/s", logged, "the same without", ours, None)
    if switched := [each.switched.rate for each in every if each.switched]:
        seed = [each.seed.rate for each in every]
        yield compared(f"  as user {OTHER_USER}", "/s", switched, SEED.name, seed, AHEAD)


def _costs(every: Sequence[Round]) -> Iterator[Row]:
    own, seeds_own = [each.ours.own_ms for each in every], [each.seed.own_ms for each in every]
    yield compared("CPU a job: its own", "ms", own, SEED.name, seeds_own, None)
    if switched := [each.switched.own_ms for each in every if each.switched]:
        yield compared(f"  as user {OTHER_USER}", "ms", switched, SEED.name, seeds_own, None)
    yield Row("CPU a job: the job's", statistics.median(each.ours.children_ms for each in every), "ms")
    yield Row("CPU a job: the SQS server's", statistics.median(each.ours.server_ms for each in every), "ms")
    calls, seed_calls = [each.ours.calls for each in every], [each.seed.calls for each in every]
    yield compared("SQS calls a job", "calls", calls, SEED.name, seed_calls, CALLS)


class _Contest:
    def __init__(self, directory: Path, jobs: int) -> None:
        self._directory = directory
        self._jobs = jobs
        self._witness = Witness(directory / "witness")

    def round(self) -> Round:
        part = self._jobs // PART
        return Round(
            ours=self.observerd(),
            seed=self._seed(1),
            seeds=self._seed(SLOTS),
            spawn=self._spawn(),
            bare=self._seed(_cores(), works=False),
            logged=self._logged(part),
            switched=self.observerd(part, user=OTHER_USER) if can_switch_user() else None,
        )

    def observerd(self, jobs: int | None = None, *, user: str | None = None, fifo: bool = False) -> Drain:
        with Sqs("jobs.fifo" if fifo else "jobs") as sqs:
            argv = observerd(self._directory, sqs.queue_url, {"noop": self._witness.command}, user=user)
            with Program(argv, self._directory / "drain.log") as daemon:
                return self._drain(sqs, [daemon], jobs or self._jobs)

    def _logged(self, jobs: int) -> Drain:
        with Sqs() as sqs, LogSink() as logs:
            talking = {"noop": self._witness.talking_command}
            argv = observerd(self._directory, sqs.queue_url, talking, log_group="/bench")
            log = self._directory / "drain.log"
            with Program(argv, log, AWS_ENDPOINT_URL_CLOUDWATCH_LOGS=logs.endpoint) as daemon:
                return self._drain(sqs, [daemon], jobs)

    def _seed(self, processes: int, *, works: bool = True) -> Drain:
        task = Task(self._witness.command if works else ())
        with Sqs() as sqs, contextlib.ExitStack() as stack:
            loops = [
                stack.enter_context(program)
                for program in SEED.programs(self._directory, sqs, processes, task)
            ]
            return self._drain(sqs, loops, self._jobs, works=works)

    def _spawn(self) -> Drain:
        self._witness.reset()
        jobs = self._jobs // SLOTS * SLOTS
        argv = other("spawn_loop", str(jobs), str(SLOTS), *self._witness.command)
        with Program(argv, self._directory / "spawn.log") as spawning:
            took_s = float(spawning.output(DRAIN_S))
        self._witness.check(jobs)
        return Drain(jobs / took_s)

    def _drain(self, sqs: Sqs, contenders: Sequence[Program], jobs: int, *, works: bool = True) -> Drain:
        """What contenders that have just been started need for so many jobs, once they are warm."""
        self._work_off(sqs, WARM_UP, contenders, works=works)
        before, calls = _cpu_s(contenders), sqs.calls.total()
        took_s = self._work_off(sqs, jobs, contenders, works=works)
        spent_ms = [(now - then) * 1000 / jobs for now, then in zip(_cpu_s(contenders), before, strict=True)]
        made = sqs.calls.total() - calls
        return Drain(jobs / took_s, made / jobs, *spent_ms)

    def _work_off(self, sqs: Sqs, jobs: int, contenders: Sequence[Program], *, works: bool) -> float:
        """Seconds that it took to do so many jobs. Raises NotMeasured."""
        for each in contenders:
            each.check()
        until(lambda: sqs.waiting() >= len(contenders), READY_S, "all contenders wait for messages")
        self._witness.reset()
        expected = jobs if works else 0
        began_at = time.monotonic()
        sqs.offer(messages("noop", jobs))
        done_at = until(
            lambda: sqs.is_drained() and self._witness.jobs() >= expected, DRAIN_S, f"{jobs} jobs are done"
        )
        self._witness.check(expected)
        return done_at - began_at


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _cpu_s(contenders: Sequence[Program]) -> tuple[float, float, float]:
    """So far: of the contenders themselves, of their children, and of the server, which is this process."""
    own_s = sum(each.cpu_s() for each in contenders)
    return own_s, sum(each.children_cpu_s() for each in contenders), time.process_time()
