"""Crontab lines read as cron reads them."""

from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from observerd.schedules.cron import BadCron, read_cron, runs


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("*/20 * * * *", "minutes", {0, 20, 40}),
        ("5-59/20 * * * *", "minutes", {5, 25, 45}),
        ("0-59/61 * * * *", "minutes", {0}),
        ("10-30/10,55 * * * *", "minutes", {10, 20, 30, 55}),
        ("0 0-23/6 * * *", "hours", {0, 6, 12, 18}),
        ("0 0 */10 * *", "days", {1, 11, 21, 31}),
        ("0 0 1 jan,Mar,DEC *", "months", {1, 3, 12}),
        ("0 0 1 jan-mar *", "months", {1, 2, 3}),
        ("0 0 * * 0", "weekdays", {0}),
        ("0 0 * * 7", "weekdays", {0}),
        ("0 0 * * 5-7", "weekdays", {5, 6, 0}),
        ("0 0 * * FRI-SUN", "weekdays", {5, 6, 0}),
        ("0 0 * * 0-7", "weekdays", set(range(7))),
        ("0 0 * * */2", "weekdays", {0, 2, 4, 6}),
        ("0 0 * * */7", "weekdays", {0}),
        ("0 0 * * mon-fri", "weekdays", {1, 2, 3, 4, 5}),
        ("@weekly", "weekdays", {0}),
        ("@midnight", "hours", {0}),
    ],
)
def test_a_field_is_read_as_cron_reads_it(text, field, expected):
    assert expected == getattr(read_cron(text), field)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("@reboot", "has no time"),
        ("@fortnightly", "not known to cron"),
        ("* * * *", "is not the five fields"),
        ("60 * * * *", "not from 0 to 59"),
        ("* * 0 * *", "not from 1 to 31"),
        ("* * * * 8", "not from 0 to 7"),
        ("* 22-2 * * *", "write 22-23,0-2"),
        ("0 0 * * SAT-MON", "write SAT-7,0-MON"),
        ("*/0 * * * *", "step '0'"),
        ("0~59 * * * *", "draw a number"),
        ("0 0 ? * MON", "is AWS's and Quartz's, not cron's"),
        ("0 0 L * *", "grammar, not cron's"),
        ("0 0 * * 5#2", "grammar, not cron's"),
        ("0 0 31 2,4 *", "never comes"),
        ("5/20 * * * *", "has a step and no range: Debian's cron and cronie refuse it (write 5-59/20)"),
        ("0 0 * * FRI-SUN/2", "write FRI-7/2"),
        ("0\xa00 * * * *", "cannot be read"),
        ("0,, * * * *", "cannot be read"),
        ("x * * * *", "cannot be read"),
        ("*-5 * * * *", "cannot be read"),
    ],
)
def test_what_cron_would_not_run_is_refused_in_one_line(text, fault):
    with pytest.raises(BadCron) as caught:
        read_cron(text)

    assert fault in str(caught.value)
    assert 1 == len(str(caught.value).splitlines())


def berlin(text, start, count):
    zone = ZoneInfo("Europe/Berlin")
    after = datetime.fromisoformat(start).replace(tzinfo=UTC)
    return [f"{at:%m-%d %H:%M}" for at in islice(runs(read_cron(text), zone, after), count)]


def test_a_fixed_time_that_the_clock_jumps_over_comes_right_after_the_jump():
    assert ["03-28 01:00", "03-29 00:30"] == berlin("30 2 * * *", "2027-03-27T12:00", 2)


def test_two_times_that_the_clock_jumps_over_are_one_run():
    assert ["03-28 01:00", "03-29 00:10"] == berlin("10,40 2 * * *", "2027-03-27T12:00", 2)


def test_a_fixed_time_in_the_repeated_hour_comes_once_and_a_star_follows_the_clock():
    assert ["10-31 00:30", "11-01 01:30"] == berlin("30 2 * * *", "2027-10-30T12:00", 2)
    repeated = ["10-31 00:00", "10-31 00:30", "10-31 01:00", "10-31 01:30", "11-01 01:00"]
    assert repeated == berlin("*/30 2 * * *", "2027-10-30T12:00", 5)


def test_a_clock_that_is_put_back_by_half_an_hour_loses_no_run():
    zone = ZoneInfo("Australia/Lord_Howe")
    after = datetime(2027, 4, 3, 14, 15, tzinfo=UTC)
    found = [each.astimezone(zone) for each in islice(runs(read_cron("*/15 1,16 * * *"), zone, after), 8)]

    expected = ["01:30", "01:45", "01:30", "01:45", "16:00", "16:15", "16:30", "16:45"]
    assert expected == [f"{at:%H:%M}" for at in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 0 * * 0-0", "Sun Sun"),
        ("0 0 * * 4-4/2", "Thu Thu"),
        ("0 0 * * FRI-7/2", "Fri Sun"),
        ("0 0 * * 5-0", "Fri Sat"),
    ],
)
def test_forms_that_cronsim_reads_differently_mean_what_they_mean_to_cron(text, expected):
    found = islice(runs(read_cron(text), ZoneInfo("UTC"), datetime(2026, 11, 24, tzinfo=UTC)), 2)

    assert expected == " ".join(f"{at:%a}" for at in found)
