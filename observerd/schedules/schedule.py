"""schedules.toml: what starts when. Read with every fault at once, written so that it reads well."""

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from observerd.config import BadConfig
from observerd.core.job import JOB_NAME
from observerd.core.lines import one_line
from observerd.core.units import duration_s, duration_text
from observerd.schedules import eventbridge
from observerd.schedules.conversion import CannotConvert, Part, convert, until
from observerd.schedules.cron import BadCron, Cron, read_cron

# As schedule.yaml has it.
DEFAULT_LATENESS_S = 21_600.0
# EventBridge Scheduler keeps an event for a minute to a day (MaximumEventAgeInSeconds).
LATENESS_S = (60.0, 86_400.0)
# CloudWatch looks back a week at most.
LONGEST_WATCH_H = 168
_KEYS = (
    "job", "cron", "expression", "timezone", "clock_changes", "overlap", "max_lateness", "missed_after",
    "payload", "enabled", "description",
)  # fmt: skip
# Scheduler API Reference, CreateSchedule: Name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Schedule:
    """One table of schedules.toml. Exactly one of cron and expression is given."""

    name: str
    job: str
    timezone: str
    cron: Cron | None = None
    expression: str | None = None
    clock_changes: str = "cron"
    """How it comes in the nights when clocks are changed: as cron has it, or "eventbridge", or "cron_tz": as
    cronie has a line under CRON_TZ, which just follows the clock of its zone."""
    overlap: str = "queue"
    max_lateness_s: float = DEFAULT_LATENESS_S
    missed_after_h: int | None = None
    """None: worked out of the times. 0: not watched."""
    payload: Any = None
    enabled: bool = True
    description: str = ""

    @property
    def line(self) -> Cron | None:
        """What cron runs."""
        return self.cron and replace(
            self.cron, follows_clock=self.cron.follows_clock or self.clock_changes == "cron_tz"
        )

    @property
    def like_cron(self) -> bool:
        return self.clock_changes != "eventbridge"

    def parts(self, since: date) -> tuple[Part, ...]:
        """The schedules of EventBridge that this one is. Raises CannotConvert."""
        if self.line is None:
            return (Part("", self.expression or "", self.timezone),)
        return convert(self.line, self.timezone, like_cron=self.like_cron, since=since)


@dataclass(frozen=True, slots=True)
class Schedules:
    entries: tuple[Schedule, ...]
    notify: tuple[str, ...] = ()
    """Mail addresses that the stack's alarms are sent to."""


