"""The bugs that others shipped, planted into the real core or the settings around it: seeds find each."""

from dataclasses import dataclass, replace

import pytest

from observerd.core.consumer import Consumer
from observerd.core.events import Exit, Start, StopRequested
from observerd.simulation.crontab import read_crontab
from observerd.simulation.faults import OUTSIDE, draw_plan
from observerd.simulation.producer import Producer
from observerd.simulation.runner import Life
from observerd.simulation.stack import Alarm
from observerd.simulation.wire import Refusal
from observerd.simulation.worker import Worker
from observerd.simulation.world import World

# Beginning near the seed that found it last time saves minutes over the years, and finds no less.
SEEDS_AT_MOST = 400


def first_broken(world, kinds, seeds):
    """The promise that the first history breaks in which one is broken."""
    played = (world(draw_plan(seed, 1.0, (), kinds)).play().broken for seed in seeds)
    return next((broken.name for broken in played if broken), None)


class LooksBeforeItLowers(Consumer):
    """Decrement after the check: what was seen before the instance was given up counts as the last look."""

    def _saw_all(self, _):
        return True


class AbortsItsPoll(Consumer):
    def on(self, event, now):
        if isinstance(event, StopRequested):
            self.polling = False
        return super().on(event, now)


@dataclass(slots=True)
class WakesFirst(Producer):
    """As "pre-warming" by an earlier call does: the group is asked for a worker, the message comes after."""

    def _handle(self, event):
        pause_s = self.draw.uniform(0.0, 60.0)
        self.wake(event, lambda: self.clock.after(pause_s, self.send, event, lambda: None))


class WakesFirstWorld(World):
    def _producer(self):
        ours = super()._producer()
        return WakesFirst(
            ours.clock, ours.figures, ours.stack, ours.books, ours.draw, ours.wire, ours.queue, ours.group
        )


class ScalesInOnVisible(World):
    """The alarm of the original article: no message waits, so nobody is wanted."""

    def alarms(self):
        return (*super().alarms(), Alarm("Idle", lambda point: point.waiting, lambda value: value == 0, 1))

    def _act(self, alarm):
        if alarm.name == "Idle":
            self.group.scale(0, alarm.name)
        else:
            super()._act(alarm)


class LeavesWhatItCannotTake(Consumer):
    """Who waits for a running message of its FIFO group is not waited for."""

    def _counted(self, _, now):
        return super()._counted(0, now)


class LowersDesiredToo(Worker):
    """Two owners: the capacity is set lower, and then the instance is terminated with decrement."""

    def _terminate(self, who, shrink):
        self._group.set_desired(max(0, self._group.desired - 1), who)
        return super()._terminate(who, shrink)


class ProtectsItselfAtWork(Worker):
    """Unprotected while idle, protected for each job: Auto Scaling may choose it in between."""

    def _perform(self, order):
        super()._perform(order)
        if isinstance(order, Start):
            self._protect()
        elif not self._lives and not isinstance(order, Exit):
            self._group.unprotect(self._instance)


class DeletesFirst(Life):
    def _exec(self, run):
        try:
            self._world.queue.delete(self.message, self._holder)
        except Refusal:
            return
        super()._exec(run)


class WorksOnDeleted(Worker):
    def _life(self, message):
        life = DeletesFirst(self._world, self.wire, self._holder, message, self._told(self._age))
        self._lives[message.id] = life
        return life


class ShrinksWhatIsUnprotected(World):
    """Somebody's policy ends what has nothing to do, as soon as that is so, unless it is protected."""

    def _tick(self):
        super()._tick()
        if not self.queue.stored:
            self.group.set_desired(0, "a person")


def core(consumer):
    return lambda plan: World(plan, make_consumer=consumer)


def workers(kind, base=World):
    class WithWorkers(base):
        def install(self, instance):
            wire = self._wire("instance", instance.id)
            return kind(self._surroundings, self.group, instance, wire, self.make_consumer)

    return WithWorkers


CLOUD = OUTSIDE - {"wake-fails", "producer-fails"}
# The bug, the faults it needs, where to begin, and the promises it breaks.
BUGS = {
    "decrement after the check": (core(LooksBeforeItLowers), CLOUD, 30, {"relied"}),
    "wake before send": (WakesFirstWorld, frozenset(), 0, {"relied"}),
    "aborted poll": (core(AbortsItsPoll), frozenset({"restarted-by-hand"}), 50, {"dropped"}),
    "scale-in on what is visible": (ScalesInOnVisible, frozenset(), 0, {"oscillates"}),
    "unprotect, then protect": (
        workers(ProtectsItselfAtWork, ShrinksWhatIsUnprotected),
        frozenset(),
        0,
        {"killed"},
    ),
    "two lower the desired capacity": (workers(LowersDesiredToo), OUTSIDE, 0, {"oscillates"}),
    "delete before work": (workers(WorksOnDeleted), frozenset(), 0, {"deleted"}),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found_and_breaks_the_promise_it_should(bug):
    world, kinds, first, promises = BUGS[bug]
    assert first_broken(world, kinds, range(first, first + SEEDS_AT_MOST)) in promises


def test_who_leaves_what_it_cannot_take_yet_is_started_over_and_over():
    """With one slot each, Grow cannot tell a busy worker from one whose job holds back the next."""
    slow = read_crontab("*/5 * * * * slow")
    plan = replace(draw_plan(0, 1.0, slow, frozenset(), job_s=7_200.0), slots=1)

    assert "vain" == World(plan, make_consumer=LeavesWhatItCannotTake).play().broken.name
    history = World(plan).play()
    # Two stay half an hour for nothing, and Grow starts the next two: four an hour at the most.
    until = max(until for _, until in history.lifetimes)
    assert (None, True) == (history.broken, history.launches <= 4 * (until - plan.start) / 3_600)


def test_protection_that_stays_is_what_keeps_a_worker_from_such_a_policy():
    assert first_broken(ShrinksWhatIsUnprotected, frozenset(), range(80)) is None
