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
from dataclasses import dataclass, field, fields
from pathlib import Path

from bench.contenders import OURS, Contender, Task, bodies, install, present
from bench.patience import NotMeasured, until
from bench.processes import Program, cost, cpu_s, other
from bench.report import Entry, Heading, Line, Remark, Row, Section, budget, compared
from bench.sqs import Sqs
from bench.witness import Witness

AHEAD = budget("ahead")
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


@dataclass(frozen=True)
class Race:
    """What every contender has done on one course with so many slots, round by round."""

    course: Course
    slots: int
    results: dict[str, list[Result]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    """Who has not come to the end: that is not ranked."""

    def ranked(self) -> list[str]:
        """The fastest first, by the median of the rounds."""
        names = [name for name in self.results if name not in self.faults]
        return sorted(names, key=lambda name: -self.median(name, "rate"))

    def median(self, name: str, what: str) -> float:
        return float(statistics.median(getattr(result, what) for result in self.results[name]))

    def rates(self, name: str) -> list[float]:
        return [result.rate for result in self.results[name]]

    def lines(self) -> Iterator[Line | Remark]:
        ranked = self.ranked()
        for name in ranked:
            medians = [self.median(name, each.name) for each in fields(Result)]
            spread = self._against(name).ratio if OURS.name in ranked else None
            ratio = spread.median if spread is not None else None
            yield Line((name, self.slots, medians[0], ratio, *medians[1:]))
        for name, fault in self.faults.items():
            yield Line((name, self.slots, *[None] * (len(COLUMNS) - 1)))
            yield Remark(f"{name}, {self.slots} slots: not measured: {fault}")

    def rows(self) -> Iterator[Row]:
        """We against the fastest of the others, if there is one."""
        others = [name for name in self.ranked() if name != OURS.name]
        if others and OURS.name in self.ranked():
            yield self._against(others[0])

    def _against(self, name: str) -> Row:
        what = f"{self.course.key}, {self.slots} slot{'s' if self.slots > 1 else ''}"
        return compared(what, "/s", self.rates(OURS.name), name, self.rates(name), AHEAD)


def measure(
    directory: Path, courses: Sequence[Course], slots: Sequence[int], at_most: int, seconds: float
) -> Iterator[Entry]:
    """Raises NotMeasured."""
    yield from map(Remark, install())
    contenders, absent = present()
    yield from map(Remark, absent)
    yield from _limits(directory)
    rows: list[Row] = []
    for course in courses:
        yield Heading(f"contest-{course.key}", f"Against others: {course.title}", COLUMNS)
        for each in slots:
            race = Race(course, each)
            for _ in range(at_most):
                run(race, directory, contenders, seconds)
            yield from race.lines()
            rows += race.rows()
    yield Section("Against the fastest other")
    yield from rows


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


def run(race: Race, directory: Path, contenders: Sequence[Contender], seconds: float) -> None:
    """One round: every contender that has come to the end of those before."""
    for each in contenders:
        if each.name not in race.faults:
            try:
                result = drain(directory, each, race.course, race.slots, seconds)
                race.results.setdefault(each.name, []).append(result)
            except NotMeasured as fault:
                race.faults[each.name] = str(fault)


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
