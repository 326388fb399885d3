"""What is said of expressions and of when jobs start."""

import json
from datetime import UTC, datetime

import pytest

from observerd.cli import main
from observerd.config import BadConfig
from observerd.schedules import show
from observerd.schedules.cron import read_cron
from observerd.schedules.eventbridge import read_expression
from observerd.schedules.words import cron_words, expression_words

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("* * * * *", "every minute every day"),
        ("*/15 * * * *", "every 15 minutes every day"),
        ("*/7 9 * * *", "at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of the hour 9 every day"),
        ("30 2 * * *", "at 02:30 every day"),
        ("0 8-18 * * 1-5", "at minute 0 of the hours 8 to 18 on Monday to Friday"),
        ("5 4 * * sun", "at 04:05 on Sunday"),
        ("0 0 1,15 * 5", "at 00:00 on day 1 and 15 of the month and also on Friday"),
        ("0 0 */100,1-7 * MON", "at 00:00 on Monday if it is day 1 to 7 of the month"),
        ("0 0 29 2 *", "at 00:00 on day 29 of the month in February"),
    ],
)
def test_a_line_in_words(line, words):
    assert words == cron_words(read_cron(line))


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("cron(0 9 ? * 2 *)", "at 09:00 on Monday"),
        ("cron(0 9 ? * 2#1 *)", "at 09:00 on the first Monday of the month"),
        ("cron(15 10 ? * 6L 2026-2027)", "at 10:15 on the last Friday of the month in 2026 and 2027"),
        ("cron(0 0 L * ? *)", "at 00:00 on the last day of the month"),
        ("cron(0 0 3W * ? *)", "at 00:00 on the weekday nearest to day 3 of the month"),
        ("cron(0 22-2 * * ? *)", "at 00:00, 01:00, 02:00, 22:00 and 23:00 every day"),
        ("rate(90 minutes)", "every 1 hour 30 minutes from when the schedule was made"),
        ("at(2027-01-01T09:00:00)", "once, at 09:00:00 on 01 January 2027"),
    ],
)
def test_an_expression_in_words(expression, words):
    assert words == expression_words(read_expression(expression))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("*/7 * * * *", "from minute 56 to the next hour's minute 0 is 4 minutes, not 7"),
        ("0 */5 * * *", "from hour 20 to the next day's hour 0 is 4 hours, not 5"),
        ("cron(0/7 * * * ? *)", "is 4 minutes, not 7"),
        ("0 9 1 * MON", "cron runs on days that match either of them, not both"),
        ("0 9 */2 * MON", "cannot be said in EventBridge's grammar"),
        ("0 9 31 * *", "no day 31 in February, April, June, September and November"),
        ("0 9 * * FRI-SUN", "Debian's cron has no day for it"),
        ("cron(0 9 ? * 1 *)", "here 1 is Sunday; names are clearer"),
        ("cron(0 9 ? * 2-6 *)", "here 2 is Monday, 3 is Tuesday"),
        ("rate(1 hour)", "a rate counts from when the schedule was made"),
    ],
)
def test_what_is_easily_taken_for_something_else_is_told(text, said):
    lines = show.explain(text, None, NOW).text.splitlines()

    assert any(line.startswith("careful") and said in line for line in lines)


@pytest.mark.parametrize("text", ["0 9 * * 1", "*/15 * * * *", "0 */6 * * *", "cron(0 9 ? * MON *)"])
def test_what_means_what_it_seems_to_is_told_without_warnings(text):
    assert "careful" not in show.explain(text, None, NOW).text


EXPLAINED = """\
crontab      30 2 * * *
means        at 02:30 every day
EventBridge  cron(30 2 * * ? *) in Europe/Berlin
EventBridge  cron(0 1 ? 3 1L *) in UTC, when clocks are changed: cron runs it, and Scheduler alone would not
next         Tue 2026-11-24 02:30 CET
             Wed 2026-11-25 02:30 CET
             Thu 2026-11-26 02:30 CET
             Fri 2026-11-27 02:30 CET
             Sat 2026-11-28 02:30 CET"""


def test_a_line_is_explained_in_the_other_grammar_and_local_time():
    assert EXPLAINED == show.explain("30 2 * * *", "Europe/Berlin", NOW).text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 9 * * ? *", "(for AWS, write 'cron(0 9 * * ? *)')"),
        ("0 9 * * MON *", "(and 'cron(0 9 * * MON *)' names both"),
        ("Cron(0 9 * * ? *)", "in lower case"),
        ("0/15 * * * *", "(write 0-59/15)"),
        ("@reboot", "has no time"),
        ("", "is not the five fields"),
        ("0 9 * * *\x1b[2J", "cannot be read"),
        ("0 9 * *\n* *", "cannot be read"),
    ],
)
def test_what_is_neither_grammar_s_is_one_line_that_says_what_to_write(text, said):
    with pytest.raises(show.NotPossible) as refused:
        show.explain(text, None, NOW)

    assert said in str(refused.value)
    assert str(refused.value).isprintable()


