"""Crontab lines as EventBridge expressions: the same instants, always, or a reason."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from observerd.schedules.clock_changes import clock_changes
from observerd.schedules.conversion import CannotConvert, compare, convert
from observerd.schedules.cron import read_cron

SINCE = date(2026, 11, 24)


def expressions(text, zone="Europe/Berlin", *, like_cron=False):
    parts = convert(read_cron(text), zone, like_cron=like_cron, since=SINCE)
    return [f"{part.expression} {part.timezone}" for part in parts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("* * * * *", ["cron(* * * * ? *)"]),
        ("*/7 * * * *", ["cron(0/7 * * * ? *)"]),
        ("5-59/10 * * * *", ["cron(5/10 * * * ? *)"]),
        ("10-40/10 * * * *", ["cron(10,20,30,40 * * * ? *)"]),
        ("0 8-18 * * 1-5", ["cron(0 8-18 ? * MON-FRI *)"]),
        ("0 0 * * 0", ["cron(0 0 ? * SUN *)"]),
        ("0 0 * * 7", ["cron(0 0 ? * SUN *)"]),
        ("0 0 * * 1", ["cron(0 0 ? * MON *)"]),
        ("0 0 * * 6,7", ["cron(0 0 ? * SUN,SAT *)"]),
        ("0 0 * * 0-7", ["cron(0 0 * * ? *)"]),
        ("0 0 1 */3 *", ["cron(0 0 1 JAN,APR,JUL,OCT ? *)"]),
        ("0 0 1 jan,jul *", ["cron(0 0 1 JAN,JUL ? *)"]),
        ("@yearly", ["cron(0 0 1 JAN ? *)"]),
        # Either day field: two schedules, one run id for an instant that both have.
        ("30 4 1,15 * 5", ["cron(30 4 1,15 * ? *)", "cron(30 4 ? * FRI *)"]),
        ("0 0 1-31 * 5", ["cron(0 0 * * ? *)"]),
        # A star at the beginning makes it both: the first Monday of the month.
        ("0 0 */100,1-7 * MON", ["cron(0 0 ? * 2#1 *)"]),
        ("0 0 1-7 * */7", ["cron(0 0 ? * 1#1 *)"]),
        ("0 0 */1 * 1", ["cron(0 0 ? * MON *)"]),
    ],
)
def test_a_line_becomes_these_expressions(text, expected):
    assert [f"{each} Europe/Berlin" for each in expected] == expressions(text)


def test_the_longest_expression_that_a_line_can_become_is_within_scheduler_s_256_characters():
    """Two of every three numbers: more of them would be ranges, and other patterns are steps."""
    minutes, hours, days = (",".join(str(each) for each in range(n) if each % 3) for n in (60, 24, 32))
    [found] = convert(
        read_cron(f"{minutes} {hours} {days} 1,2,4,5,7,8,10,11 *"), "UTC", like_cron=True, since=SINCE
    )

    assert 254 == len(found.expression)


def test_days_that_must_both_match_and_cannot_be_said_are_refused():
    with pytest.raises(CannotConvert, match="wants both to match"):
        convert(read_cron("0 0 */2 * 1"), "UTC", like_cron=True, since=SINCE)


def test_the_hour_that_does_not_exist_is_made_up_for_on_its_sunday():
    assert [
        "cron(30 2 * * ? *) Europe/Berlin",
        "cron(0 1 ? 3 1L *) UTC",
    ] == expressions("30 2 * * *", like_cron=True)
    assert [
        "cron(30 2 * * ? *) America/New_York",
        "cron(0 7 ? 3 1#2 *) UTC",
    ] == expressions("30 2 * * *", "America/New_York", like_cron=True)


def test_the_repeated_hour_is_run_again_where_cron_does():
    assert [
        "cron(0/10 0-5 * * ? *) America/New_York",
        "cron(0/10 6 ? 11 1#1 *) UTC",
    ] == expressions("*/10 0-5 * * *", "America/New_York", like_cron=True)


def test_what_comes_in_every_hour_is_told_in_utc_where_clocks_change_by_whole_hours():
    assert ["cron(0/5 * * * ? *) UTC"] == expressions("*/5 * * * *", like_cron=True)
    assert ["cron(0/5 * * * ? *) Asia/Tokyo"] == expressions("*/5 * * * *", "Asia/Tokyo", like_cron=True)


def test_hours_that_are_named_are_no_star_and_keep_cron_s_rules_for_fixed_times():
    """19 past every hour, but once alone in the hour that is repeated."""
    assert [
        "cron(19 * * * ? *) Europe/Berlin",
        "cron(0 1 ? 3 1L *) UTC",
    ] == expressions("19 0-23 * * *", like_cron=True)


def test_without_a_rule_the_coming_dates_are_named_and_past_ones_are_not():
    """Only some of the nights are those of the 29th, so no Sunday's rule holds."""
    found = expressions("30 2 29 * *", "Europe/Berlin", like_cron=True)

    assert ["cron(30 2 29 * ? *) Europe/Berlin"] == found
    assert ["cron(0 1 28 3 ? 2027) UTC"] == expressions("30 2 28 * *", "Europe/Berlin", like_cron=True)[1:]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Havana", "Australia/Lord_Howe"])
@pytest.mark.parametrize("line", ["30 2 * * *", "*/10 0-5 * * *", "0 0 * * *", "15 1,2 * * 0", "*/7 * * * *"])
def test_no_instant_differs_in_the_nights_of_changed_clocks(line, zone):
    cron = read_cron(line)
    parts = convert(cron, zone, like_cron=True, since=SINCE)
    start = datetime(2026, 11, 24, tzinfo=UTC)
    changes = list(clock_changes(ZoneInfo(zone), start, start + timedelta(days=370)))
    assert 2 == len(changes)
    for change in changes:
        found = compare(cron, parts, zone, change.at - timedelta(hours=26), change.at + timedelta(hours=26))
        assert found.of_cron == found.of_scheduler
