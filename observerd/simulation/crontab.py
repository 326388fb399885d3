"""A crontab's lines as the schedules of the world. What a line means is cronsim's knowledge."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

from cronsim import CronSim, CronSimError

from observerd.core.job import JOB_NAME

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = 5
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\s*=")


class BadCrontab(Exception):
    """A line cannot be read. The text is one line a fault: which, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """One line: when, in UTC, and the name of its job."""

    expression: str
    job: str
    overlaps: bool = False
    """Whether its runs may run at once: overlap = allow."""

    def __str__(self) -> str:
        return f"{self.expression} {self.job}" + (" (runs may overlap)" if self.overlaps else "")


def read_crontab(text: str) -> tuple[Schedule, ...]:
    """The schedules of a user's crontab. Raises BadCrontab, which names every fault at once.

    Comments, blank lines and assignments are passed over; @reboot has no time and is, too.
    """
    found: list[Schedule] = []
    faults = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or line.lstrip().startswith(("#", "@reboot")) or _ASSIGNMENT.match(line.lstrip()):
            continue
        try:
            found.append(_schedule(words, {each.job for each in found}))
        except (CronSimError, ValueError) as fault:
            faults.append(f"line {number}: {fault}: {line.strip()!r}")
    if not found and not faults:
        faults.append("no schedule in it")
    if faults:
        raise BadCrontab("\n".join(faults))
    return tuple(found)


def instants(schedule: Schedule, start: float, end: float) -> Iterator[float]:
    """The Unix times in [start, end) at which the schedule is due."""
    # cronsim begins after the time it is given.
    upcoming = CronSim(schedule.expression, datetime.fromtimestamp(start - 1, UTC))
    for moment in upcoming:
        if moment.timestamp() >= end:
            return
        yield moment.timestamp()


def _schedule(words: list[str], taken: set[str]) -> Schedule:
    width = 1 if words[0].startswith("@") else _FIELDS
    expression, command = " ".join(words[:width]), words[width:]
    expression = MACROS.get(expression.lower(), expression)
    if not command:
        raise ValueError("no command")
    CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC))
    return Schedule(expression, _unused(_job_name(command), taken))


def _job_name(command: list[str]) -> str:
    """The program's own name: /usr/local/bin/nightly-feed.sh --all is nightly-feed."""
    stem = PurePosixPath(command[0]).name.removesuffix(".sh").removesuffix(".py")
    name = re.sub("[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:70]
    return name if JOB_NAME.fullmatch(name) else "job"


def _unused(name: str, taken: set[str]) -> str:
    """Two lines with one program are two jobs here: their runs may overlap."""
    if name not in taken:
        return name
    return next(f"{name}-{number}" for number in range(2, len(taken) + 3) if f"{name}-{number}" not in taken)
