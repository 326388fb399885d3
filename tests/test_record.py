"""The events of runs, as `runs` and `why` will read them."""

import json
import time
from dataclasses import replace

import pytest

from observerd.core.events import (
    Began,
    Cause,
    DrainRequested,
    End,
    Exit,
    Extended,
    Finished,
    GaveUp,
    GiveUpAnswer,
    Ignore,
    Message,
    Outcome,
    Received,
    Report,
    SpotNoticed,
    TargetState,
    TargetStateChanged,
)
from observerd.emf import Emf
from observerd.record import Record, boot_and_start

AT = 1_795_456_800.0  # 2026-11-23T18:00:00Z
MESSAGE = Message("m-1", "handle", "{}", receive_count=2, sent_at=AT + 3)
RUN = {
    "run_id": "0123456789abcdef",
    "job": "feed",
    "scheduled_time": "2026-11-23T18:00:00Z",
    "attempt": 2,
    "message_id": "m-1",
}
BEGAN = Began(MESSAGE, "feed", RUN["run_id"], "feed/stream", 40.0, AT)
REPORT = Report("feed", RUN["run_id"], AT, "feed/stream", duration_s=10.0, settled="deleted", exit_code=0)


class Kept:
    """A record whose lines are kept, and whose clock a test sets."""

    def __init__(self):
        self.lines = []
        self.now = AT + 40
        self.record = Record(self.lines.append, "host/1", Emf("cron"), lambda: self.now)

    def events(self):
        return [json.loads(line) for line in self.lines]

    def of(self, event):
        [found] = [each for each in self.events() if each["event"] == event]
        return found


@pytest.fixture
def kept():
    return Kept()


def a_run(kept, finished=Finished(MESSAGE, Outcome.SUCCEEDED, deleted=True, report=REPORT)):  # noqa: B008 frozen
    kept.record.event(Received((MESSAGE,)), 0.0)
    kept.now += 0.5
    kept.record.event(BEGAN, 0.0)
    kept.now += 12
    kept.record.event(finished, 0.0)


def test_a_run_is_received_started_ended_and_settled(kept):
    a_run(kept)

    assert [
        ("received", "2026-11-23T18:00:40.000Z"),
        ("started", "2026-11-23T18:00:40.500Z"),
        ("ended", "2026-11-23T18:00:50.500Z"),
        ("settled", "2026-11-23T18:00:52.500Z"),
    ] == [(each["event"], each["at"]) for each in kept.events()]


def test_every_event_of_a_run_bears_what_it_is_found_by(kept):
    a_run(kept)

    for event in kept.events():
        assert {"worker": "host/1", **RUN} == {key: event[key] for key in ("worker", *RUN)}


def test_the_end_is_the_line_that_counts(kept):
    failed = Finished(MESSAGE, Outcome.FAILED, back_in_s=60, report=replace(REPORT, exit_code=3))
    a_run(kept, failed)
    ended = kept.of("ended")

    assert ("failed", 3, "feed/stream", 2) == tuple(
        ended[key] for key in ("outcome", "exit_code", "log_stream", "attempt")
    )
    assert (1, "feed", 40.0, 10.0) == tuple(
        ended[key] for key in ("JobFailed", "JobName", "StartDelay", "JobDuration")
    )
    assert 1 == sum("_aws" in each for each in kept.events())


def test_a_message_that_became_no_run_is_received_and_ended_too(kept):
    report = Report("feed", RUN["run_id"], AT, reason="too late", settled="deleted")
    kept.record.event(Received((MESSAGE,)), 0.0)
    kept.record.event(Finished(MESSAGE, Outcome.MISSED, deleted=True, report=report), 0.0)

    assert ["received", "ended", "settled"] == [each["event"] for each in kept.events()]
    assert ("missed", "too late", 1) == tuple(
        kept.of("ended")[key] for key in ("outcome", "reason", "JobMissed")
    )


