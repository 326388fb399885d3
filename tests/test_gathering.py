"""One call of what many threads want: nobody lost, told another's answer, or kept behind a hang."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from observerd import gathering
from observerd.core.events import ReceiveFault
from observerd.gathering import Gathering
from observerd.sqs import HandleRefused, SqsFault
from tests.support import eventually


class Door:
    """Takes calls, and lets each answer when it is opened; faults are by item."""

    def __init__(self, faults=None):
        self.calls, self.faults, self.open = [], faults or {}, threading.Event()

    def __call__(self, items):
        self.calls.append(list(items))
        assert self.open.wait(30)
        return [self.faults.get(item) for item in items]


def behind_a_first_call(door, items):
    """Futures of items that come, one after the other, while the call of "first" is on its way."""
    gathered, pool = Gathering(door, 10), ThreadPoolExecutor(32)
    futures = [pool.submit(gathered.do, "first")]
    eventually(lambda: door.calls)
    for place, item in enumerate(items, 1):
        futures.append(pool.submit(gathered.do, item))
        eventually(lambda place=place: len(gathered._waiting) == place)
    return pool, futures


@pytest.fixture
def _patient(monkeypatch):
    monkeypatch.setattr(gathering, "PATIENCE_S", 60.0)


@pytest.mark.usefixtures("_patient")
def test_who_comes_during_a_call_shares_the_next_ones_of_ten_at_most():
    door = Door()
    pool, futures = behind_a_first_call(door, range(12))
    door.open.set()
    with pool:
        assert [None] * 13 == [future.result(30) for future in futures]

    assert [["first"], list(range(10)), [10, 11]] == door.calls


@pytest.mark.usefixtures("_patient")
def test_each_thread_is_told_of_its_own_item():
    refused = HandleRefused("b's own")
    door = Door({"b": refused})
    pool, futures = behind_a_first_call(door, "abc")
    door.open.set()
    with pool:
        assert [None, None, refused, None] == [future.exception(30) for future in futures]


def test_nobody_waits_long_behind_a_call_that_hangs(monkeypatch):
    monkeypatch.setattr(gathering, "PATIENCE_S", 0.05)
    door = Door()
    gathered = Gathering(door, 10)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(gathered.do, "hangs")]
        eventually(lambda: door.calls)
        futures.append(pool.submit(gathered.do, "passes"))
        eventually(lambda: len(door.calls) == 2)
        door.open.set()
        assert [None, None] == [future.result(30) for future in futures]

    assert [["hangs"], ["passes"]] == door.calls


class Waits:
    """What time.sleep was asked for, while the clock stands where the test puts it."""

    def __init__(self, monkeypatch):
        self.slept, self.now = [], 0.0
        monkeypatch.setattr(gathering.time, "sleep", self.slept.append)
        monkeypatch.setattr(gathering.time, "monotonic", lambda: self.now)


def test_who_is_alone_does_not_wait_for_company(monkeypatch):
    waits, calls = Waits(monkeypatch), []
    gathered = Gathering(lambda items: calls.append(list(items)) or [None] * len(items), 10)
    for waits.now in (1.0, 1.2, 1.4):
        gathered.do(waits.now)

    assert ([], [[1.0], [1.2], [1.4]]) == (waits.slept, calls)


def test_short_jobs_wait_for_each_other_a_moment(monkeypatch):
    waits = Waits(monkeypatch)
    gathered = Gathering(lambda items: [None] * len(items), 10)
    for waits.now in (1.0, 1.05, 1.1):
        gathered.do("item")

    assert [gathering.APART_S, gathering.APART_S] == waits.slept


def test_nobody_waits_where_no_other_can_come(monkeypatch):
    waits = Waits(monkeypatch)
    gathered = Gathering(lambda items: [None] * len(items), 1)
    for waits.now in (1.0, 1.01):
        gathered.do("item")

    assert [] == waits.slept


def test_an_error_of_ours_reaches_everybody_and_the_next_call_is_made():
    def broken(items):
        raise ZeroDivisionError

    gathered = Gathering(broken, 10)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            gathered.do("item")


def received(sqs, queue, count):
    for number in range(count):
        sqs.send(f"body {number}")
    return queue.receive(10, 1)


def test_a_batch_is_deleted_in_one_call_and_its_refusal_is_the_right_messages(sqs, make_queue):
    queue = make_queue()
    first, gone, last = received(sqs, queue, 3)
    queue.delete(gone)

    told = queue._delete_all([first, gone, last])

    assert [type(None), HandleRefused, type(None)] == [type(each) for each in told]
    assert ([], 1) == (sqs.bodies(), sqs.count("DeleteMessageBatch"))


@pytest.mark.parametrize("kind", ["error", "reset", "garbage", "truncated"])
def test_a_batch_without_an_answer_is_a_fault_of_each_and_deletes_none(kind, sqs, make_queue):
    queue = make_queue()
    messages = received(sqs, queue, 2)
    sqs.fail("DeleteMessageBatch", kind)

    told = queue._delete_all(messages)

    assert [SqsFault, SqsFault] == [type(each) for each in told]
    assert ["body 0", "body 1"] == sqs.bodies()


def test_a_message_that_the_answer_forgets_does_not_count_as_deleted(sqs, make_queue, monkeypatch):
    queue = make_queue()
    messages = received(sqs, queue, 2)
    monkeypatch.setattr(sqs, "_DeleteMessageBatch", lambda _: {"Successful": [{"Id": "1"}], "Failed": []})

    forgotten, deleted = queue._delete_all(messages)

    assert (ReceiveFault.UNREACHABLE, None) == (forgotten.fault, deleted)
