"""Where the milliseconds of a start go, by whose modules they are spent on.

Python itself tells the time of each import (-X importtime), which makes every one a little slower: these are
shares of a start. What has been imported when the first call arrives counts, and nothing later.
"""

import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
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
REST = "Python's own"
COLUMNS = ("modules", "ms", "modules of bare boto3", "its ms")


def measure(directory: Path, rounds: int) -> Iterator[Row | Heading | Line]:
    """Raises NotMeasured."""
    with FirstCall() as sqs:
        ours = observerd(directory, sqs.queue_url, {"noop": ["/bin/true"]})
        floor = other("boto3_floor", sqs.queue_url, sqs.endpoint)
        mine = [_profile(directory, sqs, ours) for _ in range(rounds)]
        floors = [_profile(directory, sqs, floor) for _ in range(rounds)]
        bare_ms = [_nothing_ms(directory) for _ in range(rounds)]
    modules, others = len(mine[0]), len(floors[0])
    ratio = modules / others
    what = "modules loaded by the first receive"
    name = "bare boto3 program"
    yield Row(what, modules, "", name, others, Spread(ratio, ratio, ratio, 1), LIMIT)
    yield Heading("imports", "Where a start's imports go, timed by Python, which slows them", COLUMNS)
    yield Line(("the interpreter", None, statistics.median(bare_ms), None, statistics.median(bare_ms)))
    for owner in (*OWNERS, REST):
        spent = (*_spent(mine, owner), *_spent(floors, owner))
        if any(spent):
            yield Line((owner, *spent))
    yield Heading("imports-slowest", "The slowest of ours, each without what it imports itself", ("ms",))
    # The quickest of some rounds: the rest is other people's work.
    least = Counter({module: min(each.get(module, us) for each in mine) for module, us in mine[0].items()})
    for module, us in least.most_common(SLOWEST):
        yield Line((module, us / 1_000))


def _profile(directory: Path, sqs: FirstCall, argv: Sequence[str]) -> dict[str, int]:
    log = directory / "imports.log"
    with Program(argv, log, PYTHONPROFILEIMPORTTIME="1") as program:
        sqs.arrived_at()
        program.kill()
    return profile(log.read_text(errors="replace"))


def profile(text: str) -> dict[str, int]:
    """Microseconds of each module's own, by name, from what -X importtime has printed."""
    return {found[2]: int(found[1]) for found in LINE.finditer(text)}


def owner_of(module: str) -> str:
    top = module.partition(".")[0]
    return next((owner for owner, tops in OWNERS.items() if top in tops), REST)


def _spent(profiles: Sequence[dict[str, int]], owner: str) -> tuple[float, float]:
    """How many modules, and milliseconds for them."""
    each = [[us for module, us in one.items() if owner_of(module) == owner] for one in profiles]
    return statistics.median(map(len, each)), statistics.median(map(sum, each)) / 1_000


def _nothing_ms(directory: Path) -> float:
    """The interpreter's start and end without a program."""
    with Program(other("nothing"), directory / "nothing.log") as program:
        program.output(10.0)
        return (time.monotonic() - program.began_at) * 1_000
