"""The main thread's loop: what it shows and tells systemd after each event, and what it survives."""

import queue
import threading
from types import SimpleNamespace

import pytest

from observerd import clock, service
from observerd.core.consumer import Consumer, Limits
from observerd.core.events import (
    Cause,
    End,
    Exit,
    Extend,
    Extended,
    Finished,
    Message,
    Outcome,
    Poll,
    Received,
    ReceiveFailed,
    ReceiveFault,
    Settling,
    StopRequested,
    TimeUp,
)
from observerd.crew import Pool
from observerd.service import EXTENSION_LIMIT_S, LATE_S, POLL_LIMIT_S, Crew, Service, status_line
from observerd.systemd import Notifier
from tests.support import eventually

MESSAGE = Message("m-1", "handle", "{}")


class Shown(list):
    """A board that keeps all that it was shown: (the last event, when something must have happened by)."""

    def note(self, event, _):
        self.event = event

    def show(self, _, now, overdue_at):
        self.append((self.event, None if overdue_at is None else overdue_at - now))


class OneByOne(queue.Queue):
    """An inbox in which nothing has come yet when one thing has been taken."""

    def qsize(self):
        return 0


class Heard(Notifier):
    """A notifier whose messages stay here."""

    def __init__(self):
        super().__init__({})
        self.said = []

    def _send(self, text):
        self.said.append(text.split("\n"))


def served(*events, inbox=None, notifier=None, **limits):
    """What is shown when these happen, one after the other, and then a stop and the end of the poll."""
    inbox, orders = inbox or OneByOne(), []
    consumer = Consumer(Limits(**{"idle_timeout_s": None, **limits}), 0.0)
    service = Service(consumer, inbox, notifier or Notifier({}), "jobs")
    crew = _crew(orders)
    service.first_poll(crew.receiver)
    for event in (*events, StopRequested("SIGTERM"), Received()):
        inbox.put(event)
    shown = Shown()
    left = service.run(crew, (), shown)
    assert isinstance(left, Exit)
    return shown, orders


def _crew(orders):
    hand = SimpleNamespace(order=orders.append)
    return Crew(hand, hand, hand, hand, runner=SimpleNamespace(live=None))


def test_while_a_poll_is_on_its_way_its_answer_is_waited_for():
    shown, orders = served(Received())

    event, in_s = shown[0]
    assert isinstance(event, Received)
    assert 2 == sum(isinstance(order, Poll) for order in orders)
    assert POLL_LIMIT_S == pytest.approx(in_s, abs=10)


def test_all_that_has_come_is_taken_in_one_go():
    """A burst of short jobs is written down event by event, and shown once."""
    notifier = Heard()
    shown, orders = served(Received(), Received(), inbox=queue.SimpleQueue(), notifier=notifier)

    assert [] == shown, "the last event ends the service"
    assert 3 == sum(isinstance(order, Poll) for order in orders)
    assert [["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=90000000"]] == notifier.said


def test_what_several_jobs_tell_and_nobody_waits_for_is_heard_in_one_go(monkeypatch):
    messages = tuple(Message(f"m-{number}", "handle", "{}") for number in range(2))
    consumer, inbox, slept = Consumer(Limits(slots=2), 0.0), queue.SimpleQueue(), []
    monkeypatch.setattr(service.time, "sleep", slept.append)

    def sleeps_for(event):
        slept.clear()
        inbox.put(event)
        assert [event] == Service(consumer, inbox, Notifier({}), "jobs")._next_events()
        return slept

    for each in (TimeUp(), Received(messages)):
        consumer.on(each, 1.0)
    done = Finished(messages[0], Outcome.SUCCEEDED, deleted=True)
    assert [service.GATHER_S] == sleeps_for(done)
    assert [] == sleeps_for(Settling(messages[0])), "its slot is to be filled"
    consumer.on(Settling(messages[0]), 1.0)
    assert [] == sleeps_for(done), "no other is about to tell anything"


def test_what_the_consumer_means_to_do_must_not_be_long_overdue():
    """Told to stop, it goes on to TERM after seven seconds; a main thread that hangs does not."""
    shown, _ = served(Received(), drain_timeout_s=7.0)

    event, in_s = shown[1]
    assert isinstance(event, StopRequested)
    assert 7.0 + LATE_S == pytest.approx(in_s, abs=5)


