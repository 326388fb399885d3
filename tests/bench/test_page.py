"""Figures on their way into docs/performance.md."""

import json
from xml.etree import ElementTree as ET

import pytest

from bench import page
from bench.__main__ import keep
from bench.page import BEGIN, END, NoPlace, filled, markdown, write
from bench.plots import pictures

WHERE = {
    "machine": "2 cores",
    "load": "0.1 0.1 0.1",
    "system": "Linux 6",
    "software": "observerd 0.1.0",
    "peers": "celery 5",
    "time": "2026-11-28T20:00:00+00:00",
}
CONTEST = {
    "key": "contest-short",
    "title": "Against others: a <short> job",
    "columns": ["slots", "jobs/s"],
    "lines": [["observerd", 1, 200.0], ["PyQS", 1, 100.0], ["Celery", 1, None], ["observerd", 8, 400.0]],
}
CRASH = {
    "key": "crash",
    "title": "Killed: 60 jobs",
    "columns": ["kills", "jobs", "done twice", "never done"],
    "lines": [["observerd", 1, 60, 0, 0], ["sqs-workers", 1, 60, 15, 0], ["PyQS", None, None, None, None]],
}
GROWTH = {
    "key": "growth-daemons",
    "title": "Daemons",
    "columns": ["100 ms jobs/s"],
    "lines": [[1, 8.0], [16, 100.0]],
}
IMPORTS = {
    "key": "imports",
    "title": "Imports",
    "columns": ["modules", "ms", "modules of bare boto3", "its ms"],
    "lines": [["the interpreter", None, 15.0, None, 15.0], ["observerd", 30.0, 40.0, 0.0, 0.0]],
}
ROW = {
    "what": "  as user nobody",
    "ours": 120.0,
    "unit": "/s",
    "against": "seed's loop",
    "other": 175.0,
    "ratio": {"median": 0.68, "low": 0.6, "high": 0.7, "rounds": 3},
    "budget": {"limit": 1.0, "of": "ratio", "at_least": True},
    "verdict": "UNDER",
}


def part(*tables, rows=(), remarks=()):
    told = {"title": "Part", "where": WHERE, "seconds": 9}
    return told | {"rows": list(rows), "tables": list(tables), "remarks": list(remarks)}


FIGURES = {"parts": {"contest": part(CONTEST, remarks=["PyQS: left out"]), "drain": part(rows=[ROW])}}


def test_figures_replace_those_before_them_and_nothing_else(tmp_path):
    file = tmp_path / "performance.md"
    file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    written = write(FIGURES, file)
    once = file.read_text()
    write(FIGURES, file)
    assert file.read_text() == once
    assert once.startswith(f"before\n{BEGIN}\n")
    assert once.endswith(f"{END}\nafter\n")
    assert "old" not in once
    assert [each.name for each in written] == ["performance-contest.svg", "performance.md"]
    assert "(performance-contest.svg)" in once


def test_a_page_without_a_place_is_left_alone(tmp_path):
    file = tmp_path / "performance.md"
    file.write_text("nothing")
    with pytest.raises(NoPlace):
        write(FIGURES, file)
    assert list(tmp_path.iterdir()) == [file]


def test_the_page_that_is_published_has_a_place():
    assert filled(page.PAGE.read_text(), "figures") != page.PAGE.read_text()


def test_every_figure_and_remark_is_told():
    text = markdown(FIGURES, {"contest"})
    assert "| observerd | 8 | 400 |" in text
    assert "| Celery | 1 | - |" in text
    assert "* PyQS: left out" in text
    assert "| as user nobody | 120 /s | 175 /s seed's loop | 0.68 (0.60-0.70) | ≥ 1 | UNDER |" in text
    # Once, though both parts have it.
    assert text.count("* 2 cores") == 1


def test_pictures_are_drawn_of_what_there_is():
    drawn = pictures([CONTEST, CRASH, GROWTH, IMPORTS])
    assert set(drawn) == {"contest", "crash", "growth", "start"}
    for picture in drawn.values():
        ET.fromstring(picture)
    assert pictures([]) == {}


def test_bars_are_as_long_as_their_figures():
    drawn = ET.fromstring(pictures([CONTEST])["contest"])
    bars = {kind: widths(drawn, kind) for kind in ("ours", "other")}
    assert bars["ours"][0] == pytest.approx(2 * bars["other"][0], abs=0.2)
    assert bars["other"][1] == 0
    assert "not measured" in ET.tostring(drawn, "unicode")


def widths(drawn, kind):
    return [float(each.get("width")) for each in drawn.iter() if each.get("class") == kind]


def test_parts_measured_before_are_kept_in_their_order(tmp_path):
    file = tmp_path / "figures.json"
    keep(file, "drain", part())
    keep(file, "start", part(rows=[ROW]))
    keep(file, "drain", part(CRASH))
    parts = json.loads(file.read_text())["parts"]
    assert list(parts) == ["start", "drain"]
    assert parts["drain"]["tables"] == [CRASH]
    assert parts["start"]["rows"] == [ROW]
