"""The world's SQS does what the SQS guide says: it is what every promise is held against."""

import json

import pytest

from observerd.simulation.books import Books
from observerd.simulation.clock import Clock
from observerd.simulation.crontab import Schedule
from observerd.simulation.faults import EPOCH, Plan
from observerd.simulation.figures import Figures
from observerd.simulation.queue import Queue, Refused

LINES = {name: Schedule("0 0 * * *", name) for name in ("feed", "bill")}


class Desk:
    """A queue, and somebody who sends to it and receives from it."""

    def __init__(self, *, fifo=True, max_receive_count=10, retention_s=86_400.0, **figures):
        self.clock = Clock(EPOCH)
        self.books = Books(self.clock, False, 21_600.0)
        self.queue = Queue(
            self.clock, Figures(**figures), self.books, Plan(1, 1.0, ()).draw("queue"), fifo, retention_s,
            max_receive_count, lambda: None,
        )  # fmt: skip

    def send(self, job="feed", key="k1"):
        run_id = self.books.due(LINES[job], key)
        message_id = self.queue.send(json.dumps({"job": job}), job, key)
        self.books.sent(run_id, message_id)
        return message_id

    def receive(self, at_most=1, wait_s=0.0, visibility_s=120.0):
        """What comes, once it has come."""
        answers = []
        self.queue.receive("i-1.1", at_most, wait_s, visibility_s, answers.append)
        self.pass_s(wait_s)
        (answer,) = answers
        return answer

    def pass_s(self, seconds):
        self.clock.run(self.clock.now + seconds)


@pytest.fixture
def desk():
    return Desk(false_empty_share=0.0)


def ids(messages):
    return [each.id for each in messages]


def test_what_is_received_is_hidden_until_its_timeout_and_comes_again(desk):
    desk.send()
    (first,) = desk.receive()
    assert () == desk.receive(wait_s=119.0)
    desk.pass_s(1.0)
    (again,) = desk.receive()

    assert (first.id, 1, 2) == (again.id, first.receive_count, again.receive_count)


def test_a_timeout_is_extended_shortened_and_never_beyond_twelve_hours(desk):
    desk.send()
    (message,) = desk.receive()
    desk.queue.change_visibility(message, 3_600.0)
    assert () == desk.receive(wait_s=3_599.0)
    desk.queue.change_visibility(message, 43_200.0 - 3_600.0)
    with pytest.raises(Refused, match="twelve hours"):
        desk.queue.change_visibility(message, 43_200.0)
    desk.queue.change_visibility(message, 0.0)

    assert ids([message]) == ids(desk.receive())


def test_an_old_handle_does_nothing(desk):
    desk.send()
    (old,) = desk.receive()
    desk.pass_s(120.0)
    (new,) = desk.receive()

    with pytest.raises(Refused):
        desk.queue.delete(old, "i-1.1")
    desk.queue.delete(new, "i-1.1")
    assert {} == desk.queue.stored


def test_on_a_fifo_queue_a_handle_ends_with_its_timeout(desk):
    desk.send()
    (message,) = desk.receive()
    desk.pass_s(120.0)

    with pytest.raises(Refused, match="expired"):
        desk.queue.change_visibility(message, 60.0)


def test_one_message_of_a_group_is_out_at_a_time_and_the_others_count_as_visible(desk):
    """As boto3 issue 1372 shows: hundreds visible, some in flight, and a receive that gets none."""
    desk.send("feed", "k1")
    desk.send("feed", "k2")
    desk.send("bill", "k3")
    (first,) = desk.receive()

    assert ["m3"] == ids(desk.receive())
    assert () == desk.receive()
    assert (1, 2) == (desk.queue.waiting(), desk.queue.in_flight())
    desk.queue.delete(first, "i-1.1")
    assert ["m2"] == ids(desk.receive())


def test_a_second_send_within_five_minutes_is_the_same_message(desk):
    first = desk.send(key="k1")
    desk.pass_s(299.0)
    assert first == desk.send(key="k1")
    desk.pass_s(1.0)
    assert first != desk.send(key="k1")


def test_deduplication_outlives_the_message(desk):
    first = desk.send(key="k1")
    (message,) = desk.receive()
    desk.queue.delete(message, "i-1.1")

    assert first == desk.send(key="k1")
    assert {} == desk.queue.stored


def test_after_its_last_receive_it_is_redriven():
    desk = Desk(false_empty_share=0.0, max_receive_count=2)
    desk.send()
    for _ in range(2):
        assert desk.receive()
        desk.pass_s(120.0)

    assert () == desk.receive()
    assert {} == desk.queue.stored
    assert ["dead-lettered"] == [run.ended_as for run in desk.books.runs.values()]


def test_what_is_older_than_the_retention_is_lost():
    desk = Desk(false_empty_share=0.0, retention_s=10_800.0)
    desk.send()
    desk.pass_s(10_800.0)

    assert () == desk.receive()
    assert ["lost"] == [run.ended_as for run in desk.books.runs.values()]


def test_a_long_poll_waits_for_what_comes_and_a_short_one_does_not(desk):
    found = []
    desk.queue.receive("i-1.1", 1, 20.0, 120.0, found.append)
    desk.pass_s(10.0)
    desk.send()

    assert [["m1"]] == [ids(each) for each in found]
    assert () == desk.receive(wait_s=0.0)


def test_a_short_poll_may_miss_what_waits_and_a_long_one_does_not():
    desk = Desk(fifo=False, false_empty_share=0.5, max_receive_count=None)
    desk.send()
    found = [bool(desk.receive(visibility_s=0.0)) for _ in range(100)]

    assert 20 < sum(found) < 80
    assert all(desk.receive(wait_s=1.0, visibility_s=0.0) for _ in range(20))


def test_a_long_poll_may_be_made_to_miss_it(desk):
    """The fault that the protocol cannot argue away."""
    desk.queue.empty_answers = True
    desk.send()

    assert {True, False} == {bool(desk.receive(wait_s=1.0, visibility_s=0.5)) for _ in range(40)}
