"""One crontab line to the EventBridge expressions that come at the same instants, or why there are none."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from observerd.schedules import cron as crontab
from observerd.schedules import eventbridge
from observerd.schedules.clock_changes import ClockChange, clock_changes
from observerd.schedules.cron import Cron
from observerd.schedules.fields import (
    AWS_WEEKDAY,
    DAY,
    HOUR,
    MINUTE,
    MONTH,
    MONTHS,
    WEEKDAYS,
    aws_text,
)

# As far ahead as clock changes are looked up. Where they follow no rule, those of so many years are named.
DST_YEARS = 6
# Vixie's cron, Debian's and cronie make up for a change of less than three hours (cron(8)).
_AROUND = timedelta(hours=4)
_WHOLE_WEEKS = {frozenset(range(7 * n - 6, min(7 * n, 31) + 1)): n for n in range(1, 6)}


class CannotConvert(ValueError):
    """The text is one line: why, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Part:
    """One schedule of EventBridge. Those of one line together are the line."""

    label: str
    """Tells the parts of one line apart; the same for the same meaning. Empty for the first."""
    expression: str
    timezone: str
    why: str = ""


@lru_cache(maxsize=10_000)
def convert(cron: Cron, timezone: str, *, like_cron: bool, since: date) -> tuple[Part, ...]:
    """The schedules that together come when cron runs the line. Raises CannotConvert.

    like_cron: also in the nights when clocks are changed, where the two differ: those from since on.
    """
    if like_cron and cron.follows_clock and cron.every_hour and _shifts_by_whole_hours(timezone, since.year):
        why = "it comes in every hour of every day, and UTC has no hour that is skipped or repeated"
        return (Part("", _expression(cron, "*", "?"), "UTC", why),)
    parts = tuple(
        Part(label, _expression(cron, day, weekday), timezone, why)
        for label, day, weekday, why in _days(cron)
    )
    return parts + (tuple(_made_up(cron, parts, timezone, since)) if like_cron else ())


def _expression(cron: Cron, day: str, weekday: str) -> str:
    minute, hour = aws_text(MINUTE, cron.minutes), aws_text(HOUR, cron.hours)
    return f"cron({minute} {hour} {day} {aws_text(MONTH, cron.months)} {weekday} *)"


def _days(cron: Cron) -> list[tuple[str, str, str, str]]:
    """For each part: label, day of month, day of week, and why it is like that."""
    day, weekday = aws_text(DAY, cron.days), aws_text(AWS_WEEKDAY, {each + 1 for each in cron.weekdays})
    if cron.any_day:
        return [("", "*", "?", "")]
    if cron.either_day:
        why = "cron runs where either day field matches; AWS takes one of them, so there are two schedules"
        return [("", day, "?", why), ("Weekday", "?", weekday, why)]
    if weekday == "*":
        return [("", day, "?", "")]
    if day == "*":
        return [("", "?", weekday, "")]
    return _both(cron)


def _both(cron: Cron) -> list[tuple[str, str, str, str]]:
    """A day field that begins with a star, as in */100,1-7: cron wants both to match."""
    weeks = [n for days, n in _WHOLE_WEEKS.items() if days <= cron.days]
    if frozenset().union(*(days for days in _WHOLE_WEEKS if days <= cron.days)) != cron.days:
        raise CannotConvert(
            "a day field begins with a star, so cron wants both to match, and AWS takes one alone (run it on"
            " the weekdays and have the job test the day of month)"
        )
    why = "a day field begins with a star, so cron wants both to match"
    named = [(weekday, n) for weekday in sorted(cron.weekdays) for n in weeks]
    return [
        ("" if not index else f"{WEEKDAYS[weekday].title()}{n}", "?", f"{weekday + 1}#{n}", why)
        for index, (weekday, n) in enumerate(named)
    ]


# ---- the nights when clocks are changed


