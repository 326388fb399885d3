"""A crontab's lines as the schedules of the world: read and named as by `import-crontab`, and due by UTC."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile

from observerd.schedules import reading
from observerd.schedules.cron import read_cron, runs
from observerd.schedules.importing import free_name
from observerd.schedules.wrapping import unwrap


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

    A line of @reboot is passed over: it has no time.
    """
    entries, refusals = reading.read_crontab(text, system=False)
    faults = [
        f"line {each.number}: {each.line!r} {each.reason}"
        for each in refusals
        if not each.line.startswith("@reboot")
    ]
    if not entries and not faults:
        faults.append("no schedule in it")
    if faults:
        raise BadCrontab("\n".join(faults))
    taken: dict[str, str] = {}
    for entry in entries:
        command = unwrap(entry.command).command
        taken[free_name(command, taken)] = command
    return tuple(Schedule(entry.cron.text, job) for entry, job in zip(entries, taken, strict=True))


def instants(schedule: Schedule, start: float, end: float) -> Iterator[float]:
    """The Unix times in [start, end) at which the schedule is due."""
    # None is as early as what they come after.
    coming = runs(read_cron(schedule.expression), UTC, datetime.fromtimestamp(start - 1, UTC))
    return takewhile(lambda at: at < end, (moment.timestamp() for moment in coming))
