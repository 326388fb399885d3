"""Where the milliseconds of a start go, by whose modules they are spent on.

Python itself tells the time of each import (-X importtime), which makes every one a little slower: these are
shares of a start. What has been imported when the first call arrives counts, and nothing later.
"""

import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.daemon import observerd
from bench.processes import Program, other
from bench.report import Heading, Line, Row, Spread, budget
from bench.startup import FirstCall

LIMIT = budget("start-modules")
# The line of a module: its own time, that with what it imports, and its name, indented by two for each level.
LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)")
OWNERS = {
    "observerd": ("observerd",),
    "boto3 and botocore": ("boto3", "botocore", "s3transfer", "jmespath", "urllib3", "dateutil", "six"),
    "prometheus_client": ("prometheus_client",),
    "attrs and cattrs": ("attr", "attrs", "cattrs", "cattr"),
}
SLOWEST = 12
INTERPRETER, REST, WORK = "the interpreter", "Python's own", "no import"
COLUMNS = ("modules", "ms", "modules of bare boto3", "its ms")


@dataclass(frozen=True, slots=True)
class Start:
    """One start under Python's own timing."""

    wall_ms: float
    """Until the first receive."""
    modules: dict[str, int]
    """Microseconds of each module's own."""

    def of(self, owner: str) -> tuple[int, float]:
        """How many modules, and milliseconds for them."""
        spent = [us for module, us in self.modules.items() if owner_of(module) == owner]
        return len(spent), sum(spent) / 1_000

    def rest_ms(self, interpreter_ms: float) -> float:
        """What is no import: configuration is read, a client is made, a call is signed and sent."""
        return max(0.0, self.wall_ms - interpreter_ms - sum(self.modules.values()) / 1_000)


def measure(directory: Path, rounds: int) -> Iterator[Row | Heading | Line]:
    """Raises NotMeasured."""
    with FirstCall() as sqs:
        ours = observerd(directory, sqs.queue_url, {"noop": ["/bin/true"]})
        floor = other("boto3_floor", sqs.queue_url, sqs.endpoint)
        _start(directory, sqs, ours)  # Compiles what is imported.
        mine = [_start(directory, sqs, ours) for _ in range(rounds)]
        bare = [_start(directory, sqs, floor) for _ in range(rounds)]
        interpreter_ms = statistics.median(_interpreter_ms(directory) for _ in range(rounds))
    yield _counted(*(statistics.median(len(each.modules) for each in side) for side in (mine, bare)))
    yield Heading("imports", "Where a start goes, with imports timed by Python, which slows them", COLUMNS)
    yield Line((INTERPRETER, None, interpreter_ms, None, interpreter_ms))
    for owner in (*OWNERS, REST):
        spent = (*_medians(mine, owner), *_medians(bare, owner))
        if any(spent):
            yield Line((owner, *spent))
    rests = [statistics.median(each.rest_ms(interpreter_ms) for each in side) for side in (mine, bare)]
    yield Line((WORK, None, rests[0], None, rests[1]))
    yield from _slowest(mine)


def _counted(modules: float, others: float) -> Row:
    ratio = modules / others
    what, name = "modules loaded by the first receive", "bare boto3 program"
    return Row(what, modules, "", name, others, Spread(ratio, ratio, ratio, 1), LIMIT)


def _medians(starts: Sequence[Start], owner: str) -> tuple[float, float]:
    counts, times = zip(*(start.of(owner) for start in starts), strict=True)
    return int(statistics.median(counts)), statistics.median(times)


def _slowest(starts: Sequence[Start]) -> Iterator[Heading | Line]:
    yield Heading(
        "imports-slowest", "The slowest of our imports, each without what it imports itself", ("ms",)
    )
    # The quickest of some starts: the rest is other people's work.
    least = Counter(
        {name: min(each.modules.get(name, us) for each in starts) for name, us in starts[0].modules.items()}
    )
    for module, us in least.most_common(SLOWEST):
        yield Line((module, us / 1_000))


def _start(directory: Path, sqs: FirstCall, argv: Sequence[str]) -> Start:
    log = directory / "imports.log"
    with Program(argv, log, PYTHONPROFILEIMPORTTIME="1") as program:
        wall_ms = (sqs.arrived_at() - program.began_at) * 1_000
        program.kill()
    return Start(wall_ms, profile(log.read_text(errors="replace")))


def profile(text: str) -> dict[str, int]:
    """Microseconds of each module's own, by name, from what -X importtime has printed."""
    return {found[2]: int(found[1]) for found in LINE.finditer(text)}


def owner_of(module: str) -> str:
    top = module.partition(".")[0]
    return next((owner for owner, tops in OWNERS.items() if top in tops), REST)


def _interpreter_ms(directory: Path) -> float:
    """Its start and end without a program, and without what it imports for itself: that is counted."""
    log = directory / "nothing.log"
    with Program(other("nothing"), log, PYTHONPROFILEIMPORTTIME="1") as program:
        text = program.output(10.0)
        wall_ms = (time.monotonic() - program.began_at) * 1_000
    return wall_ms - sum(profile(text).values()) / 1_000
