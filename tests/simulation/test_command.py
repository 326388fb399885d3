"""`observerd simulate` as people call it, and what a broken promise looks like."""

import gc
import re
import xml.etree.ElementTree as ET

import pytest

from observerd.cli import main
from observerd.simulation import command
from observerd.simulation.books import PROMISES
from observerd.simulation.faults import KINDS, PRESETS, Fault, draw_plan
from observerd.simulation.runner import Life
from observerd.simulation.shrink import shrink
from observerd.simulation.wire import Refusal
from observerd.simulation.worker import Worker
from observerd.simulation.world import FAULTS, World

ALL = PRESETS["all"]


@pytest.fixture
def nightly(tmp_path):
    file = tmp_path / "crontab"
    file.write_text("MAILTO=ops\n0 3 * * * /usr/local/bin/nightly-feed.sh --all\n@reboot warm-up\n")
    return str(file)


def simulate(*arguments):
    return main(("simulate", "--seeds", "2", *arguments))


def test_both_designs_stand_side_by_side(nightly, capsys):
    assert 0 == simulate("--crontab", nightly, "--days", "3")
    told = capsys.readouterr().out
    assert told.startswith("2 histories, 6 days, 6 runs; jobs of about 120 s; faults: none\n")
    lines = [re.split(r"\s{2,}", line.strip()) for line in told.splitlines()]
    assert ["seed", "observerd"] in lines
    table = {line[0]: line[1:] for line in lines if len(line) == 3}
    assert ("6 of 6", "0", "0") == tuple(
        table[row][1] for row in ("runs started", "runs dead-lettered", "runs lost")
    )
    assert all(text in told for text in PROMISES.values())


def test_without_faults_no_job_fails_by_itself(capsys):
    assert 0 == simulate("--design", "observerd", "--seeds", "40")
    assert re.search(r"^runs dead-lettered +0$", capsys.readouterr().out, re.MULTILINE)


def test_histories_do_not_pile_up_in_memory(nightly):
    """10,000 of them took 1.5 GB, with the collector off as every command starts."""
    gc.disable()
    assert 0 == simulate("--crontab", nightly)
    assert gc.isenabled()


def test_one_design_may_be_played_alone(nightly, capsys):
    assert 0 == simulate("--design", "seed", "--crontab", nightly)
    told = capsys.readouterr().out
    assert ("seed" in told, "observerd" in told) == (True, False)


def test_a_timeline_is_the_first_seeds_history(nightly, capsys):
    assert 0 == simulate("--crontab", nightly, "--timeline", "--first-seed", "7", "--job-time", "10m")
    told = capsys.readouterr().out
    assert "---- observerd, seed 7\n" in told
    assert re.search(r"^23 03:0\d:\d\d\.\d  nightly-feed message m1 is on the queue$", told, re.MULTILINE)


def test_a_figure_may_be_changed_and_all_have_their_source(nightly, capsys):
    assert 0 == simulate("--figures", "--figure", "metric_delay_s=0")
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line.split(maxsplit=2)) == 3 for line in lines)
    assert any(re.match(r"metric_delay_s +0  SQS guide", line) for line in lines)

    assert 0 == simulate("--design", "seed", "--crontab", nightly, "--figure", "metric_delay_s=0")
    (median,) = re.findall(r"start delay, median +(.*)", capsys.readouterr().out)
    assert int(median.split()[0]) < 5, "minutes"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--faults", "spott"), "no kind of fault 'spott' (known: none, outside, all, queue-down, "),
        (("--plot", "picture.png"), "picture.png: neither .svg nor .html"),
        (("--crontab", "/none"), "/none: No such file or directory"),
        (("--figure", "speed=1"), "no figure 'speed' (`observerd simulate --figures` lists them)"),
        (("--figure", "metric_delay_s=soon"), "metric_delay_s: not a number of 0 or more: 'soon'"),
        (("--job-time", "0s"), "--job-time: not more than 0"),
        (("--seeds", "0"), "--seeds: not 1 or more"),
        (("--days", "-1"), "--days: not more than 0 and at most 3660: -1"),
        (("--days", "nan"), "--days: not more than 0 and at most 3660: nan"),
        (("--job-time", "soon"), "--job-time: not a duration: 'soon'"),
        (("--plot", "/none/picture.svg"), "/none/picture.svg: No such file or directory"),
    ],
)
def test_what_cannot_be_played_is_told_in_one_line(arguments, line, capsys):
    assert 0 != simulate(*arguments)
    told = capsys.readouterr().err
    assert told.startswith(f"observerd: {line}")
    assert 1 == told.count("\n")


