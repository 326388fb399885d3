"""Crontab lines as they were found: each is carried over and proved, or refused with its reason."""

from observerd.schedules import proof
from tests.schedules.found import FOUND, NOW, TABLE, imported, page

SOURCES = list(imported())


def lines_written():
    """How many lines of the file set a time."""
    text = [line for line in FOUND.read_text().splitlines() if not line.startswith("== ")]
    return sum("=" not in line.split()[0] for line in text)


def test_the_page_shows_what_becomes_of_each():
    assert page(SOURCES) == TABLE.read_text(), "python -m tests.schedules.found writes it"


def test_no_line_is_dropped():
    became = sum(len(found.lines) + len(found.refusals) for _, found in SOURCES)

    assert lines_written() == became
    assert became >= 200


def test_what_is_carried_over_comes_when_cron_runs_it():
    schedules = {line.schedule.cron.text: line.schedule for _, found in SOURCES for line in found.lines}
    proofs = [proof.prove(schedule, NOW) for schedule in schedules.values()]

    assert [] == [
        each.schedule.cron.text
        for each in proofs
        if not all(proof.is_chosen(difference, each, NOW) for difference in each.differences)
    ]