def load(path: Path) -> Schedules:
    """Read schedules.toml. Raises BadConfig with every fault there is."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadConfig((f"{path}: cannot be read: {error.strerror}",)) from None
    except ValueError as error:
        raise BadConfig((one_line(f"{path}: not TOML: {error}"),)) from None
    reading = _Reading(str(path))
    schedules = reading.schedules(table)
    if reading.faults:
        raise BadConfig(tuple(sorted(reading.faults)))
    return schedules


class _Reading:
    def __init__(self, where: str) -> None:
        self._where = where
        self.faults: list[str] = []

    def fault(self, label: str, what: str) -> None:
        self.faults.append(one_line(f"{self._where}: {label}: {what}"))

    def schedules(self, table: dict[str, Any]) -> Schedules:
        for key in sorted(table.keys() - {"timezone", "notify", "schedule"}):
            self.fault(key, "unknown key (known: timezone, notify, schedule)")
        zone = self._value(table, "timezone", "timezone", _zone, "UTC")
        notify = self._value(table, "notify", "notify", _addresses, ())
        tables = table.get("schedule", {})
        if not isinstance(tables, dict) or not all(isinstance(each, dict) for each in tables.values()):
            self.fault("schedule", "must be tables (write [schedule.NAME])")
            tables = {}
        entries = [self._schedule(name, each, zone) for name, each in tables.items()]
        return Schedules(tuple(each for each in entries if each is not None), notify)

    def _schedule(self, name: str, table: dict[str, Any], zone: str) -> Schedule | None:
        label = f"schedule.{name}"
        before = len(self.faults)
        if not _NAME.fullmatch(name):
            self.fault(label, "not a schedule's name (letters, digits, '.', '_' and '-', at most 64)")
        for key in sorted(table.keys() - set(_KEYS)):
            self.fault(f"{label}.{key}", f"unknown key (known: {', '.join(_KEYS)})")
        if ("cron" in table) == ("expression" in table):
            self.fault(label, 'must have one of cron and expression (write cron = "30 2 * * *")')

        def value(key: str, read: Callable[[Any], Any], default: Any) -> Any:
            return self._value(table, key, f"{label}.{key}", read, default)

        schedule = Schedule(
            name,
            job=value("job", _job, name),
            timezone=value("timezone", _zone, zone),
            cron=value("cron", _cron, None),
            expression=value("expression", _expression, None),
            clock_changes=value("clock_changes", _clock_changes, "cron"),
            overlap=value("overlap", _overlap, "queue"),
            max_lateness_s=value("max_lateness", _lateness, DEFAULT_LATENESS_S),
            missed_after_h=value("missed_after", _hours, None),
            payload=value("payload", _payload, None),
            enabled=value("enabled", _boolean, True),  # noqa: FBT003 the default
            description=value("description", _string, ""),
        )
        self._try_parts(label, schedule, ok=len(self.faults) == before)
        return schedule if len(self.faults) == before else None

    def _try_parts(self, label: str, schedule: Schedule, *, ok: bool) -> None:
        try:
            if ok:
                schedule.parts(datetime.now(UTC).date())
        except CannotConvert as fault:
            self.fault(f"{label}.cron", str(fault))

    def _value(
        self, table: Mapping[str, Any], key: str, label: str, read: Callable[[Any], Any], default: Any
    ) -> Any:
        if key not in table:
            return default
        try:
            return read(table[key])
        except ValueError as error:
            self.fault(label, str(error))
            return default


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a string: {value!r}")  # noqa: TRY004 every fault of a value is one kind
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false: {value!r}")  # noqa: TRY004 as above
    return value


def _job(value: Any) -> str:
    if not JOB_NAME.fullmatch(_string(value)):
        raise ValueError(f"not a job's name: {value!r} (letters, digits, '.', '_' and '-', at most 80)")
    return str(value)


def _zone(value: Any) -> str:
    return known_zone(_string(value))


def known_zone(name: str) -> str:
    """The name, if it is in the IANA database. Raises ValueError."""
    if name not in _zones():
        raise ValueError(f"not a time zone: {name!r} (write an IANA name such as Europe/Berlin)")
    return name


@cache
def _zones() -> set[str]:
    """Opens 600 files: too much to do for every line of a crontab."""
    # What a machine has besides the zones, and AWS has not.
    return available_timezones() - {"localtime", "Factory"}


def _cron(value: Any) -> Cron:
    try:
        return read_cron(_string(value))
    except BadCron as fault:
        raise ValueError(f"{value!r}: {fault}") from None


def _expression(value: Any) -> str:
    try:
        return eventbridge.read_expression(_string(value)).text
    except eventbridge.BadExpression as fault:
        raise ValueError(f"{value!r}: {fault}") from None


def _clock_changes(value: Any) -> str:
    if value not in ("cron", "cron_tz", "eventbridge"):
        raise ValueError(f'must be "cron", "cron_tz" or "eventbridge": {value!r}')
    return str(value)


def _overlap(value: Any) -> str:
    if value not in ("queue", "allow"):
        raise ValueError(f'must be "queue" or "allow": {value!r}')
    return str(value)


def _lateness(value: Any) -> float:
    seconds = duration_s(value)
    if not LATENESS_S[0] <= seconds <= LATENESS_S[1]:
        raise ValueError(f"must be 1m to 1d, as long as Scheduler keeps an event: {value!r}")
    return seconds


def _hours(value: Any) -> int:
    hours, rest = divmod(duration_s(value), 3_600)
    if rest or hours > LONGEST_WATCH_H:
        raise ValueError(
            f'must be whole hours up to 168h, CloudWatch\'s week, or "0h" for no alarm: {value!r}'
        )
    return int(hours)


def _payload(value: Any) -> Any:
    try:
        json.dumps(value)
    except TypeError:
        raise ValueError("must be what JSON can say (no dates)") from None
    return value


def _addresses(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and is_address(each) for each in value):
        raise ValueError(f"must be a list of mail addresses: {value!r}")
    return tuple(value)


def is_address(text: str) -> bool:
    return re.fullmatch(r"[^@\s,;]+@[^@\s,;]+\.[^@\s,;]+", text) is not None


# ---- how long a job may go without a success


def missed_after_h(schedules: list[Schedule], since: datetime) -> int:
    """After how many hours without a success something is wrong with the job. 0: it cannot be watched.

    The longest wait between two runs, and two hours for being late and for runs of unequal length. A
    schedule that says it itself is believed.
    """
    said = [each.missed_after_h for each in schedules if each.missed_after_h is not None]
    if said:
        return min(said)
    hours = -(-_longest_wait(schedules, since) // timedelta(hours=1)) + 2
    return hours if hours <= LONGEST_WATCH_H else 0


def _longest_wait(schedules: list[Schedule], since: datetime) -> timedelta:
    """In the year to come. To the hour: where several minutes are named, the first stands for all."""
    end = since + timedelta(days=367)
    runs = [since, *sorted(at for each in schedules for at in _hourly_runs(each, since, end)), end]
    return max(later - earlier for earlier, later in pairwise(runs))


def _hourly_runs(schedule: Schedule, since: datetime, end: datetime) -> Iterator[datetime]:
    for part in schedule.parts(since.date()):
        expression = _once_an_hour(eventbridge.read_expression(part.expression))
        yield from until(eventbridge.runs(expression, ZoneInfo(part.timezone), since), end)


def _once_an_hour(expression: eventbridge.Expression) -> eventbridge.Expression:
    match expression:
        case eventbridge.CronExpression(minutes=minutes):
            return replace(expression, minutes=minutes[:1])
        case eventbridge.RateExpression(every=every):
            return replace(expression, every=max(every, timedelta(hours=1)))
    return expression


# ---- writing


def toml_text(value: Any) -> str:
    """A value as TOML writes it, on one line."""
    if isinstance(value, dict):
        inside = ", ".join(f"{toml_key(key)} = {toml_text(each)}" for key, each in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_text, value))}]"
    # JSON's strings, numbers and booleans are TOML's, but for this one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_text(key)


def table_text(head: str, values: Mapping[str, Any]) -> str:
    """A table, one key a line; what is None is not set."""
    lines = [f"{toml_key(key)} = {toml_text(value)}" for key, value in values.items() if value is not None]
    return "\n".join([f"[{head}]", *lines, ""])


def written(schedules: Schedules, heading: str) -> str:
    """schedules.toml for these."""
    zones = [each.timezone for each in schedules.entries]
    usual = max(sorted(set(zones)), key=zones.count, default="UTC")
    top = [f"# {heading}", f"timezone = {toml_text(usual)}"]
    if schedules.notify:
        top.append(f"notify = {toml_text(schedules.notify)}")
    return "\n".join(["\n".join(top) + "\n", *(_table(each, usual) for each in schedules.entries)])


def _table(schedule: Schedule, usual_zone: str) -> str:
    hours = schedule.missed_after_h
    values = {
        "description": schedule.description or None,
        "job": schedule.job if schedule.job != schedule.name else None,
        "cron": schedule.cron.text if schedule.cron else None,
        "expression": schedule.expression,
        "timezone": schedule.timezone if schedule.timezone != usual_zone else None,
        "clock_changes": schedule.clock_changes if schedule.clock_changes != "cron" else None,
        "overlap": schedule.overlap if schedule.overlap != "queue" else None,
        "max_lateness": duration_text(schedule.max_lateness_s),
        "missed_after": None if hours is None else f"{hours}h",
        "payload": schedule.payload,
        "enabled": None if schedule.enabled else False,
    }
    return table_text(f"schedule.{toml_key(schedule.name)}", values)
