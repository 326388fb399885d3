"""When a zone's clocks are changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

# The rules of a zone are known for years ahead; clocks are changed twice a year at most but for Ramadan.
_STRIDE = timedelta(days=7)
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class ClockChange:
    at: datetime
    """The first instant of the new time, in UTC."""
    before: timedelta
    after: timedelta
    """Offsets from UTC."""


def clock_changes(zone: tzinfo, start: datetime, end: datetime) -> Iterator[ClockChange]:
    """Every change of the zone's offset in (start, end], in order."""
    low = start.astimezone(UTC)
    while low < end:
        high = min(low + _STRIDE, end)
        while (before := _offset(zone, low)) != _offset(zone, high):
            at = _first_minute_without(before, zone, low, high)
            yield ClockChange(at, before, _offset(zone, at))
            low = at
        low = high


def _first_minute_without(offset: timedelta, zone: tzinfo, low: datetime, high: datetime) -> datetime:
    low = low.replace(second=0, microsecond=0)
    while high - low > _MINUTE:
        middle = low + (high - low) // 2
        middle = middle.replace(second=0, microsecond=0)
        middle = middle if middle > low else low + _MINUTE
        if _offset(zone, middle) == offset:
            low = middle
        else:
            high = middle
    return high


def _offset(zone: tzinfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()
