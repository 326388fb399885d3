"""What the bench makes of its figures."""

import io

import pytest

from bench.report import (
    Budget,
    Heading,
    Line,
    Remark,
    Row,
    Spread,
    Table,
    as_json,
    budget,
    compared,
    figure,
    spread,
    verdict,
)


def test_ratios_are_taken_pair_by_pair():
    row = compared("jobs", "/s", [100, 50, 300], "other", [50, 50, 100], None)
    assert row.ratio == Spread(2.0, 1.5, 2.5, 3)
    assert (row.ours, row.other) == (100, 50)


def test_one_round_has_no_spread():
    assert spread([3.0]) == Spread(3.0, 3.0, 3.0, 1)


@pytest.mark.parametrize(
    ("bound", "ours", "ratio", "holds"),
    [
        (Budget(10, of="ours"), 10.0, 99.0, True),
        (Budget(10, of="ours"), 10.1, 0.0, False),
        (Budget(1.2), 99.0, 1.2, True),
        (Budget(1.2), 0.0, 1.21, False),
        (Budget(0.5, at_least=True), 0.0, 0.5, True),
        (Budget(0.5, at_least=True), 9.0, 0.49, False),
    ],
)
def test_a_budget_bounds_what_it_says(bound, ours, ratio, holds):
    row = Row("x", ours, "ms", "other", 1.0, Spread(ratio, ratio, ratio, 1), bound)
    assert row.within_budget is holds


def test_budgets_are_read_from_their_file():
    assert budget("start") == Budget(1.2, "ratio")
    assert budget("drain-spawn") == Budget(0.5, "ratio", at_least=True)
    assert budget("idle-memory") == Budget(60, "ours")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("name", "name"),
        (0.123, "0.12"),
        (12.34, "12.3"),
        (1234.5, "1,234"),
        (7, "7"),
        (100_000, "100,000"),
    ],
)
def test_three_figures_are_what_is_known(value, text):
    assert figure(value) == text


def test_lines_belong_to_the_heading_before_them():
    entries = [
        Row("x", 1.0, "ms"),
        Heading("a", "A", ("one",)),
        Line(("first", 1.0)),
        Heading("b", "B", ("two",)),
        Line(("second", None)),
        Remark("left out"),
    ]
    told = as_json(entries)
    assert [(table["key"], table["lines"]) for table in told["tables"]] == [
        ("a", [["first", 1.0]]),
        ("b", [["second", None]]),
    ]
    assert told["rows"][0]["what"] == "x"
    assert told["remarks"] == ["left out"]


def test_a_table_stands_in_columns():
    out = io.StringIO()
    table = Table(out)
    for entry in (
        Heading("a", "A", ("jobs/s", "calls / job")),
        Line(("observerd", 1234.0, 0.5)),
        Line((8, None, 2)),
    ):
        table.show(entry)
    _, title, head, first, second = out.getvalue().splitlines()
    assert title == "A"
    assert len({len(head), len(first), len(second)}) == 1
    assert first.split() == ["observerd", "1,234", "0.50"]
    assert second.split() == ["8", "-", "2"]


def test_a_budget_is_missed_from_above_or_from_below():
    high, low = Budget(2, of="ours"), Budget(2, of="ours", at_least=True)
    told = [verdict(Row("x", value, "ms", budget=bound)) for value in (3.0, 1.0) for bound in (high, low)]
    assert told == ["OVER", "ok", "ok", "UNDER"]
    assert verdict(Row("x", 3.0, "ms")) == ""


def test_over_budget_is_said():
    out = io.StringIO()
    row = Row("start", 3.0, "ms", budget=Budget(2, of="ours"))
    table = Table(out)
    table.show(row)
    table.foot([row], 1.0)
    assert "OVER" in out.getvalue()
    assert "0 of 1 within budget" in out.getvalue()
