"""EventBridge Scheduler's expressions: what they mean, and when they come.

Written from the Scheduler User Guide ("Schedule types") and the EventBridge User Guide ("Cron expressions
reference"). What those pages do not define is refused here.
"""

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

from observerd.schedules.fields import AWS_WEEKDAY, DAY, HOUR, MINUTE, MONTH, YEAR, Field

# Scheduler API Reference, CreateSchedule: ScheduleExpression.
EXPRESSION_LIMIT = 256
_WRAPPED = re.compile(r"(cron|rate|at)\((.*)\)", re.DOTALL)
_RANGE = re.compile(r"(\*|\w+)(?:-(\w+))?(?:/(\w+))?", re.ASCII)
_UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


class BadExpression(ValueError):
    """AWS would not take it, or its documentation does not say what it means. The text is one line."""


@dataclass(frozen=True, slots=True)
class Days:
    """Which days of a month: by number and by weekday, of which AWS takes one kind at a time."""

    numbers: frozenset[int] = frozenset()
    last: bool = False
    nearest_weekdays: frozenset[int] = frozenset()
    """15 for 15W: the day from Monday to Friday that is nearest to the 15th, in the same month."""
    weekdays: frozenset[int] = frozenset()
    """1 is Sunday, as AWS counts."""
    last_weekdays: frozenset[int] = frozenset()
    nth_weekday: tuple[int, int] | None = None
    """(weekday, which one of the month)."""

    def of(self, year: int, month: int) -> list[int]:
        length = calendar.monthrange(year, month)[1]
        found = {day for day in range(1, length + 1) if self._matches(date(year, month, day), length)}
        found |= {_nearest_weekday(year, month, day) for day in self.nearest_weekdays if day <= length}
        return sorted(found)

    def _matches(self, day: date, length: int) -> bool:
        weekday = day.isoweekday() % 7 + 1
        return (
            day.day in self.numbers
            or (self.last and day.day == length)
            or weekday in self.weekdays
            or (weekday in self.last_weekdays and day.day > length - 7)
            or self.nth_weekday == (weekday, (day.day + 6) // 7)
        )


@dataclass(frozen=True, slots=True)
class CronExpression:
    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: Days
    months: frozenset[int]
    years: frozenset[int]


@dataclass(frozen=True, slots=True)
class RateExpression:
    text: str
    every: timedelta


@dataclass(frozen=True, slots=True)
class AtExpression:
    text: str
    moment: datetime
    """Without a zone: that of the schedule."""


Expression = CronExpression | RateExpression | AtExpression


def read_expression(text: str) -> Expression:
    """What EventBridge Scheduler would make of text. Raises BadExpression."""
    if len(text) > EXPRESSION_LIMIT:
        raise BadExpression(f"is {len(text)} characters long; Scheduler takes {EXPRESSION_LIMIT}")
    found = _WRAPPED.fullmatch(text.strip())
    if found is None:
        raise BadExpression("is neither cron(...), rate(...) nor at(...), in lower case")
    kind, inside = found.groups()
    if kind == "cron":
        return _read_cron(text.strip(), inside)
    return _read_rate(text.strip(), inside) if kind == "rate" else _read_at(text.strip(), inside)


def runs(expression: Expression, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """When Scheduler starts it after that instant, in UTC and in order.

    A local time that the clock jumps over is skipped; one that comes twice is taken the first time alone
    (User Guide, "Daylight savings time"). A rate is counted from after; AWS counts from its creation.
    """
    match expression:
        case CronExpression():
            local = _local_times(expression, after.astimezone(zone).date())
            yield from (at for each in local if (at := _instant(each, zone)) is not None and at > after)
        case RateExpression():
            while True:
                after += expression.every
                yield after.astimezone(UTC)
        case AtExpression():
            at = _instant(expression.moment, zone)
            if at is not None and at > after:
                yield at


def _local_times(cron: CronExpression, start: date) -> Iterator[datetime]:
    for year in sorted(year for year in cron.years if year >= start.year):
        for month in sorted(cron.months):
            if (year, month) < (start.year, start.month):
                continue
            for day in cron.days.of(year, month):
                # A day early: the first date may begin before `after` and end behind it in another zone.
                if date(year, month, day) >= start:
                    yield from (
                        datetime(year, month, day, hour, minute)  # noqa: DTZ001 the zone is put on by the caller
                        for hour in cron.hours
                        for minute in cron.minutes
                    )


def _instant(local: datetime, zone: tzinfo) -> datetime | None:
    """The instant, the first where there are two; None for a time that the clock jumps over."""
    instant = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return instant if instant.astimezone(zone).replace(tzinfo=None) == local else None


def _nearest_weekday(year: int, month: int, day: int) -> int:
    """The User Guide's W; it does not leave the month."""
    length = calendar.monthrange(year, month)[1]
    match date(year, month, day).isoweekday():
        case 6:
            return day - 1 if day > 1 else day + 2
        case 7:
            return day + 1 if day < length else day - 2
    return day


def _read_cron(text: str, inside: str) -> CronExpression:
    fields = inside.split()
    if len(fields) != 6:  # noqa: PLR2004 the grammar's
        raise BadExpression(
            f"has {len(fields)} fields, not 6 (minute, hour, day of month, month, day of week, year)"
        )
    minute, hour, day, month, weekday, year = fields
    return CronExpression(
        text,
        tuple(sorted(_values(MINUTE, minute))),
        tuple(sorted(_values(HOUR, hour))),
        _days(day, weekday),
        _values(MONTH, month),
        _values(YEAR, year),
    )


def _days(day: str, weekday: str) -> Days:
    if "?" not in (day, weekday):
        of_day, of_weekday = f"{day} and ?", f"? and {weekday}"
        both = f"{of_day}; {of_weekday} is another schedule"
        wanted = of_weekday if day == "*" else of_day if weekday == "*" else both
        raise BadExpression(
            f"names both a day of month ({day}) and a day of week ({weekday}); AWS takes one (write {wanted})"
        )
    if day == weekday:
        raise BadExpression("has ? for both day fields; write * for one")
    return _days_of_week(weekday) if day == "?" else _days_of_month(day)


def _days_of_month(text: str) -> Days:
    parts = text.upper().split(",")
    if "LW" in parts:
        raise BadExpression(f"day of month {text!r}: AWS documents L alone, and W after a number")
    nearest = [part.removesuffix("W") for part in parts if part.endswith("W")]
    plain = [part for part in parts if part != "L" and not part.endswith("W")]
    return Days(
        numbers=_values(DAY, ",".join(plain)) if plain else frozenset(),
        last="L" in parts,
        nearest_weekdays=frozenset(_number(DAY, part) for part in nearest),
    )


def _days_of_week(text: str) -> Days:
    if "#" in text:
        weekday, _, which = text.partition("#")
        if "," in text or which not in "12345" or len(which) != 1:
            raise BadExpression(f"day of week {text!r}: # takes one weekday and one number from 1 to 5")
        return Days(nth_weekday=(_number(AWS_WEEKDAY, weekday), int(which)))
    if "/" in text:
        raise BadExpression(f"day of week {text!r}: AWS documents no steps there (list the days)")
    parts = text.upper().split(",")
    last = [part.removesuffix("L") for part in parts if part.endswith("L") and part != "L"]
    plain = ["SAT" if part == "L" else part for part in parts if part == "L" or not part.endswith("L")]
    return Days(
        weekdays=_values(AWS_WEEKDAY, ",".join(plain)) if plain else frozenset(),
        last_weekdays=frozenset(_number(AWS_WEEKDAY, part) for part in last),
    )


def _values(field: Field, text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        found.update(_range(field, part))
    return frozenset(found)


def _range(field: Field, text: str) -> list[int]:
    match = _RANGE.fullmatch(text)
    if match is None or (match[1] == "*" and match[2]):
        raise BadExpression(f"{field.name} {text!r} cannot be read")
    first, last, step = match.groups()
    low = field.low if first == "*" else _number(field, first)
    high = _number(field, last) if last else field.high if first == "*" or step else low
    if field is YEAR and low > high:
        raise BadExpression(f"year {text!r} runs backwards")
    # 20-2 is from 20 over midnight to 2, as in the guide's example.
    whole = [*range(low, high + 1)] or [*range(low, field.high + 1), *range(field.low, high + 1)]
    return whole[:: _step(field, step)]


def _number(field: Field, text: str) -> int:
    if text.isdecimal() and field.low <= int(text) <= field.high:
        return int(text)
    if text.upper() in field.names:
        return field.low + field.names.index(text.upper())
    hint = "; 1 is SUN, 7 is SAT" if field is AWS_WEEKDAY else ""
    raise BadExpression(f"{field.name} {text!r} is not from {field.low} to {field.high}{hint}")


def _step(field: Field, text: str | None) -> int:
    if text is None:
        return 1
    if not text.isdecimal() or int(text) == 0:
        raise BadExpression(f"{field.name} step {text!r} is not a number from 1 on")
    return int(text)


def _read_rate(text: str, inside: str) -> RateExpression:
    found = re.fullmatch(r"([0-9]{1,9})\s+(minute|hour|day)s?", inside.strip())
    if found is None or int(found[1]) == 0:
        raise BadExpression("is not like rate(5 minutes): a number from 1 on, and minutes, hours or days")
    return RateExpression(text, int(found[1]) * _UNITS[found[2]])


def _read_at(text: str, inside: str) -> AtExpression:
    try:
        return AtExpression(text, datetime.strptime(inside.strip(), "%Y-%m-%dT%H:%M:%S"))  # noqa: DTZ007 the schedule has the zone
    except ValueError:
        raise BadExpression("is not like at(2027-01-01T00:00:00)") from None
