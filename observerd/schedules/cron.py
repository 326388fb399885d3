"""A crontab's five fields, as Debian's cron and cronie read them. When they come is asked of cronsim."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from cronsim import CronSim

from observerd.schedules.fields import CRON_WEEKDAY, DAY, HOUR, MINUTE, MONTH, Field

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FIELDS = (MINUTE, HOUR, DAY, MONTH, CRON_WEEKDAY)
LONGEST_MONTHS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
# No clock was put back by more than that in our century.
LONGEST_REPEAT = timedelta(hours=3)
_RANGE = re.compile(r"(\*|\w+)(?:-(\w+))?(?:/(\w+))?", re.ASCII)
_TO_SUNDAY = re.compile("(?<!^0)(?<!^SUN)-(SUN|0)$")


class BadCron(ValueError):
    """The text is one line: what is wrong, and what to write."""


@dataclass(frozen=True, slots=True)
class Cron:
    text: str
    """Five fields, as written; a nickname's meaning."""
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    follows_clock: bool
    """Minute or hour begins with a star: when the clock is changed, nothing is made up for or left out."""
    either_day: bool
    """Neither day field begins with a star: then cron runs where one of the two matches, not both."""

    @property
    def ends_on_sunday(self) -> bool:
        """Written like FRI-SUN, of which Debian's cron makes no day at all, and cronie these three."""
        return any(_TO_SUNDAY.search(part) for part in self.text.upper().split()[4].split(","))

    @property
    def every_hour(self) -> bool:
        return len(self.hours) == len(HOUR.all) and self.every_day

    @property
    def every_day(self) -> bool:
        return len(self.months) == len(MONTH.all) and self.any_day

    @property
    def any_day(self) -> bool:
        """Whether the two day fields let every day through."""
        free = (self.days == DAY.all, len(self.weekdays) == 7)  # noqa: PLR2004 days in a week
        return any(free) if self.either_day else all(free)


def read_cron(text: str) -> Cron:
    """The line that text writes: five fields, or a nickname but @reboot. Raises BadCron.

    What both Debian's cron (3.0pl1) and cronie (1.7) refuse is refused, and what one of them never runs.
    """
    fields = _five(text)
    minutes, hours, days, months, weekdays = map(_values, FIELDS, fields)
    cron = Cron(
        " ".join(fields),
        minutes,
        hours,
        days,
        months,
        weekdays=frozenset(day % 7 for day in weekdays),
        follows_clock=fields[0].startswith("*") or fields[1].startswith("*"),
        either_day=not (fields[2].startswith("*") or fields[4].startswith("*")),
    )
    if not cron.either_day and min(cron.days) > max(LONGEST_MONTHS.get(month, 31) for month in cron.months):
        raise BadCron(f"never comes: no month of {fields[3]!r} has a day {min(cron.days)}")
    return cron


def runs(cron: Cron, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """When cron runs the line after that instant, in UTC and in order, each instant once.

    By the rules of cron(8): a run at a fixed time that the clock jumps over comes right after the jump, one
    in an hour that is repeated comes once; lines with a star in minute or hour just follow the clock.
    """
    last = after
    for instant in (_by_the_clock if cron.follows_clock else _made_up_for)(cron, zone, after):
        # Two times of one line that the clock jumps over come together: one instant is one run.
        if instant > last:
            yield instant
            last = instant


def _made_up_for(cron: Cron, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    for local in CronSim(_for_cronsim(cron.text), after.astimezone(zone)):
        yield local.astimezone(UTC)


def _by_the_clock(cron: Cron, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """Whenever a clock on the wall shows a time of the line.

    cronsim is asked for the times on the wall alone: with a zone it loses runs where clocks are changed by
    half an hour.
    """
    start = (after.astimezone(zone) - LONGEST_REPEAT).replace(tzinfo=None)
    again: list[datetime] = []
    for local in CronSim(_for_cronsim(cron.text), start):
        first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        while again and again[0] <= first:
            yield again.pop(0)
        if first.astimezone(zone).replace(tzinfo=None) != local:
            # The clock jumps over it.
            continue
        yield first
        if second != first:
            again.append(second)


def _for_cronsim(text: str) -> str:
    """The same times, without the forms that cronsim reads differently or not at all."""
    return " ".join(
        ",".join(_part_for_cronsim(field, part) for part in word.split(","))
        for field, word in zip(FIELDS, text.split(), strict=True)
    )


def _part_for_cronsim(field: Field, part: str) -> str:
    values = _range(field, part)
    if len(values) == 1 and not part.startswith("*"):
        # To cronsim, 4-4/2 is 4/2.
        return str(values.start)
    # FRI-SUN is 5-7; cronsim knows the latter form alone.
    return _TO_SUNDAY.sub("-7", part.upper())


def _five(text: str) -> list[str]:
    words = re.split("[ \t]+", text.strip(" \t"))
    if len(words) == 1 and words[0].startswith("@"):
        return _nickname(words[0]).split()
    if len(words) != len(FIELDS):
        raise BadCron("is not the five fields minute, hour, day of month, month and day of week")
    return words


def _nickname(word: str) -> str:
    if word == "@reboot":
        raise BadCron(
            "has no time: it runs when cron starts (let systemd start it: a unit with"
            " WantedBy=multi-user.target)"
        )
    if word not in NICKNAMES:
        raise BadCron(f"{word} is not known to cron (known: {', '.join(NICKNAMES)})")
    return NICKNAMES[word]


def _values(field: Field, text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        found.update(_range(field, part))
    return frozenset(found)


def _range(field: Field, text: str) -> range:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise _misread(field, text)
    first, last, step = match.groups()
    if first == "*" and last:
        raise _misread(field, text)
    low = field.low if first == "*" else _number(field, first)
    if step and not last and first != "*":
        raise BadCron(
            f"{field.name} {text!r} has a step and no range: Debian's cron and cronie refuse it"
            f" (write {first}-{field.high}/{step})"
        )
    high = _number(field, last) if last else field.high if first == "*" else low
    if high == 0 < low and field is CRON_WEEKDAY and not step:
        # Cronie alone reads FRI-SUN so, and only without a step.
        high = 7
    if low > high:
        wanted = f"{first}-7/{step}" if high == 0 else f"{first}-{field.high},{field.low}-{last}"
        raise BadCron(f"{field.name} {text!r} runs backwards, and cron runs nothing for it (write {wanted})")
    return range(low, high + 1, _step(field, step))


def _number(field: Field, text: str) -> int:
    if text.isdecimal():
        number = int(text)
        if field.low <= number <= field.high:
            return number
        raise BadCron(f"{field.name} {text} is not from {field.low} to {field.high}")
    if text.upper() in field.names:
        return field.low + field.names.index(text.upper())
    raise _misread(field, text)


def _step(field: Field, text: str | None) -> int:
    if text is None:
        return 1
    if not text.isdecimal() or int(text) == 0:
        raise BadCron(f"{field.name} step {text!r} is not a number from 1 on")
    return int(text)


def _misread(field: Field, text: str) -> BadCron:
    if text == "?":
        return BadCron(f"{field.name} '?' is AWS's and Quartz's, not cron's (write *)")
    if "~" in text:
        return BadCron(
            f"{field.name} {text!r} lets cronie draw a number when it starts (write the number you want)"
        )
    if "#" in text or re.search("[LW]$", text.upper()):
        return BadCron(f"{field.name} {text!r} is AWS's and Quartz's grammar, not cron's")
    return BadCron(f"{field.name} {text!r} cannot be read")
