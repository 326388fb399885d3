"""The evaluator of AWS's grammar, held to the examples of AWS's documentation and to its rules."""

from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from observerd.schedules.eventbridge import BadExpression, read_expression, runs

UTC_ZONE = ZoneInfo("UTC")


def coming(text, after, count=1, zone="UTC"):
    """The next local times, as "Mon 2026-11-23 10:00"."""
    start = datetime.fromisoformat(after).replace(tzinfo=ZoneInfo(zone))
    found = islice(runs(read_expression(text), ZoneInfo(zone), start), count)
    return [f"{at.astimezone(ZoneInfo(zone)):%a %Y-%m-%d %H:%M}" for at in found]


# EventBridge User Guide, "Cron expressions reference", and the Scheduler User Guide's: each example.
EXAMPLES = [
    ("cron(0 10 * * ? *)", ["Mon 2026-11-23 10:00", "Tue 2026-11-24 10:00"]),
    ("cron(15 12 * * ? *)", ["Mon 2026-11-23 12:15", "Tue 2026-11-24 12:15"]),
    ("cron(0 18 ? * MON-FRI *)", ["Mon 2026-11-23 18:00", "Tue 2026-11-24 18:00"]),
    ("cron(0 8 1 * ? *)", ["Tue 2026-12-01 08:00", "Fri 2027-01-01 08:00"]),
    ("cron(0/15 * * * ? *)", ["Mon 2026-11-23 00:15", "Mon 2026-11-23 00:30"]),
    ("cron(0/10 * ? * MON-FRI *)", ["Mon 2026-11-23 00:10", "Mon 2026-11-23 00:20"]),
    ("cron(0/5 8-17 ? * MON-FRI *)", ["Mon 2026-11-23 08:00", "Mon 2026-11-23 08:05"]),
    ("cron(0/30 20-2 ? * MON-FRI *)", ["Mon 2026-11-23 00:30", "Mon 2026-11-23 01:00"]),
    ("cron(15 10 ? * 6L 2026-2027)", ["Fri 2026-11-27 10:15", "Fri 2026-12-25 10:15"]),
    # Of the same guide's tutorials and rules.
    ("cron(0/5 * * * ? *)", ["Mon 2026-11-23 00:05", "Mon 2026-11-23 00:10"]),
    ("cron(5,35 14 * * ? *)", ["Mon 2026-11-23 14:05", "Mon 2026-11-23 14:35", "Tue 2026-11-24 14:05"]),
    ("cron(0 0/4 * * ? *)", ["Mon 2026-11-23 04:00", "Mon 2026-11-23 08:00"]),
    ("cron(0 12 * * ? *)", ["Mon 2026-11-23 12:00", "Tue 2026-11-24 12:00"]),
    # Taken by AWS, as LocalStack's pull request 13628 records it, and on no page: a range with a step.
    ("cron(0-15/5 8-8 ? * 2,3,4,5,6,7 *)", ["Mon 2026-11-23 08:00", "Mon 2026-11-23 08:05"]),
    # Of the wildcards' descriptions on the same page.
    ("cron(1/10 * * * ? *)", ["Mon 2026-11-23 00:01", "Mon 2026-11-23 00:11", "Mon 2026-11-23 00:21"]),
    ("cron(0 0 1-15 JAN,FEB,MAR ? *)", ["Fri 2027-01-01 00:00", "Sat 2027-01-02 00:00"]),
    ("cron(0 0 7 * ? *)", ["Mon 2026-12-07 00:00"]),
    ("cron(0 0 L * ? *)", ["Mon 2026-11-30 00:00", "Thu 2026-12-31 00:00"]),
    ("cron(0 0 ? * L *)", ["Sat 2026-11-28 00:00", "Sat 2026-12-05 00:00"]),
    ("cron(0 0 3W * ? *)", ["Thu 2026-12-03 00:00", "Mon 2027-01-04 00:00"]),
    ("cron(0 0 ? * 3#2 *)", ["Tue 2026-12-08 00:00", "Tue 2027-01-12 00:00"]),
]


@pytest.mark.parametrize(("text", "expected"), EXAMPLES)
def test_the_documentations_examples_come_when_it_says(text, expected):
    assert expected == coming(text, "2026-11-23T00:00", len(expected))


def test_an_hour_range_over_midnight_belongs_to_the_days_of_the_other_field():
    """The guide: the example of 20-2 runs "from 12:00 am to 2:00 am on Monday morning", and not on Saturday's."""  # noqa: E501 one fact a line
    found = coming("cron(0/30 20-2 ? * MON-FRI *)", "2026-11-27T23:00", 4)

    assert [
        "Fri 2026-11-27 23:30",
        "Mon 2026-11-30 00:00",
        "Mon 2026-11-30 00:30",
        "Mon 2026-11-30 01:00",
    ] == found


def test_a_weekday_range_may_wrap():
    expected = ["Fri 2026-11-27", "Sat 2026-11-28", "Sun 2026-11-29", "Mon 2026-11-30", "Fri 2026-12-04"]

    assert expected == [each[:-6] for each in coming("cron(0 1 ? * FRI-MON *)", "2026-11-24T00:00", 5)]


