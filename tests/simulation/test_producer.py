"""The world's scheduler and producer: within the minute, now and then twice, and tried again."""

import pytest

from observerd.simulation.crontab import read_crontab
from observerd.simulation.faults import Fault, draw_plan
from observerd.simulation.figures import Figures
from observerd.simulation.world import World

NIGHTLY = read_crontab("0 3 * * * nightly")


def world_of(*faults, seed=1, lines=NIGHTLY, **figures):
    plan = draw_plan(seed, 1.0, lines, frozenset())
    at = plan.due()[0][0] - plan.start
    faults = tuple(Fault(at - 1.0, kind, for_s, 0) for kind, for_s in faults)
    return World(type(plan)(plan.seed, plan.days, plan.schedules, faults), Figures(**figures))


def seen(world, phrase):
    """The moments of the lines that say so, after the instant."""
    due_at = world.plan.due()[0][0]
    history = world.play()
    return [line.at - due_at for line in history.timeline if phrase in line.what and line.who != "FAULT"]


def test_an_event_comes_within_its_minute_and_its_message_soon_after():
    worlds = [world_of(seed=seed, scheduler_twice_share=0.0) for seed in range(40)]
    delays = [seen(world, "is on the queue")[0] for world in worlds]
    assert 45 < max(delays) < 62
    assert 0 < min(delays) < 10


def test_an_event_that_comes_twice_is_one_message_and_one_run():
    world = world_of(("fires-twice", 60.0))
    assert 2 == len(seen(world, "is on the queue"))
    (run,) = world.books.runs.values()
    assert (1, "succeeded", 1) == (len(run.message_ids), run.ended_as, run.successes)


def test_a_producer_that_fails_is_tried_after_one_minute_and_two():
    for seed in range(20):
        world = world_of(("producer-fails", 100_000.0), seed=seed, scheduler_twice_share=0.0)
        failed = seen(world, "the producer fails")
        assert 3 == len(failed)
        assert (60, 120) == pytest.approx((failed[1] - failed[0], failed[2] - failed[1]), abs=3)


def test_what_is_given_up_is_kept_in_the_undelivered_queue():
    world = world_of(("queue-down", 1_000.0))
    history = world.play()
    assert history.broken is None
    assert ["undelivered"] == [run.ended_as for run in history.runs]


def test_where_the_group_cannot_be_woken_the_wake_alarm_does_it():
    world = world_of(("wake-fails", 3_600.0))
    (woken,) = seen(world, "desired capacity 0 → 1 by Wake")
    assert woken < 960


def test_messages_of_runs_that_may_overlap_do_not_wait_for_each_other():
    (line,) = read_crontab("* 3 * * * burst")
    waits = {}
    for overlaps in (False, True):
        plan = draw_plan(5, 1.0, (type(line)(line.expression, line.job, overlaps),), frozenset(), job_s=300.0)
        runs = World(plan).play().runs
        waits[overlaps] = max(run.delay_s for run in runs)
    assert waits[True] < 900 < waits[False]
