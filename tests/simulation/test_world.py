"""The real core in the world of virtual time: promises kept."""

import pytest

from observerd.simulation.command import kinds_of
from observerd.simulation.crontab import BadCrontab, instants, read_crontab
from observerd.simulation.faults import PRESETS, draw_plan
from observerd.simulation.seed import SeedWorld
from observerd.simulation.tally import percentile
from observerd.simulation.world import World

ALL = PRESETS["all"]


def first_broken(seeds, world=World, kinds=ALL):
    histories = (world(draw_plan(seed, 1.0, (), kinds)).play() for seed in range(seeds))
    return next((each.broken.name for each in histories if each.broken), None)


def test_every_promise_is_kept_under_all_faults():
    assert None is first_broken(150)


def test_one_seed_is_one_history():
    one, other = (World(draw_plan(7, 1.0, (), ALL)).play() for _ in range(2))
    assert one.timeline == other.timeline
    assert one.timeline


def test_the_seeds_design_needs_about_ten_minutes_for_a_daily_job():
    nightly = read_crontab("0 3 * * * /usr/local/bin/nightly-feed")
    histories = [SeedWorld(draw_plan(seed, 1.0, nightly, ())).play() for seed in range(60)]
    delays = sorted(run.delay_s for each in histories for run in each.runs if run.delay_s is not None)
    assert 400 < percentile(delays, 0.5) < 900


def test_a_crontab_fault_names_its_line():
    with pytest.raises(BadCrontab, match=r"line 2: .*61"):
        read_crontab("0 3 * * * good\n61 3 * * * bad\n")


def test_a_crontab_is_read_as_by_the_import():
    text = """MAILTO=ops@example.com
CRON_TZ=UTC
# feeds
-0 3 * * Mon-FRI  flock -n /run/lock/f /usr/local/bin/nightly-feed --all >/dev/null 2>&1
@daily\t/usr/local/bin/nightly-feed --day 100\\%
@reboot /usr/local/bin/warm-up
"""
    first, second = read_crontab(text)
    assert ("0 3 * * Mon-FRI", "nightly-feed") == (first.expression, first.job)
    assert ("0 0 * * *", "nightly-feed-2") == (second.expression, second.job)
    with pytest.raises(BadCrontab, match=r"^line 1: '0 3 \* \* \* \* job' has '\*' after five fields"):
        read_crontab("0 3 * * * * job")
    with pytest.raises(BadCrontab, match="no schedule in it"):
        read_crontab("@reboot /usr/local/bin/warm-up")


def test_a_line_is_due_from_the_first_instant_to_before_the_last():
    (line,) = read_crontab("*/10 * * * * often")
    assert [1_200.0, 1_800.0, 2_400.0] == list(instants(line, 1_200.0, 3_000.0))


def test_kinds_are_added_and_taken_away():
    assert ALL - {"spot"} == kinds_of("all,-spot")
