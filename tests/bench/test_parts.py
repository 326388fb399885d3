"""Each part of the bench in its smallest form: that it measures, and that its tables are whole."""

import pytest

from bench import contest, growth, imports, rest
from bench.contenders import OURS
from bench.contest import COURSES
from bench.report import Heading, Line, Row

SMALLEST = growth.Scale(
    slots=(2,), lease_s=3, messages=(5,), daemons=(1,), output_bytes=(1_000,), jobs=(3,), starts=1
)


@pytest.fixture(autouse=True)
def ours_alone(monkeypatch):
    for part in (contest, rest):
        monkeypatch.setattr(part, "install", list)
        monkeypatch.setattr(part, "present", lambda: ([OURS], ["somebody: left out"]))


def tables(entries):
    """Lines by their heading's key. Fails for one that does not fit its heading."""
    found = {}
    for entry in entries:
        if isinstance(entry, Heading):
            heading = entry
            found[heading.key] = []
        elif isinstance(entry, Line):
            assert len(entry.cells) == 1 + len(heading.columns)
            found[heading.key].append(entry.cells)
    return found


def test_growth_is_measured(tmp_path):
    found = tables(growth.measure(tmp_path, SMALLEST))
    assert {key: [line[0] for line in lines] for key, lines in found.items()} == {
        "growth-slots": [2],
        "growth-messages": [5],
        "growth-daemons": [1],
        "growth-output": [1_000],
        "growth-jobs": [3],
    }
    assert found["growth-slots"][0][1] > 0
    (_, written_s, _, deleted_s, _, lines, sent, _) = found["growth-output"][0]
    assert lines == sent == 10
    assert deleted_s >= written_s > 0


def test_one_message_at_a_time_is_measured(tmp_path):
    ((name, start_ms, p50_ms, p99_ms, _, idle_mb),) = tables(rest.measure(tmp_path, 1, 5, 0.1))["rest"]
    assert name == OURS.name
    assert start_ms > 0
    assert 0 < p50_ms <= p99_ms
    assert idle_mb > 5


def test_a_contest_is_measured(tmp_path):
    (line,) = tables(contest.measure(tmp_path, COURSES[:1], (2,), 1, 0.1))["contest-short"]
    assert line[:2] == (OURS.name, 2)
    assert line[3] == 1.0


def test_a_start_is_measured(tmp_path):
    row, *rest_ = imports.measure(tmp_path, 2)
    assert isinstance(row, Row)
    found = tables(rest_)
    assert {"the interpreter", "observerd", "no import"} <= {line[0] for line in found["imports"]}
    modules = sum(line[1] for line in found["imports"] if line[1])
    # Not to the last one: how many more are loaded while a call travels is a matter of moments.
    assert modules == pytest.approx(row.ours, rel=0.2)
    assert len(found["imports-slowest"]) == imports.SLOWEST
