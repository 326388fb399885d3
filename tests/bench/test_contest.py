"""The contest's own arithmetic, and that nobody can cheat in it."""

import sys
from dataclasses import replace

import pytest

from bench import contenders, contest, crash
from bench.contenders import OURS, SEED
from bench.contest import COURSES, Race, Result, enough
from bench.patience import NotMeasured
from bench.report import Line, Remark


def result(rate):
    return Result(rate, 1.0, 10.0, 5.0, 2.0)


def race(faults=(), **rates):
    results = {name: [result(rate) for rate in each] for name, each in rates.items()}
    return Race(COURSES[0], 8, results, dict(faults))


def test_ranks_by_the_median_and_compares_round_by_round():
    fast, ours, slow = race(observerd=[100, 300, 200], slow=[50, 100, 100], fast=[200, 600, 800]).lines()
    assert fast.cells == ("fast", 8, 600, 0.5, 1.0, 10.0, 5.0, 2.0)
    assert ours.cells[:4] == ("observerd", 8, 200, 1.0)
    assert slow.cells[:4] == ("slow", 8, 100, 2.0)


def test_is_compared_with_the_fastest_other():
    (row,) = race(observerd=[300, 300], slow=[100, 100], fast=[200, 150]).rows()
    assert (row.against, row.ours, row.other) == ("fast", 300, 175)
    assert row.ratio.median == 1.75
    assert row.within_budget


def test_a_contender_with_a_fault_is_not_ranked():
    torn = race(observerd=[1, 1], x=[9], faults=[("x", "it fell")])
    line, fault, remark = torn.lines()
    assert line.cells[0] == OURS.name
    assert fault == Line(("x", 8, None, None, None, None, None, None))
    assert remark == Remark("x, 8 slots: not measured: it fell")
    assert list(torn.rows()) == []


def test_without_us_nobody_is_compared():
    torn = race(x=[9], faults=[(OURS.name, "we fell")])
    assert next(torn.lines()).cells[:4] == ("x", 8, 9, None)
    assert list(torn.rows()) == []


def test_who_falls_in_a_round_is_not_started_in_the_next(tmp_path, monkeypatch):
    started = []

    def drain(_directory, contender, *_):
        started.append(contender.name)
        if contender is SEED:
            raise NotMeasured("it fell")
        return result(1)

    monkeypatch.setattr(contest, "drain", drain)
    run = race()
    for _ in range(2):
        contest.run(run, tmp_path, [OURS, SEED], 1.0)
    assert started == [OURS.name, SEED.name, OURS.name]
    assert run.ranked() == [OURS.name]


@pytest.mark.parametrize(
    ("jobs", "took_s", "seconds", "least", "expected"),
    [(24, 0.24, 3.0, 20, 300), (24, 24.0, 3.0, 20, 20), (24, 0.001, 3.0, 20, contest.MOST_JOBS)],
)
def test_jobs_for_some_seconds(jobs, took_s, seconds, least, expected):
    assert enough(jobs, took_s, seconds, least) == expected


@pytest.mark.parametrize("contender", [OURS, SEED], ids=lambda each: each.name)
def test_a_contender_is_measured(tmp_path, contender):
    found = contest.drain(tmp_path, contender, COURSES[0], 2, 0.1)
    assert found.rate > 0
    assert found.peak_mb >= found.pss_mb > 5
    assert 0.2 <= found.calls <= 4
    assert found.cpu_s > 0


def test_who_deletes_without_working_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setattr(contest, "READY_S", 3)
    cheat = replace(SEED, name="cheat", environ={"BENCH_COMMAND": "[]"})
    with pytest.raises(NotMeasured, match="jobs are done"):
        contest.drain(tmp_path, cheat, COURSES[0], 1, 0.1)


def test_who_works_twice_is_found_out(tmp_path):
    twice = '["/bin/sh", "-c", "printf .. >> %s"]' % (tmp_path / "witness")
    cheat = replace(SEED, name="cheat", environ={"BENCH_COMMAND": twice})
    with pytest.raises(NotMeasured, match="messages, but"):
        contest.drain(tmp_path, cheat, COURSES[0], 1, 0.1)


def test_who_falls_is_quoted(tmp_path):
    falls = replace(SEED, argv=lambda _: (sys.executable, "-c", "raise SystemExit('no queue')"))
    with pytest.raises(NotMeasured, match="no queue"):
        contest.drain(tmp_path, falls, COURSES[0], 1, 0.1)


def test_damage_is_what_was_done_twice_and_never():
    assert crash.damage([0, 1, 2, 1, 1, 4], 6) == crash.Damage(twice=2, never=2)
    assert crash.damage([2, 0, 1], 3) == crash.Damage(0, 0)


def test_a_line_cut_short_is_not_done(tmp_path):
    ledger = crash.Ledger(tmp_path / "ledger")
    (tmp_path / "ledger").write_text("1\n2\n3")
    assert ledger.done() == [1, 2]


def test_a_killed_observerd_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(crash, "present", lambda: ([OURS], []))
    monkeypatch.setattr(crash, "install", list)
    _, line = crash.measure(tmp_path, 1)
    name, kills, jobs, twice, never = line.cells
    assert (name, kills, jobs, never) == (OURS.name, 1, crash.JOBS, 0)
    # What ran when it died may be done again, and what had ended and was not yet deleted.
    assert twice <= 2 * crash.SLOTS


def test_every_peer_is_locked():
    assert set(contenders.versions()) == {
        "celery",
        "dramatiq",
        "dramatiq-sqs",
        "sqs-workers",
        "pyqs",
        "sqs-consumer",
    }


def test_what_cannot_be_installed_is_left_out_with_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(
        contenders,
        "_pip",
        lambda: (("/bin/sh", "-c", "echo warning >&2; echo Error: no network >&2; exit 1"),),
    )
    monkeypatch.setattr(contenders, "_npm", lambda: (("/nonexistent/npm",),))
    monkeypatch.setattr(contenders, "REPOSITORY", tmp_path)
    monkeypatch.setattr(contenders, "PYTHON_PEERS", tmp_path / "python")
    monkeypatch.setattr(contenders, "NODE_PEERS", tmp_path / "node")
    python, node = contenders.install()
    assert python == "Python peers cannot be installed: sh: Error: no network"
    assert "Node peers cannot be installed" in node
    assert "/nonexistent/npm" in node
    assert not (tmp_path / "python").exists()


def test_who_is_not_installed_is_named(tmp_path, monkeypatch):
    absent = replace(SEED, name="peer", needs=tmp_path / "nothing")
    monkeypatch.setattr(contenders, "ALL", (OURS, absent))
    assert contenders.present() == ([OURS], ["peer: left out, not installed"])
