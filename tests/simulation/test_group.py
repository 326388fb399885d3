"""The world's Auto Scaling group and EC2: launches, protection, hooks, bounds, zones, health."""

import pytest

from observerd.simulation.books import Books
from observerd.simulation.clock import Clock
from observerd.simulation.faults import EPOCH, Plan
from observerd.simulation.figures import Figures
from observerd.simulation.group import Group, Rules, State
from observerd.simulation.wire import Refusal

HOOK_S = 600.0


class Machine:
    """Software that does nothing, and writes down what befalls it."""

    never_ready = False

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        return lambda *_, **__: self.told.append(name)

    def serves(self):
        return True


def group_of(**rules):
    clock = Clock(EPOCH)
    rules = Rules(**{"max_size": 3, "hook_timeout_s": HOOK_S, **rules})
    books = Books(clock, False, 21_600.0)
    draw = Plan(3, 1.0, ()).draw("group")
    return Group(
        clock, Figures(), books, draw, rules, lambda _: Machine(), 60.0, lambda: None, lambda: None
    )  # fmt: skip


@pytest.fixture
def group():
    return group_of()


def after(group, seconds):
    group.clock.run(group.clock.now + seconds)
    return group


def in_service(group, count=1):
    """So many instances, once they are in service."""
    group.set_desired(count, "a person")
    return after(group, 120.0).alive()


def test_an_instance_needs_half_a_minute_and_more_until_its_software_starts(group):
    group.set_desired(1, "the producer")
    after(group, 20.0)
    assert [State.PENDING] * len(group.alive()) == [each.state for each in group.alive()]
    (it,) = after(group, 60.0).alive()
    assert (State.IN_SERVICE, ["boot", "in_service"]) == (it.state, sorted(it.software.told))


def test_a_launch_that_fails_is_tried_again_later_each_time(group):
    group.launch_fails = True
    group.set_desired(1, "the producer")
    after(group, 600.0)
    failed = [line.what for line in group.clock.history if "launch failed" in line.what]
    assert ["30 s", "60 s", "120 s", "240 s"] == [text.rpartition("in ")[2] for text in failed[:4]]
    group.launch_fails = False
    assert 1 == len(after(group, 400.0).alive())


def test_desired_stays_within_the_bounds(group):
    group.rules.min_size = 1
    for wrong in (0, 4):
        with pytest.raises(Refusal, match="ValidationError"):
            group.set_desired(wrong, "a person")
    group.scale(9, "Grow")
    assert 3 == group.desired
    group.scale(0, "Leak")
    assert 1 == group.desired


def test_with_decrement_it_shrinks_and_without_it_is_replaced(group):
    one, other = in_service(group, 2)
    group.terminate(one, "i-1", decrement=True)
    assert (1, State.WAITING) == (group.desired, one.state)
    group.terminate(other, "a person", decrement=False)
    after(group, 120.0)
    assert (1, 3) == (group.desired, len(group.instances))


@pytest.mark.parametrize("minimum", [0, 1])
def test_at_its_minimum_it_refuses_to_shrink(minimum, group):
    (it,) = in_service(group)
    group.rules.min_size = minimum
    group.desired = minimum

    with pytest.raises(Refusal, match="ValidationError"):
        group.terminate(it, "i-1", decrement=True)
    assert State.IN_SERVICE is it.state


def test_what_is_ending_already_is_not_ended_again(group):
    (it,) = in_service(group)
    group.terminate(it, "i-1", decrement=True)

    with pytest.raises(Refusal, match="ScalingActivityInProgress"):
        group.terminate(it, "i-1", decrement=True)


def test_a_policy_ends_what_is_unprotected_or_pending_and_nothing_else(group):
    one, other = in_service(group, 2)
    group.protect(other)
    group.set_desired(3, "a person")
    (new,) = (each for each in after(group, 15.0).alive() if each.state is State.PENDING)
    with pytest.raises(Refusal):
        group.protect(new)
    group.set_desired(0, "a person")
    after(group, 15.0)

    assert [State.WAITING, State.IN_SERVICE, State.WAITING] == [one.state, other.state, new.state]


def test_a_hook_keeps_an_instance_until_it_is_completed_or_over(group):
    one, other = in_service(group, 2)
    for each in (one, other):
        group.terminate(each, each.id, decrement=True)
    after(group, 60.0)
    group.complete(one)
    assert (State.ENDING, State.WAITING) == (one.state, other.state)
    after(group, HOOK_S)
    assert [State.GONE] * 2 == [one.state, other.state]


def test_a_hook_is_held_by_heartbeats_for_a_hundred_timeouts_at_most(group):
    (it,) = in_service(group)
    group.terminate(it, it.id, decrement=True)
    began, beats = group.clock.now, 0
    while it.state is State.WAITING:
        group.heartbeat(it)
        beats += 1
        after(group, HOOK_S / 2)

    after(group, 60.0)
    assert 100 * HOOK_S <= it.gone_at - began < 101 * HOOK_S
    assert beats > 190


def test_without_a_hook_it_ends_at_once():
    group = group_of(hook_timeout_s=None)
    (it,) = in_service(group)
    group.terminate(it, it.id, decrement=True)

    assert (State.ENDING, "shut_down") == (it.state, it.software.told[-1])


def test_a_dead_machine_is_found_and_replaced(group):
    (it,) = in_service(group)
    group.lose(it, "its hardware failed")
    assert [State.IN_SERVICE] == [each.state for each in group.alive()], "nobody knows yet"
    after(group, 200.0 + HOOK_S)
    assert (2, 1, State.GONE) == (len(group.instances), len(group.alive()), it.state)


def test_a_lost_zone_takes_all_in_it_and_the_next_launch_goes_elsewhere(group):
    (it,) = in_service(group)
    group.lose_zone(it.zone)
    after(group, 900.0)
    assert "die" in it.software.told
    (new,) = group.alive()
    assert new.zone != it.zone


def test_spot_capacity_goes_whatever_the_hook_says(group):
    (it,) = in_service(group)
    group.interrupt(it)

    assert (State.ENDING, 1) == (it.state, group.desired)


@pytest.mark.parametrize(("decrement", "others"), [(True, 0), (False, 1)])
def test_standby_is_not_counted(decrement, others, group):
    (it,) = in_service(group)
    group.enter_standby(it, decrement=decrement)
    after(group, 120.0)
    assert (others, others + 1) == (group.desired, len(group.alive()))
    group.exit_standby(it)
    assert (others + 1, State.IN_SERVICE) == (group.desired, it.state)
