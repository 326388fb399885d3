"""Expressions in words, and what people get wrong about them."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

from observerd.schedules.cron import LONGEST_MONTHS, Cron
from observerd.schedules.eventbridge import AtExpression, CronExpression, Days, Expression, RateExpression
from observerd.schedules.fields import DAY, HOUR, MINUTE, MONTH, YEAR

_WEEKDAY_NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTH_NAMES = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
_ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth"}
# More times of day than this are told by their fields.
_TIMES = 6


def cron_words(cron: Cron) -> str:
    """A crontab line's times: "at 02:30 on Monday"."""
    return _said(_times(sorted(cron.minutes), sorted(cron.hours)), _cron_days(cron), _months(cron.months))


def expression_words(expression: Expression) -> str:
    match expression:
        case CronExpression():
            years = f"in {_ranges(sorted(expression.years))}" if expression.years != YEAR.all else ""
            times = _times(expression.minutes, expression.hours)
            return _said(times, _aws_days(expression.days), _months(expression.months), years)
        case RateExpression(every=every):
            return f"every {span_words(every)} from when the schedule was made"
        case AtExpression(moment=moment):
            return f"once, at {moment:%H:%M:%S on %d %B %Y}"


def span_words(span: timedelta) -> str:
    """The two largest units of a span: "3 hours 5 minutes"."""
    minutes = round(span.total_seconds() / 60)
    units = (("day", minutes // 1440), ("hour", minutes // 60 % 24), ("minute", minutes % 60))
    parts = [f"{count} {unit}{'' if count == 1 else 's'}" for unit, count in units if count]
    return " ".join(parts[:2]) or "less than a minute"


def _said(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _times(minutes: Sequence[int], hours: Sequence[int]) -> str:
    if len(minutes) * len(hours) <= _TIMES:
        return "at " + _listed(f"{hour:02}:{minute:02}" for hour in hours for minute in minutes)
    of_hours = "" if len(hours) == len(HOUR.all) else f"in {_hours(hours)}"
    if len(minutes) == len(MINUTE.all):
        return _said("every minute", of_hours)
    if step := _even_step(minutes):
        return _said(f"every {step} minutes", of_hours)
    named = f"minute{'' if len(minutes) == 1 else 's'} {_listed(map(str, minutes))}"
    return f"at {named} of {_hours(hours) if of_hours else 'every hour'}"


def _even_step(minutes: Sequence[int]) -> int | None:
    """The step, where it is the same over the turn of the hour too."""
    if len(minutes) == 1:
        return None
    step = minutes[1] - minutes[0]
    whole = list(range(minutes[0], MINUTE.high + 1, step))
    return step if 60 % step == 0 and minutes[0] == 0 and list(minutes) == whole else None


def _hours(hours: Sequence[int]) -> str:
    return f"the hours {_ranges(hours)}" if len(hours) > 1 else f"the hour {hours[0]}"


def _cron_days(cron: Cron) -> str:
    if cron.any_day:
        return "every day"
    free_day, free_weekday = cron.days == DAY.all, len(cron.weekdays) == 7  # noqa: PLR2004 days in a week
    day = f"on day {_ranges(sorted(cron.days))} of the month"
    weekday = f"on {_weekdays(sorted(cron.weekdays))}"
    if cron.either_day:
        return f"{day} and also {weekday}"
    return weekday if free_day else day if free_weekday else f"{weekday} if it is {day[3:]}"


def _aws_days(days: Days) -> str:
    if len(days.weekdays) == 7 or days.numbers == DAY.all:  # noqa: PLR2004 days in a week
        return "every day"
    parts = [
        f"day {_ranges(sorted(days.numbers))} of the month" if days.numbers else "",
        "the last day of the month" if days.last else "",
        *(f"the weekday nearest to day {day} of the month" for day in sorted(days.nearest_weekdays)),
        _weekdays(sorted(day - 1 for day in days.weekdays)),
        *(f"the last {_WEEKDAY_NAMES[day - 1]} of the month" for day in sorted(days.last_weekdays)),
    ]
    if days.nth_weekday:
        weekday, which = days.nth_weekday
        parts.append(f"the {_ORDINALS[which]} {_WEEKDAY_NAMES[weekday - 1]} of the month")
    return "on " + _listed(part for part in parts if part)


def _weekdays(days: Sequence[int]) -> str:
    if list(days) == [1, 2, 3, 4, 5]:
        return "Monday to Friday"
    return _listed(_WEEKDAY_NAMES[day] for day in days) if days else ""


def _months(months: Iterable[int]) -> str:
    numbers = sorted(months)
    return "" if numbers == sorted(MONTH.all) else "in " + _listed(_MONTH_NAMES[each - 1] for each in numbers)


def _ranges(numbers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return _listed(word for run in runs for word in _run_words(run))


def _run_words(run: list[int]) -> list[str]:
    return [f"{run[0]} to {run[-1]}"] if len(run) > 2 else [str(number) for number in run]  # noqa: PLR2004


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


# ---- mistakes


def cron_warnings(cron: Cron) -> Iterator[str]:
    """What a reader of the line may well take for something else."""
    yield from _uneven(cron.text.split()[0], sorted(cron.minutes), MINUTE.high + 1, "minute", "hour")
    yield from _uneven(cron.text.split()[1], sorted(cron.hours), HOUR.high + 1, "hour", "day")
    if cron.either_day and not cron.any_day:
        yield "both day fields are given: cron runs on days that match either of them, not both"
    elif not cron.either_day and cron.days != DAY.all and len(cron.weekdays) < 7:  # noqa: PLR2004 days in a week
        yield "a day field begins with a star: cron runs on days that match both of them"
    if cron.ends_on_sunday:
        yield "a range that ends on Sunday by name is cronie's; Debian's cron has no day for it"
    yield from _short_months(cron.days, cron.months)


def expression_warnings(expression: Expression) -> Iterator[str]:
    if isinstance(expression, RateExpression):
        yield "a rate counts from when the schedule was made: it keeps to no time of day"
    if not isinstance(expression, CronExpression):
        return
    minute, hour, _, _, weekday, _ = expression.text[5:-1].split()
    yield from _uneven(minute, expression.minutes, MINUTE.high + 1, "minute", "hour")
    yield from _uneven(hour, expression.hours, HOUR.high + 1, "hour", "day")
    if any(letter.isdecimal() for letter in weekday.partition("#")[0]):
        days = expression.days.weekdays | expression.days.last_weekdays
        nth = [expression.days.nth_weekday[0]] if expression.days.nth_weekday else []
        named = _listed(f"{day} is {_WEEKDAY_NAMES[day - 1]}" for day in sorted({*days, *nth}))
        yield f"AWS counts the days of the week from 1, Sunday (cron from 0): here {named}; names are clearer"
    yield from _short_months(expression.days.numbers, expression.months)


def _uneven(field: str, values: Sequence[int], whole: int, unit: str, larger: str) -> Iterator[str]:
    """Of */7 and the like, which begin anew with each hour or day."""
    if "/" not in field or len(values) < 2:  # noqa: PLR2004 two make a step
        return
    step, last = values[1] - values[0], whole - values[-1] + values[0]
    if last != step and values[-1] + step >= whole:
        yield (
            f"{field!r} begins anew with each {larger}: from {unit} {values[-1]} to the next"
            f" {larger}'s {unit} {values[0]} is {last} {unit}{'' if last == 1 else 's'}, not {step}"
        )


def _short_months(days: frozenset[int], months: Iterable[int]) -> Iterator[str]:
    latest = max(days, default=1)
    short = [month for month in sorted(months) if LONGEST_MONTHS.get(month, 31) < latest]
    if days != DAY.all and short:
        yield f"no day {latest} in {_listed(_MONTH_NAMES[month - 1] for month in short)}"
