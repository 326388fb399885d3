"""CloudWatch in the world: a point a minute, a quarter of an hour late for a queue that slept."""

from observerd.simulation.clock import Clock
from observerd.simulation.cloudwatch import Metrics, Watch
from observerd.simulation.faults import EPOCH, Plan
from observerd.simulation.figures import Figures
from observerd.simulation.stack import Point, Stack, alarms
from observerd.simulation.world import World

WAKE, GROW, LEAK = alarms(Stack())


def first_ring(alarm, points, known_after_s=0.0, minutes=90):
    """In which minute it rings, over points by minute, of which the queue's half is known so much later."""
    clock, metrics, rang = Clock(0.0), Metrics(), []
    watch = Watch(clock, alarm, lambda: rang.append(clock.now // 60))
    for minute in range(1, minutes):
        clock.now = minute * 60.0
        metrics.put(minute - 1, points(minute - 1), clock.now + known_after_s)
        watch.evaluate(metrics, minute)
    return rang[0] if rang else None


def test_wake_rings_at_the_first_minute_of_a_message_nobody_is_wanted_for():
    assert 1 == first_ring(WAKE, lambda _: Point(1, 0, 0, 0))
    assert first_ring(WAKE, lambda _: Point(1, 0, 1, 0)) is None


def test_wake_rings_when_a_late_point_comes_while_it_still_looks_back_so_far():
    assert 3 == first_ring(WAKE, lambda _: Point(1, 0, 0, 0), known_after_s=120.0)


def test_grow_wants_three_minutes_of_busy_workers_and_a_backlog():
    assert 3 == first_ring(GROW, lambda _: Point(11, 4, 1, 1))
    assert first_ring(GROW, lambda _: Point(11, 2, 1, 1)) is None
    assert first_ring(GROW, lambda _: Point(10, 4, 1, 1)) is None
    assert first_ring(GROW, lambda minute: Point(11, 4 * (minute % 3 > 0), 1, 1)) is None


def test_leak_wants_an_hour_of_nothing_anywhere():
    assert 60 == first_ring(LEAK, lambda _: Point(0, 0, 1, 1))
    assert first_ring(LEAK, lambda _: Point(0, 1, 1, 1)) is None
    assert 60 == first_ring(LEAK, lambda _: Point(None, None, 1, 1)), "a queue asleep has no points"


def known_after(woken_after_s):
    """How late the points of a queue are that is used again after so long, over many seeds."""
    late = []
    for seed in range(60):
        world = World(Plan(seed, 1.0, ()), Figures(metric_lag_s=0.0))
        world.queue.active_at = EPOCH - woken_after_s
        world.queue.send("{}", "feed", None)
        world.clock.now += 60.0
        late.append(world._known_at() - world.clock.now)
    return late


def test_a_queue_that_slept_has_its_metrics_up_to_fifteen_minutes_late():
    late_s = known_after(6.1 * 3_600)
    assert 600 < max(late_s) <= 900
    assert min(late_s) < 300


def test_a_queue_in_use_has_them_within_the_minute():
    assert {0.0} == set(known_after(5.9 * 3_600))


def test_a_queue_asleep_has_none():
    world = World(Plan(0, 1.0, ()))
    world.queue.active_at = EPOCH - 6.1 * 3_600
    assert float("inf") == world._known_at()