def test_a_picture_is_an_image_with_each_design_and_figure(nightly, tmp_path, capsys):
    picture = tmp_path / "nights.svg"
    assert 0 == simulate("--crontab", nightly, "--plot", str(picture))
    image = ET.fromstring(picture.read_text())
    texts = ["".join(each.itertext()) for each in image.iter("{http://www.w3.org/2000/svg}text")]
    assert {"seed", "observerd", "nightly-feed", "runs lost", "03:00"} <= set(texts)
    assert f"{picture} written\n" == capsys.readouterr().err.lstrip()


def test_a_page_has_the_picture_every_figure_once_and_the_timelines(nightly, tmp_path):
    page = tmp_path / "nights.html"
    assert 0 == simulate("--crontab", nightly, "--plot", str(page), "--faults", "spot,crash")
    text = page.read_text()
    assert (1, 1, 2) == (text.count("<svg"), text.count("runs repeated"), text.count("<details>"))


# ---- what is wrong with it


class DeletesFirst(Life):
    """One of the known bugs, in a world where only a crash shows it."""

    def _exec(self, run):
        try:
            self._world.queue.delete(self.message, self._holder)
        except Refusal:
            return
        super()._exec(run)


class Forgetful(World):
    """Its workers lose what they run when the daemon is killed: the message has been deleted in secret."""

    def install(self, instance):
        return ForgetfulWorker(
            self._surroundings, self.group, instance, self._wire("instance", instance.id), self.make_consumer
        )


class ForgetfulWorker(Worker):
    def _orphan_lives(self):
        for life in self._lives.values():
            self._world.queue.stored.pop(life.message.id, None)
        super()._orphan_lives()


@pytest.fixture
def forgetful(monkeypatch):
    monkeypatch.setitem(command.DESIGNS, "observerd", Forgetful)


def first_lost():
    """A seed whose run is lost, with all else that goes wrong in it."""
    for seed in range(200):
        plan = draw_plan(seed, 1.0, (), ALL)
        if (broken := Forgetful(plan).play().broken) and len(plan.faults) > 5:
            return seed, plan, broken
    raise AssertionError("no seed finds it")


@pytest.mark.usefixtures("forgetful")
def test_a_broken_promise_is_told_as_a_small_readable_history(capsys):
    seed, plan, broken = first_lost()
    arguments = ("--design", "observerd", "--faults", "all", "--first-seed", str(seed), "--seeds", "1")

    assert 1 == main(("simulate", *arguments))

    told = capsys.readouterr().out
    assert f"seed {seed} breaks a promise: {broken}\n" in told
    sizes = r"Shrunk from (\d+) faults and (\d+) runs to (\d+) faults? and (\d+) runs?:"
    faults, runs, few, fewer = map(int, re.search(sizes, told).groups())
    assert (len(plan.faults), len(plan.due())) == (faults, runs)
    # What killed the daemon, the run that was lost, and what led up to it.
    assert (few <= 2, fewer <= runs / 2) == (True, True)
    # What happened, line by line, up to the promise; and how to see the whole.
    assert re.search(r"^\d\d \d\d:\d\d:\d\d\.\d  FAULT      \S+: ", told, re.MULTILINE)
    assert re.search(r"^\d\d \d\d:\d\d:\d\d\.\d  PROMISE    no run is lost: ", told, re.MULTILINE)
    assert len(told.partition("Shrunk")[2].splitlines()) < 100
    again = re.search(r"^The whole of it: observerd (.*)$", told, re.MULTILINE)[1].split()
    assert 1 == main(tuple(again))
    assert capsys.readouterr().out.startswith(f"---- observerd, seed {seed}\n")


def test_a_plan_shrinks_to_what_still_breaks():
    plan = draw_plan(3, 1.0, (), ALL)
    needed = plan.faults[len(plan.faults) // 2]

    small = shrink(plan, lambda smaller: needed in smaller.faults)

    assert (needed,) == small.faults
    assert not small.jobs_fail
    assert 1 == len(small.due())


def test_shrinking_ends_though_each_step_breaks():
    plan = draw_plan(3, 1.0, (), ALL)
    assert () == shrink(plan, lambda _: True).faults


# ---- faults


def test_each_kind_of_fault_can_be_asked_for_and_does_something():
    assert set(KINDS) == set(FAULTS)
    assert {name for name, kind in KINDS.items() if not kind.expected} == {"never-ready"}


@pytest.mark.parametrize("kind", sorted(ALL))
def test_a_kind_of_fault_alone_breaks_no_promise(kind):
    for seed in range(6):
        history = World(draw_plan(seed, 1.0, (), {kind})).play()
        assert history.broken is None


def test_a_fault_says_what_it_is():
    assert "partition: an instance reaches nothing for 72 s" == str(Fault(0.0, "partition", 72.0, 0))
