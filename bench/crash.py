"""What is done twice, and what is lost, when a worker's machine dies in the middle of its work.

Every job writes its message's number into a ledger when it has done its work. When so many have, everything
of the contender is killed at once, as a machine ends, and another one is started. What had been done before
and is done again is counted, and what nobody has done when the queue is empty, with nothing hidden either.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import Contender, Task, bodies, install, present
from bench.patience import NotMeasured, until
from bench.processes import Program
from bench.report import Heading, Line, Remark
from bench.sqs import Sqs

JOBS, SLOTS = 60, 4
JOB_S = 0.05
# How many jobs are done when it dies, and how long after the last of them: slots keep step, and so each kill
# comes at another moment of a job.
KILLS = ((15, 0.0), (23, 0.01), (28, 0.02), (36, 0.03), (44, 0.04))
VISIBILITY_S = 3
WORK_S, SETTLE_S = 60.0, 2.0
COLUMNS = ("kills", "jobs", "done twice", "never done")


class Ledger:
    """Which messages' work has been done, in order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_bytes(b"")
        self.command = ("/bin/sh", "-c", f"sleep {JOB_S:g}; echo {{number}} >> {path}")

    def done(self) -> list[int]:
        # What was killed in the middle of its line has not done it.
        return [int(line) for line in self._path.read_text().splitlines(keepends=True) if line.endswith("\n")]


@dataclass(frozen=True, slots=True)
class Damage:
    twice: int
    never: int


def damage(done: Sequence[int], jobs: int) -> Damage:
    """Of what was to be done once."""
    times = Counter(done)
    return Damage(sum(count - 1 for count in times.values()), jobs - len(times))


def measure(directory: Path, kills: int) -> Iterator[Heading | Line | Remark]:
    """Raises NotMeasured."""
    yield from map(Remark, install())
    contenders, absent = present()
    yield from map(Remark, absent)
    title = f"Killed in the middle: {JOBS} jobs of {JOB_S * 1000:g} ms, {SLOTS} slots"
    yield Heading("crash", title, COLUMNS)
    for each in contenders:
        try:
            found = [_crash(directory, each, *moment) for moment in KILLS[:kills]]
        except NotMeasured as fault:
            yield Line((each.name, *[None] * len(COLUMNS)))
            yield Remark(f"{each.name}: not measured: {fault}")
        else:
            twice, never = sum(one.twice for one in found), sum(one.never for one in found)
            yield Line((each.name, len(found), len(found) * JOBS, twice, never))


def _crash(directory: Path, contender: Contender, after: int, later_s: float) -> Damage:
    ledger = Ledger(directory / "ledger")
    task = Task(ledger.command, VISIBILITY_S)
    with Sqs(visibility_s=VISIBILITY_S) as sqs:
        with _started(directory, contender, sqs, task) as programs:
            sqs.offer(bodies(contender, range(JOBS)))
            until(lambda: len(ledger.done()) >= after, WORK_S, f"{after} jobs are done", programs)
            time.sleep(later_s)
            for program in programs:
                program.kill_family()
        # What it held comes back only now: nobody waits for it.
        with _started(directory, contender, sqs, task) as programs:
            until(sqs.is_empty, WORK_S, "the queue is empty", programs)
            # The last job may still be working where a message is deleted first.
            time.sleep(SETTLE_S)
    return damage(ledger.done(), JOBS)


@contextlib.contextmanager
def _started(directory: Path, contender: Contender, sqs: Sqs, task: Task) -> Iterator[list[Program]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(each) for each in contender.programs(directory, sqs, SLOTS, task)]