@pytest.mark.parametrize(
    ("number", "day"), list(enumerate(("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"), 1))
)
def test_days_of_the_week_are_counted_from_sunday_as_1(number, day):
    assert day == coming(f"cron(0 0 ? * {number} *)", "2026-11-23T00:00")[0][:3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cron(0 0 1W * ? *)", "Mon 2027-05-03 00:00"),
        ("cron(0 0 31W * ? *)", "Mon 2027-05-31 00:00"),
    ],
)
def test_the_nearest_weekday_stays_in_its_month(text, expected):
    """The first of May 2027 is a Saturday; Friday would be in April."""
    assert expected == coming(text, "2027-05-01T00:00")[0]


def test_the_nearest_weekday_to_a_sunday_that_ends_a_month_is_the_friday_before():
    assert "Fri 2027-01-29 00:00" == coming("cron(0 0 31W * ? *)", "2027-01-01T00:00")[0]


def test_a_step_does_not_wrap():
    assert ["Mon 2026-11-23 00:50", "Mon 2026-11-23 01:50"] == coming(
        "cron(50/20 * * * ? *)", "2026-11-23T00:00", 2
    )


def test_a_leap_day_waits_for_its_year():
    assert ["Tue 2028-02-29 12:00", "Sun 2032-02-29 12:00"] == coming(
        "cron(0 12 29 2 ? *)", "2026-11-23T00:00", 2
    )


def test_years_end():
    assert [] == coming("cron(0 0 1 1 ? 2020-2026)", "2026-11-23T00:00")


def test_a_time_that_the_clock_jumps_over_is_skipped():
    found = coming("cron(30 2 * * ? *)", "2027-03-27T12:00", 2, "Europe/Berlin")

    assert ["Mon 2027-03-29 02:30", "Tue 2027-03-30 02:30"] == found


def test_a_time_that_comes_twice_is_taken_once_and_the_first_time():
    zone = ZoneInfo("Europe/Berlin")
    start = datetime(2027, 10, 30, 12, tzinfo=UTC)
    found = list(islice(runs(read_expression("cron(30 2 * * ? *)"), zone, start), 2))

    assert [datetime(2027, 10, 31, 0, 30, tzinfo=UTC), datetime(2027, 11, 1, 1, 30, tzinfo=UTC)] == found


def test_a_rate_counts_from_its_beginning():
    assert ["Mon 2026-11-23 00:07", "Mon 2026-11-23 00:14"] == coming(
        "rate(7 minutes)", "2026-11-23T00:00", 2
    )
    assert ["Thu 2026-11-26 00:00"] == coming("rate(3 days)", "2026-11-23T00:00")


def test_a_time_of_its_own_comes_once():
    assert ["Fri 2027-01-01 09:00"] == coming("at(2027-01-01T09:00:00)", "2026-11-23T00:00", 3, "Asia/Tokyo")
    assert [] == coming("at(2026-01-01T09:00:00)", "2026-11-23T00:00")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("cron(0 9 1 * MON *)", "(write 1 and ?; ? and MON is another schedule)"),
        ("cron(0 9 * * MON *)", "(write ? and MON)"),
        ("cron(0 9 1 * * *)", "(write 1 and ?)"),
        ("cron(0 9 * * * *)", "(write ? and *)"),
        ("Cron(0 9 * * ? *)", "in lower case"),
        ("cron(0 9 ? * ? *)", "? for both"),
        ("cron(0 9 ? * MON)", "5 fields, not 6"),
        ("cron(0 9 ? * 0 *)", "1 is SUN"),
        ("cron(0 9 ? * 8 *)", "not from 1 to 7"),
        ("cron(60 9 ? * MON *)", "minute '60' is not from 0 to 59"),
        ("cron(0 24 * * ? *)", "hour '24' is not from 0 to 23"),
        ("cron(0 9 32 * ? *)", "day of month '32'"),
        ("cron(0 9 0 * ? *)", "day of month '0'"),
        ("cron(0 9 1 13 ? *)", "month '13'"),
        ("cron(0 9 1 * ? 1969)", "year '1969'"),
        ("cron(0 9 1 * ? 2030-2027)", "runs backwards"),
        ("cron(0 9 ? * 3#1,6#3 *)", "takes one weekday and one number"),
        ("cron(0 9 ? * 3#6 *)", "takes one weekday and one number"),
        ("cron(0 9 ? * 2/2 *)", "no steps there"),
        ("cron(*/0 9 * * ? *)", "step '0'"),
        ("cron(? 9 * * ? *)", "minute '?'"),
        ("cron(0 9 LW * ? *)", "L alone, and W after a number"),
        ("rate(0 minutes)", "is not like rate(5 minutes)"),
        ("rate(5 seconds)", "is not like rate(5 minutes)"),
        ("at(2027-02-30T00:00:00)", "is not like at("),
        ("0 9 * * ? *", "is neither cron("),
        ("cron(" + "0," * 130 + "0 9 * * ? *)", "Scheduler takes 256"),
    ],
)
def test_what_aws_does_not_document_is_refused_in_one_line(text, fault):
    with pytest.raises(BadExpression) as caught:
        read_expression(text)

    assert fault in str(caught.value)
    assert 1 == len(str(caught.value).splitlines())