def test_a_discarded_message_counts_no_second_success(kept):
    """Its run had succeeded before, and was counted; only the delete had failed."""
    a_run(kept, Finished(MESSAGE, Outcome.SUCCEEDED, report=REPORT))
    kept.record.event(
        Finished(MESSAGE, Outcome.SUCCEEDED, deleted=True, report=Report(settled="deleted")), 0.0
    )

    assert [True, False] == ["JobSucceeded" in each for each in kept.events() if each["event"] == "ended"]


def test_each_extension_of_a_running_lease_is_a_heartbeat_of_its_run(kept):
    kept.record.event(BEGAN, 0.0)
    kept.record.event(Extended(0.0, kept=("handle", "of-another")), 0.0)

    assert RUN == {key: kept.of("heartbeat")[key] for key in RUN}


def test_a_run_that_ended_has_no_heartbeat(kept):
    a_run(kept)
    kept.record.event(Extended(0.0, kept=("handle",)), 0.0)

    assert "heartbeat" not in [each["event"] for each in kept.events()]


@pytest.mark.parametrize(
    ("order", "event"),
    [
        (End(MESSAGE, Cause.LEASE_LOST), "lease_lost"),
        (End(MESSAGE, Cause.STOP), "told_to_end"),
        (Ignore(MESSAGE), "duplicate"),
        (Ignore(MESSAGE, stale=True), "stale"),
    ],
)
def test_what_befalls_a_run_is_recorded_under_its_id(order, event, kept):
    kept.record.event(BEGAN, 0.0)
    kept.record.order(order)

    assert RUN["run_id"] == kept.of(event)["run_id"]


def test_a_worker_is_up_gives_up_and_leaves(kept):
    kept.record.up(AT - 30, AT - 2, "i-0abc", AT - 41)
    kept.record.event(GaveUp(GiveUpAnswer.TERMINATING, "i-0abc"), 0.0)
    kept.record.order(Exit(0, "idle"))

    up = kept.of("worker_up")
    assert ("i-0abc", "2026-11-23T17:59:19.000Z", "2026-11-23T17:59:30.000Z", "2026-11-23T17:59:58.000Z") == (
        up["instance_id"], up["launched_at"], up["booted_at"], up["at"],
    )  # fmt: skip
    assert ["worker_up", "given_up", "worker_left"] == [each["event"] for each in kept.events()]
    assert ("idle", 42.0) == (kept.of("worker_left")["reason"], kept.of("worker_left")["WorkerSeconds"])


@pytest.mark.parametrize(
    ("event", "facts"),
    [
        (
            SpotNoticed("terminate", 118.0),
            {"event": "spot_notice", "action": "terminate", "gone_in_s": 118.0},
        ),
        (TargetStateChanged(TargetState.TERMINATED), {"event": "terminating"}),
        (DrainRequested("by hand"), {"event": "drain_requested", "reason": "by hand"}),
    ],
)
def test_what_ends_a_worker_is_recorded(event, facts, kept):
    kept.record.event(event, 0.0)

    [line] = kept.events()
    assert facts | {"at": line["at"], "worker": "host/1"} == line


def test_a_state_that_the_worker_may_stay_in_is_no_news(kept):
    kept.record.event(TargetStateChanged(TargetState.IN_SERVICE), 0.0)

    assert [] == kept.lines


def test_staying_in_service_is_not_giving_up(kept):
    kept.record.event(GaveUp(GiveUpAnswer.KEPT), 0.0)

    assert [] == kept.lines


def test_nothing_is_remembered_of_messages_that_are_gone(kept):
    a_run(kept)
    kept.record.event(Received((MESSAGE,)), 0.0)
    kept.record.order(Ignore(MESSAGE))

    assert (0, 0, 0) == (len(kept.record._received_at), len(kept.record._runs), len(kept.record._by_handle))


def test_the_machine_booted_before_this_process_was_started():
    booted_at, started_at = boot_and_start()

    assert booted_at < started_at <= time.time()
    # A test session does not take days.
    assert time.time() - started_at < 86_400
