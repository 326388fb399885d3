"""Whether schedules come when their crontab lines do: both evaluated, instant by instant."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from observerd.schedules import cron as crontab
from observerd.schedules.clock_changes import ClockChange, clock_changes
from observerd.schedules.conversion import DST_YEARS, compare, until
from observerd.schedules.cron import Cron
from observerd.schedules.schedule import Schedule

INSTANTS = 1_000
# A line that comes once in years has few instants in the time for which zones' rules mean anything.
LONGEST = timedelta(days=30 * 365)
# Clock changes further ahead than the compared instants are compared too, with what is around them.
CHANGES_FOR = timedelta(days=3 * 365)
_AROUND = timedelta(hours=26)
_PIECE = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Difference:
    at: datetime
    """In UTC."""
    only_cron: bool
    """Whether it is cron that runs it, or else Scheduler alone."""


@dataclass(frozen=True, slots=True)
class Proof:
    schedule: Schedule
    instants: int
    """How many runs of cron's were compared."""
    until: datetime
    """The last instant of the comparison without a gap."""
    changes: int
    """How many clock changes lie in what was compared."""
    differences: tuple[Difference, ...]


def prove(schedule: Schedule, now: datetime, years: int | None = None) -> Proof:
    """Compare the coming instants: so many years of them, or the first 1,000, and every clock change soon."""
    cron = schedule.cron
    assert cron is not None  # noqa: S101 the caller proves lines, and an expression is none
    zone, parts = ZoneInfo(schedule.timezone), schedule.parts(now.date())
    end = now + timedelta(days=366 * years) if years else _end(cron, zone, now)
    changes = [change.at for change in clock_changes(zone, now, max(end, now + CHANGES_FOR))]
    spans = [(now, end), *((max(end, at - _AROUND), at + _AROUND) for at in changes if at + _AROUND > end)]
    compared, differences = 0, []
    for start, stop in _pieces(spans):
        found = compare(cron, parts, schedule.timezone, start, stop)
        compared += len(found.of_cron)
        differences += [Difference(at, only_cron=True) for at in found.only_cron]
        differences += [Difference(at, only_cron=False) for at in found.only_scheduler]
    differences.sort(key=lambda difference: difference.at)
    return Proof(schedule, compared, end, len(changes), tuple(differences))


def _end(cron: Cron, zone: ZoneInfo, now: datetime) -> datetime:
    coming = until(crontab.runs(cron, zone, now), now + LONGEST)
    return max(islice(coming, INSTANTS), default=now + LONGEST)


def _pieces(spans: list[tuple[datetime, datetime]]) -> Iterator[tuple[datetime, datetime]]:
    """A month at a time: a line of every minute has half a million instants in a year."""
    for start, stop in spans:
        at = start
        while at < stop:
            yield at, min(at + _PIECE, stop)
            at += _PIECE


def is_chosen(difference: Difference, found: Proof, now: datetime) -> bool:
    """Whether schedules.toml leaves it alone: by its clock_changes, or as further off than is named."""
    expected = not found.schedule.like_cron or difference.at.year >= now.year + DST_YEARS
    return difference.only_cron and expected and _change_near(difference, found.schedule) is not None


def _change_near(difference: Difference, schedule: Schedule) -> ClockChange | None:
    start = difference.at - timedelta(hours=3)
    return next(clock_changes(ZoneInfo(schedule.timezone), start, difference.at), None)


def why(difference: Difference, schedule: Schedule) -> str:
    """What an instant has to do with a change of clocks, in a few words for people."""
    change = _change_near(difference, schedule)
    if change is None:
        return "no change of clocks is near: this is a fault of the conversion"
    skipped = change.after > change.before
    moved = abs(change.after - change.before)
    said = "are put forward" if skipped else "are put back"
    rule = (
        "cron makes up for the time that is jumped over, Scheduler skips it"
        if skipped
        else "cron runs in the repeated time again, Scheduler runs once"
    )
    return f"clocks {said} by {round(moved / timedelta(minutes=1))} minutes: {rule}"