SCHEDULES = """\
timezone = "Europe/Berlin"
[schedule.nightly]
cron = "30 2 * * *"
[schedule.both]
job = "report"
cron = "0 6 1 * tue"
[schedule.off]
cron = "* * * * *"
enabled = false
[schedule.hourly]
job = "sync"
expression = "cron(0 * * * ? *)"
timezone = "UTC"
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "schedules.toml"
    path.write_text(SCHEDULES)
    return path


def test_the_next_starts_of_all_jobs_in_order_and_local_time(file):
    rows = [row.split("  ") for row in show.next_runs(file, None, 4, NOW).text.splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]

    assert [
        ["JOB", "STARTS", "TIME ZONE", "IN", "UTC"],
        ["sync", "Tue 2026-11-24 01:00 UTC", "UTC", "1 hour", "2026-11-24 01:00"],
        ["nightly", "Tue 2026-11-24 02:30 CET", "Europe/Berlin", "1 hour 30 minutes", "2026-11-24 01:30"],
        ["sync", "Tue 2026-11-24 02:00 UTC", "UTC", "2 hours", "2026-11-24 02:00"],
        ["sync", "Tue 2026-11-24 03:00 UTC", "UTC", "3 hours", "2026-11-24 03:00"],
    ] == cells


def test_the_two_schedules_of_a_line_are_one_start_where_both_come(file):
    """The first of December 2026 is a Tuesday."""
    said = show.next_runs(file, "report", 3, NOW).text

    assert ["11-24", "12-01", "12-08"] == [row.split()[2][5:] for row in said.splitlines()[1:]]


def told(arguments, capsys, status=0):
    """What the command says to a program."""
    assert status == main([*arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def test_the_next_starts_are_told_to_programs(file, capsys, monkeypatch):
    monkeypatch.setattr(show, "now_utc", lambda: NOW)

    first, second = told(["next", "-n", "2", "--schedules", str(file)], capsys)
    assert {
        "schedule": "nightly", "job": "nightly", "scheduled_time": "2026-11-24T01:30:00Z",
        "timezone": "Europe/Berlin",
    } == second  # fmt: skip
    assert ("hourly", "sync", "2026-11-24T01:00:00Z") == tuple(first.values())[:3]
    assert [] == told(["next", "off", "--schedules", str(file)], capsys)


def test_an_explanation_is_told_to_programs(capsys, monkeypatch):
    monkeypatch.setattr(show, "now_utc", lambda: NOW)

    line = told(["explain", "30 2 * * *", "--timezone", "Europe/Berlin"], capsys)
    assert ("crontab", "30 2 * * *", "at 02:30 every day", "Europe/Berlin") == tuple(line.values())[:4]
    assert [
        {"expression": "cron(30 2 * * ? *)", "timezone": "Europe/Berlin"},
        {"expression": "cron(0 1 ? 3 1L *)", "timezone": "UTC"},
    ] == line["eventbridge"]
    assert ("2026-11-24T01:30:00Z", 5, []) == (line["next"][0], len(line["next"]), line["warnings"])

    expression = told(["explain", "rate(1 hour)"], capsys)
    assert ("eventbridge", "rate(1 hour)", []) == tuple(
        expression[key] for key in ("grammar", "expression", "eventbridge")
    )
    assert "a rate counts from" in expression["warnings"][0]


def test_a_proof_is_told_to_programs(file, capsys, monkeypatch):
    monkeypatch.setattr(show, "now_utc", lambda: NOW)
    file.write_text(SCHEDULES.replace("[schedule.both]", 'clock_changes = "eventbridge"\n[schedule.both]'))

    nightly, both, off = told(["prove", str(file)], capsys)
    assert ("nightly", "30 2 * * *", "Europe/Berlin", "2029-08-19T00:30:00Z", 6) == tuple(
        nightly[key] for key in ("schedule", "crontab", "timezone", "until", "clock_changes")
    )
    assert {
        "at": "2027-03-28T01:00:00Z", "only": "cron", "chosen": True,
        "why": "clocks are put forward by 60 minutes: "
        "cron makes up for the time that is jumped over, Scheduler skips it",
    } == nightly["differences"][0]  # fmt: skip
    assert ([], []) == (both["differences"], off["differences"])
    file.write_text("")
    assert [] == told(["prove", str(file)], capsys)


def test_who_asks_for_what_is_not_there_is_told(file):
    with pytest.raises(show.NotPossible, match="no schedule starts a job 'nosuch'"):
        show.next_runs(file, "nosuch", 1, NOW)
    assert "every schedule is disabled" in show.next_runs(file, "off", 1, NOW).text
    with pytest.raises(BadConfig, match="cannot be read"):
        show.next_runs(file.with_name("nosuch"), None, 1, NOW)


def test_an_empty_file_makes_no_template(file):
    file.write_text("")
    with pytest.raises(show.NotPossible, match="no schedule is defined"):
        show.render(file, None, NOW)
    assert "nothing to compare" in show.prove(file, None, NOW).text


def test_a_template_of_an_earlier_rendering_is_not_deployed_again_unseen(file, tmp_path):
    """It would start its jobs a second time, or for ever."""
    assert str(tmp_path / "schedules-1.json") == show.render(file, tmp_path, NOW).text
    (tmp_path / "schedules-2.json").write_text("{}")
    with pytest.raises(show.NotPossible, match=r"earlier rendering there is .*schedules-2\.json \(deploy"):
        show.render(file, tmp_path, NOW)


def test_a_proof_over_years_looks_at_all_of_them(file):
    # Every minute of three years takes a quarter of a minute.
    file.write_text(SCHEDULES.replace("* * * * *", "0 0 * * *"))
    [nightly] = [row.split() for row in show.prove(file, 3, NOW).text.splitlines() if "nightly" in row]

    assert ["1,098", "2029-11-26", "6", "identical"] == nightly[-4:]


def test_a_proof_goes_no_further_than_zones_have_rules(capsys):
    with pytest.raises(SystemExit):
        main(["prove", "--years", "31"])
    assert "a whole number from 1 to 30: '31'" in capsys.readouterr().err
