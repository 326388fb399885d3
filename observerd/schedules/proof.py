"""Whether schedules come when their crontab lines do: both evaluated, instant by instant."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, islice
from zoneinfo import ZoneInfo

from observerd.schedules import cron as crontab
from observerd.schedules.clock_changes import ClockChange, clock_changes
from observerd.schedules.conversion import DST_YEARS, Comparison, Part, compare, parts_runs, until
from observerd.schedules.cron import Cron
from observerd.schedules.schedule import Schedule

INSTANTS = 1_000
# A line that comes once in years has few instants in the time for which zones' rules mean anything.
LONGEST = timedelta(days=30 * 365)
# Clock changes further ahead than the compared instants are compared too, with what is around them.
CHANGES_FOR = timedelta(days=3 * 365)
_AROUND = timedelta(hours=26)
_PIECE = timedelta(days=31)


@dataclass(frozen=True, slots=True, order=True)
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
    parts = schedule.parts(now.date())
    if years:
        end = now + timedelta(days=366 * years)
        found = _piecewise(schedule, parts, now, end)
    else:
        first, end = _first_runs(schedule, now)
        found = iter([Comparison(first, parts_runs(parts, now, end))])
    changes = list(clock_changes(ZoneInfo(schedule.timezone), now, max(end, now + CHANGES_FOR)))
    compared, differences = 0, set[Difference]()
    for each in chain(found, _nights(schedule, parts, changes, end)):
        compared += len(each.of_cron)
        differences |= _differences(each)
    return Proof(schedule, compared, end, len(changes), tuple(sorted(differences)))


def left_alone(schedule: Schedule, now: datetime) -> list[Difference]:
    """How Scheduler would differ from cron around the clock changes to come, were nothing made up for."""
    parts = replace(schedule, clock_changes="eventbridge").parts(now.date())
    changes = list(clock_changes(ZoneInfo(schedule.timezone), now, now + CHANGES_FOR))
    nights = _nights(schedule, parts, changes, now)
    return sorted({difference for each in nights for difference in _differences(each)})


def _line(schedule: Schedule) -> Cron:
    assert schedule.line is not None  # noqa: S101 the caller proves lines, and an expression is none
    return schedule.line


def _first_runs(schedule: Schedule, now: datetime) -> tuple[frozenset[datetime], datetime]:
    """Cron's next runs, and up to when those are all that there are."""
    coming = until(crontab.runs(_line(schedule), ZoneInfo(schedule.timezone), now), now + LONGEST)
    found = frozenset(islice(coming, INSTANTS))
    return found, max(found) if len(found) == INSTANTS else now + LONGEST


def _piecewise(
    schedule: Schedule, parts: Iterable[Part], start: datetime, end: datetime
) -> Iterator[Comparison]:
    """A month at a time: a line of every minute has half a million instants in a year."""
    while start < end:
        yield compare(_line(schedule), parts, schedule.timezone, start, min(start + _PIECE, end))
        start += _PIECE


def _nights(
    schedule: Schedule, parts: Iterable[Part], changes: Iterable[ClockChange], after: datetime
) -> Iterator[Comparison]:
    """What is around the clock changes, as far as it is later than after."""
    for change in changes:
        start, end = max(after, change.at - _AROUND), change.at + _AROUND
        if start < end:
            yield compare(_line(schedule), parts, schedule.timezone, start, end)


def _differences(found: Comparison) -> set[Difference]:
    return {Difference(at, only_cron=True) for at in found.only_cron} | {
        Difference(at, only_cron=False) for at in found.only_scheduler
    }


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
