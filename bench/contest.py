"""observerd and its peers on the same work: the same commands, the same emulated SQS, one after the other.

A round is every contender once, so that a noisy minute does not fall on one alone; what is compared is from
one round. A contender is started, does a few jobs until it is warm, and gets as many as should take it some
seconds. The clock runs from the messages' being offered until the last is deleted and the last job has left
its byte with the witness.
"""

import contextlib
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from bench.contenders import OURS, Contender, Task, bodies, install, present
from bench.patience import NotMeasured, until
from bench.processes import Program, cost, cpu_s, other
from bench.report import Heading, Line, Remark, Row
from bench.sqs import Sqs
from bench.witness import Witness

READY_S, DRAIN_S = 90.0, 90.0
MOST_JOBS = 3_000
# Jobs a slot, at least: who takes ten at a time for each slot leaves slots empty at the end.
BATCHES = 20
NETWORK_S = 0.010
SLEEP_MS = 100
CEILING_CALLS, CEILING_CONNECTIONS = 20_000, 8
COLUMNS = ("slots", "jobs/s", "ours / its", "CPU s / 1,000", "peak RSS MB", "PSS MB", "calls / job")


@dataclass(frozen=True, slots=True)
class Course:
    """One kind of work that everybody is given."""

    key: str
    title: str
    ms: int = 0
    """How long a job sleeps."""
    delay_s: float = 0.0


COURSES = (
    Course("short", "a short job"),
    Course("short-10ms", "a short job, 10 ms more for every call to SQS", delay_s=NETWORK_S),
    Course("sleeper", "a job that sleeps 100 ms", ms=SLEEP_MS),
    Course(
        "sleeper-10ms", "a job that sleeps 100 ms, 10 ms more for every call", ms=SLEEP_MS, delay_s=NETWORK_S
    ),
)


@dataclass(frozen=True, slots=True)
class Result:
    """Of one contender in one round."""

    rate: float
    cpu_s: float
    """For 1,000 jobs, with the jobs' own."""
    peak_mb: float
    pss_mb: float
    calls: float


def measure(
    directory: Path, courses: Sequence[Course], slots: Sequence[int], at_most: int, seconds: float
) -> Iterator[Row | Heading | Line | Remark]:
    """Raises NotMeasured."""
    yield from map(Remark, install())
    contenders, absent = present()
    yield from map(Remark, absent)
    yield from _limits(directory)
    for course in courses:
        yield Heading(f"contest-{course.key}", f"Against others: {course.title}", COLUMNS)
        for each in slots:
            yield from _compared(directory, contenders, course, each, at_most, seconds)


def _limits(directory: Path) -> Iterator[Remark]:
    rate = ceiling(directory)
    yield Remark(
        f"The emulated SQS takes {rate:,.0f} calls a second from a client that costs next to nothing."
    )


def ceiling(directory: Path) -> float:
    """Calls a second. Raises NotMeasured."""
    with Sqs() as sqs:
        port = sqs.endpoint.rpartition(":")[2]
        argv = other("ceiling", port, str(CEILING_CALLS), str(CEILING_CONNECTIONS))
        with Program(argv, directory / "ceiling.log") as client:
            return float(client.output(DRAIN_S))


def _compared(
    directory: Path, contenders: Sequence[Contender], course: Course, slots: int, at_most: int, seconds: float
) -> Iterator[Line | Remark]:
    found: dict[str, list[Result]] = {each.name: [] for each in contenders}
    faults: dict[str, str] = {}
    for _ in range(at_most):
        for each in contenders:
            if each.name in faults:
                continue
            try:
                found[each.name].append(drain(directory, each, course, slots, seconds))
            except NotMeasured as fault:
                faults[each.name] = str(fault)
    yield from lines(found, faults, slots)


def lines(found: dict[str, list[Result]], faults: dict[str, str], slots: int) -> Iterator[Line | Remark]:
    """The fastest first, with medians of the rounds; a contender with a fault is not ranked."""
    ranked = {name: results for name, results in found.items() if results and name not in faults}
    ours = ranked.get(OURS.name, [])
    for name, results in sorted(ranked.items(), key=lambda item: -_median(item[1], "rate")):
        # Round by round, because a noisy minute hits both of a pair.
        ratios = [mine.rate / its.rate for mine, its in zip(ours, results, strict=False)]
        medians = [_median(results, each.name) for each in fields(Result)]
        ratio = statistics.median(ratios) if ratios else None
        yield Line((name, slots, medians[0], ratio, *medians[1:]))
    for name, fault in faults.items():
        yield Line((name, slots, *[None] * (len(COLUMNS) - 1)))
        yield Remark(f"{name}, {slots} slots: not measured: {fault}")


def _median(results: Sequence[Result], name: str) -> float:
    return float(statistics.median(getattr(result, name) for result in results))


def drain(directory: Path, contender: Contender, course: Course, slots: int, seconds: float) -> Result:
    """Raises NotMeasured."""
    witness = Witness(directory / "witness", course.ms)
    with Sqs(delay_s=course.delay_s) as sqs, contextlib.ExitStack() as stack:
        programs = [
            stack.enter_context(program)
            for program in contender.programs(directory, sqs, slots, Task(witness.command))
        ]
        run = _Run(contender, sqs, witness, programs)
        few = 2 * slots + 8
        run.work_off(few, READY_S)
        run.wait_for_all()
        jobs = enough(few, run.work_off(few, READY_S), seconds, least=BATCHES * slots)
        before_s, calls = cpu_s(programs), sqs.calls.total()
        took_s = run.work_off(jobs, DRAIN_S)
        spent = cost(programs)
        return Result(
            rate=jobs / took_s,
            cpu_s=(spent.cpu_s - before_s) / jobs * 1_000,
            peak_mb=spent.peak_bytes / 1e6,
            pss_mb=spent.bytes / 1e6,
            calls=(sqs.calls.total() - calls) / jobs,
        )


def enough(jobs: int, took_s: float, seconds: float, least: int) -> int:
    """How many jobs should take so long, by what a few took."""
    return max(least, min(MOST_JOBS, round(jobs / took_s * seconds)))


@dataclass
class _Run:
    contender: Contender
    sqs: Sqs
    witness: Witness
    programs: Sequence[Program]
    given: int = 0

    def work_off(self, jobs: int, within_s: float) -> float:
        """Seconds that it took to do so many jobs. Raises NotMeasured."""
        self.witness.reset()
        sent = bodies(self.contender, range(self.given, self.given + jobs))
        self.given += jobs
        began_at = time.monotonic()
        self.sqs.offer(sent)
        done_at = until(
            lambda: self.sqs.is_drained() and self.witness.jobs() >= jobs,
            within_s,
            f"{jobs} jobs are done",
            self.programs,
        )
        self.witness.check(jobs)
        return done_at - began_at

    def wait_for_all(self) -> None:
        """Where a slot is a process, the last may still be starting when the first do the first jobs."""
        if len(self.programs) > 1:
            waiting = len(self.programs)
            what = "all processes wait for messages"
            until(lambda: self.sqs.waiting() >= waiting, READY_S, what, self.programs)