def _shifts_by_whole_hours(timezone: str, year: int) -> bool:
    changes = _changes(timezone, year)
    offsets = {offset for change in changes for offset in (change.before, change.after)}
    return bool(changes) and not any(offset % timedelta(hours=1) for offset in offsets)


def _changes(timezone: str, year: int) -> list[ClockChange]:
    start, end = _span(year)
    return list(clock_changes(ZoneInfo(timezone), start, end))


def _span(year: int) -> tuple[datetime, datetime]:
    return datetime(year, 1, 1, tzinfo=UTC), datetime(year + DST_YEARS, 1, 1, tzinfo=UTC)


def _made_up(cron: Cron, parts: tuple[Part, ...], timezone: str, since: date) -> Iterator[Part]:
    """A part for each run that cron makes and Scheduler does not: after a gap, and in a repeated hour."""
    lacking: dict[tuple[int, int], dict[date, frozenset[int]]] = {}
    for change in _changes(timezone, since.year):
        found = compare(cron, parts, timezone, change.at - _AROUND, change.at + _AROUND)
        for at in found.only_cron:
            dates = lacking.setdefault((at.month, at.hour), {})
            dates[at.date()] = dates.get(at.date(), frozenset()) | {at.minute}
    for (month, hour), dates in sorted(lacking.items()):
        yield from _by_rule(month, hour, dates, since.year) or _by_date(hour, dates, since)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The instants of a line in a span of time, in UTC."""

    of_cron: frozenset[datetime]
    of_scheduler: frozenset[datetime]

    @property
    def only_cron(self) -> frozenset[datetime]:
        return self.of_cron - self.of_scheduler

    @property
    def only_scheduler(self) -> frozenset[datetime]:
        return self.of_scheduler - self.of_cron


def compare(cron: Cron, parts: Iterable[Part], timezone: str, start: datetime, end: datetime) -> Comparison:
    """When cron runs the line in (start, end], and when the parts come."""
    ours = frozenset(until(crontab.runs(cron, ZoneInfo(timezone), start), end))
    return Comparison(ours, parts_runs(parts, start, end))


def parts_runs(parts: Iterable[Part], start: datetime, end: datetime) -> frozenset[datetime]:
    return frozenset(at for part in parts for at in until(part_runs(part, start), end))


def part_runs(part: Part, after: datetime) -> Iterator[datetime]:
    expression = eventbridge.read_expression(part.expression)
    return eventbridge.runs(expression, ZoneInfo(part.timezone), after)


def until(instants: Iterator[datetime], end: datetime) -> Iterator[datetime]:
    for at in instants:
        if at > end:
            return
        yield at


_WHY = "when clocks are changed: cron runs it, and Scheduler alone would not"


def _by_rule(month: int, hour: int, dates: dict[date, frozenset[int]], year: int) -> list[Part]:
    """One expression for all years, where the dates are the same Sunday of the month in each."""
    if len(dates) != DST_YEARS or len(set(dates.values())) != 1:
        return []
    first = min(dates)
    weekday = first.isoweekday() % 7 + 1
    for day in (f"{weekday}L", f"{weekday}#{(first.day + 6) // 7}"):
        part = _extra(f"{MONTHS[month - 1].title()}{hour:02}", dates[first], hour, f"? {month} {day} *")
        start, end = _span(year)
        if {at.date() for at in until(part_runs(part, start), end)} == set(dates):
            return [part]
    return []


def _by_date(hour: int, dates: dict[date, frozenset[int]], since: date) -> list[Part]:
    # AWS is not asked to take an expression that lies in the past.
    return [
        _extra(f"{day:%Y%m%d}T{hour:02}", minutes, hour, f"{day.day} {day.month} ? {day.year}")
        for day, minutes in sorted(dates.items())
        if day >= since
    ]


def _extra(label: str, minutes: frozenset[int], hour: int, days: str) -> Part:
    return Part(f"Dst{label}", f"cron({aws_text(MINUTE, minutes)} {hour} {days})", "UTC", _WHY)