def test_each_step_of_a_stop_asks_for_more_time():
    notifier = Heard()
    served(Received(), notifier=notifier)

    more_time = ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=90000000"]
    assert [["WATCHDOG=1"], more_time, more_time] == [each for each in notifier.said if "WATCHDOG=1" in each]
    assert ["STOPPING=1", "STATUS=draining, 0/1 slots busy, queue jobs"] == notifier.said[2]


def test_a_poll_that_is_not_answered_in_time_starves_the_watchdog(monkeypatch):
    """Also while it stops: then nobody waits for it for longer than TimeoutStopSec."""
    monkeypatch.setattr("observerd.service.POLL_LIMIT_S", -1.0)
    notifier = Heard()
    served(Received(), notifier=notifier)

    more_time = ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=90000000"]
    assert [more_time] == [each for each in notifier.said if "WATCHDOG=1" in each]


def test_a_heartbeat_that_hangs_starves_the_watchdog_and_one_that_gets_on_does_not():
    service, crew = Service(Consumer(Limits(), 0.0), queue.SimpleQueue(), Notifier({}), "jobs"), _crew([])
    for _ in range(2):
        service._perform(Extend(()), crew)
    late = clock.now() + EXTENSION_LIMIT_S + 1

    assert not service._is_healthy(late)
    assert service._overdue_at() < late
    service._extensions.since -= 2 * EXTENSION_LIMIT_S
    service._note(Extended(0.0), crew)
    assert service._is_healthy(late - 10), "the second has just begun"
    assert not service._is_healthy(late + 10)
    service._note(Extended(0.0), crew)
    assert service._is_healthy(late + 10), "none is on its way"


@pytest.mark.parametrize(
    ("missing", "error"),
    [
        ("observerd.service.Bell", OSError(24, "Too many open files")),
        ("observerd.crew.threading.Thread", RuntimeError("can't start new thread")),
    ],
)
def test_a_message_that_cannot_be_carried_is_finished_and_the_service_goes_on(missing, error, monkeypatch):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(missing, refuse)
    inbox, crew = queue.SimpleQueue(), _crew([])
    service = Service(Consumer(Limits(), 0.0, 0.5), inbox, Notifier({}), "jobs")
    message = Message("m-1", "handle", "body")

    service._carry(message, crew.runner.live)
    service._perform(End(message, Cause.STOP, None), crew)

    finished = inbox.get(timeout=10)
    assert (message, Outcome.CRASHED, 120.0) == (finished.message, finished.outcome, finished.back_in_s)
    service._note(finished, crew)
    assert {} == service._bells


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([], "idle"),
        ([Received()], "idle for 58s"),
        ([Received((MESSAGE,))], "running"),
        ([Received((MESSAGE,)), Settling(MESSAGE)], "running"),
        ([Received((MESSAGE,)), Finished(MESSAGE, Outcome.SUCCEEDED, deleted=True)], "idle"),
        ([Received(), ReceiveFailed(ReceiveFault.UNREACHABLE, "refused")], "waiting for SQS"),
    ],
)
def test_systemctl_status_tells_what_it_does(events, text):
    consumer = Consumer(Limits(idle_timeout_s=600.0), 0.0)
    for at, event in enumerate([TimeUp(), *events], start=1):
        consumer.on(event, float(at))

    assert text == status_line(consumer, "jobs", 60.0).partition(",")[0]


def test_a_pool_starts_a_thread_only_where_none_is_idle():
    pool, doors, threads = Pool(), queue.SimpleQueue(), queue.SimpleQueue()

    def task():
        threads.put(threading.get_ident())
        doors.get(timeout=30)

    seen = []
    for at_once in (3, 2):
        for _ in range(at_once):
            pool.start(task)
        seen.append({threads.get(timeout=30) for _ in range(at_once)})
        assert at_once == len(seen[-1]), "side by side"
        for _ in range(at_once):
            doors.put(None)
        eventually(lambda: pool._idle._value == 3)
    assert seen[1] < seen[0]


def test_a_slot_is_free_when_its_job_has_ended():
    consumer = Consumer(Limits(slots=2), 0.0)
    for event in (TimeUp(), Received((MESSAGE,)), Settling(MESSAGE)):
        consumer.on(event, 1.0)

    assert "running, 0/2 slots busy, 1 to be settled, queue jobs" == status_line(consumer, "jobs", 1.0)
