"""Random crontab lines in random zones: what is converted comes when cron runs it."""

import os
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from observerd.schedules import proof
from observerd.schedules.clock_changes import clock_changes
from observerd.schedules.conversion import CannotConvert, until
from observerd.schedules.cron import FIELDS, BadCron, read_cron, runs
from observerd.schedules.schedule import Schedule
from tests.schedules import vixie

# OBSERVERD_TEST_EXAMPLES is for a long night.
EXAMPLES = int(os.environ.get("OBSERVERD_TEST_EXAMPLES", "60"))
PROFILE = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}

# A zone of each kind: none, whole hours north and south, half an hour, at midnight, offsets of quarters,
# clocks that Ramadan changes, and the one whose summer time is the negative one.
ZONES = (
    "UTC", "Asia/Tokyo", "Europe/Berlin", "Europe/Dublin", "America/New_York", "America/Sao_Paulo",
    "America/Havana", "America/St_Johns", "America/Santiago", "Australia/Lord_Howe", "Australia/Sydney",
    "Pacific/Chatham", "Asia/Kathmandu", "Africa/Casablanca", "Asia/Beirut", "America/Nuuk",
    "Antarctica/Troll",
)  # fmt: skip


@st.composite
def ranges(draw, field):
    low = draw(st.integers(field.low, field.high))
    high = draw(st.integers(low, field.high))
    name = draw(st.booleans()) and field.names and low - field.low < len(field.names)
    first = field.names[low - field.low].lower() if name else str(low)
    step = draw(st.sampled_from(["", "", "/2", "/5", f"/{draw(st.integers(1, 70))}"]))
    return draw(st.sampled_from([first, f"{low}-{high}{step}", f"*{step}"]))


def fields(field):
    lists = st.lists(ranges(field), min_size=1, max_size=4).map(",".join)
    return st.one_of(st.just("*"), ranges(field), lists)


lines = st.tuples(*map(fields, FIELDS)).map(" ".join)
# Where the two differ is at night.
nightly = st.tuples(
    fields(FIELDS[0]),
    st.sampled_from(["0", "1", "2", "3", "23", "0-3", "*/2", "1,2", "0-2,22-23"]),
    *map(fields, FIELDS[2:]),
).map(" ".join)
moments = st.integers(0, 6 * 366 * 1440).map(
    lambda minutes: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)
REFUSALS = ("never comes", "wants both to match")


@settings(max_examples=EXAMPLES, **PROFILE)
@given(lines | nightly, st.sampled_from(ZONES), st.sampled_from(["cron", "cron_tz", "eventbridge"]), moments)
def test_no_random_line_differs_but_where_that_was_chosen(line, zone, clock_changes, now):
    try:
        schedule = Schedule("a", "a", zone, cron=read_cron(line), clock_changes=clock_changes)
        found = proof.prove(schedule, now)
    except (BadCron, CannotConvert) as refusal:
        assert any(reason in str(refusal) for reason in REFUSALS), refusal
        return

    assert [] == [each for each in found.differences if not proof.is_chosen(each, found, now)]


@pytest.mark.parametrize("zone", ZONES)
def test_in_nights_of_changed_clocks_lines_come_when_cron_s_own_loop_starts_them(zone):
    zone, now = ZoneInfo(zone), datetime(2026, 1, 1, tzinfo=UTC)
    changes = [change.at for change in clock_changes(zone, now, now + timedelta(days=730))]
    minutes = "*/20", "10,40", "0", "1-59/2"
    for line in (
        f"{minute} {hour} * * *" for minute in minutes for hour in ("*", "*/2", "0-4", "0,2,3", "1,23")
    ):
        cron = read_cron(line)
        for at in changes or [now]:
            start, end = at - timedelta(hours=5), at + timedelta(hours=5)
            assert vixie.started(cron, zone, start, end) == set(until(runs(cron, zone, start), end)), line
