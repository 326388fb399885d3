"""One message's life, received to settled: real HTTP, real processes, each row of the table."""

import dataclasses
import json
import os
import pwd
import threading
from datetime import UTC, datetime

import pytest

from observerd import clock
from observerd.bell import Bell
from observerd.core.events import Began, Cause, Outcome, Settling
from observerd.core.job import Job
from observerd.executors.direct import DirectExecutor
from observerd.runner import Runner
from tests.support import eventually

JOBS = {
    job.name: job
    for job in (
        Job("good", ("/bin/sh", "-c", "echo fine; cat")),
        Job("bad", ("/bin/sh", "-c", "echo one; echo two >&2; exit 3"), attempts=2, backoff_s=60.0),
        Job("hopeless", ("/bin/sh", "-c", "exit 64")),
        Job("slow", ("/bin/sleep", "600"), timeout_s=0.2, attempts=5),
        Job("endless", ("/bin/sh", "-c", "echo up; exec sleep 600"), grace_s=0.1),
        Job("missing", ("/no-such-directory/program",)),
        Job("homeless", ("/bin/true",), working_directory="/no-such-directory"),
        Job("nobodys", ("/bin/true",), user="no-such-user"),
        Job("punctual", ("/bin/true",), max_lateness_s=60.0),
        Job("whoami", ("/bin/sh", "-c", "id -un; id -G; echo $HOME; pwd"), user="nobody"),
        Job("odd", ("/bin/sh", "-c", "exit 7"), success_exit_codes=frozenset({7})),
    )
}


class Logs:
    """In place of CloudWatch Logs: keeps what a run wrote."""

    def __init__(self):
        self.streams = {}

    def open(self, stream):
        log = self.streams[stream] = Log()
        return log


class Log:
    def __init__(self):
        self.content = b""
        self.closed = False

    def write(self, chunk):
        self.content += chunk

    def tail(self):
        return self.content.decode(errors="replace")

    def close(self):
        self.closed = True
        return _Delivery(self.content.count(b"\n"), 0, 0)


@dataclasses.dataclass
class _Delivery:
    lines: int
    dropped: int
    to_journal: int


class Rig:
    """A runner at work on a fake SQS."""

    def __init__(self, sqs, queue):
        self.sqs, self.queue = sqs, queue
        sqs.queues["jobs"].redrive = "dead"
        self.logs, self.events = Logs(), []
        self.executor = DirectExecutor(None, {"COMMON": "yes"})
        self.runner = Runner(queue, self.executor, self.logs, JOBS, self.events.append)
        self.bell = Bell()

    def receive(self):
        (message,) = self.queue.receive(1, 1)
        return message

    def live(self, body=None, **fields):
        self.sqs.send(json.dumps(fields) if body is None else body)
        return self.runner.live(self.receive(), self.bell)

    def dead(self):
        (dead,) = self.sqs.queues["dead"].messages
        facts = {name: each["StringValue"] for name, each in dead.attributes.items()}
        return dead.body, facts


@pytest.fixture
def rig(sqs, make_queue):
    rig = Rig(sqs, make_queue())
    yield rig
    rig.bell.close()
    rig.executor.close()


@pytest.mark.parametrize(
    ("cause", "outcome", "settled"),
    [(Cause.LEASE_LOST, Outcome.LOST, "left alone"), (Cause.STOP, Outcome.INTERRUPTED, "back in 0 s")],
)
def test_a_job_that_was_told_to_end_before_its_turn_is_not_started(cause, outcome, settled, rig):
    """The message of a lost lease may be running elsewhere by then, or be done."""
    rig.bell.ring(cause, 0.0)

    finished = rig.live(job="good")

    assert (outcome, settled) == (finished.outcome, finished.report.settled)
    assert [b""] == [log.content for log in rig.logs.streams.values()]
    assert finished.report.reason.startswith(("its lease on the message", "ended because"))


def test_a_job_that_succeeds_is_deleted_after_its_log_is_closed(rig, monkeypatch):
    seen = []
    real = rig.queue.delete
    monkeypatch.setattr(
        rig.queue,
        "delete",
        lambda m: seen.append([log.closed for log in rig.logs.streams.values()]) or real(m),
    )

    finished = rig.live(job="good", payload={"a": 1})

    assert (Outcome.SUCCEEDED, True, "deleted") == (
        finished.outcome,
        finished.deleted,
        finished.report.settled,
    )
    assert [[True]] == seen
    assert [] == rig.sqs.bodies()


def test_the_payload_is_on_standard_input_and_the_log_in_a_stream_of_its_own(rig):
    finished = rig.live(job="good", scheduled_time="2026-11-23T18:00:00Z", payload={"a": "ü"})

    stream = f"good/2026-11-23T18-00-00Z/{finished.report.run_id}-1"
    assert {stream: b'fine\n{"a": "\xc3\xbc"}'} == {
        name: log.content for name, log in rig.logs.streams.items()
    }
    assert stream == finished.report.log_stream


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_a_job_runs_as_its_user_and_with_the_users_groups_and_home(rig):
    finished = rig.live(job="whoami")

    (log,) = rig.logs.streams.values()
    nobody = pwd.getpwnam("nobody")
    user, groups, home, directory = log.content.decode().split()
    assert Outcome.SUCCEEDED is finished.outcome
    assert ("nobody", str(nobody.pw_gid), nobody.pw_dir, "/") == (user, groups, home, directory)


def test_the_start_is_told_before_the_end(rig):
    rig.live(job="good")

    began, settling = rig.events
    assert isinstance(began, Began)
    assert "good" == began.job
    assert Settling(began.message) == settling


def test_a_failure_with_attempts_left_comes_back_after_the_backoff(rig):
    finished = rig.live(job="bad")

    assert Outcome.FAILED is finished.outcome
    assert not finished.deleted
    assert 30 <= finished.back_in_s <= 60
    assert "exit code 3" == finished.report.reason
    assert 1 == len(rig.sqs.bodies())


def test_the_last_failure_goes_to_the_dead_letter_queue_with_its_evidence(rig):
    body = '{"job": "bad",   "payload": "kept byte for byte"}'
    rig.sqs.send(body)
    rig.queue.release(rig.receive(), 0)

    finished = rig.runner.live(rig.receive(), rig.bell)

    dead_body, facts = rig.dead()
    assert (body, [], True) == (dead_body, rig.sqs.bodies(), finished.deleted)
    assert ("failed", "3", "2") == (
        facts["ObserverdOutcome"],
        facts["ObserverdExitCode"],
        facts["ObserverdAttempt"],
    )
    assert "one\ntwo\n" == facts["ObserverdLastLines"]
    assert finished.report.log_stream == facts["ObserverdLogStream"]


def test_an_exit_code_that_forbids_retry_is_dead_lettered_at_once(rig):
    rig.live(job="hopeless")

    assert "64" == rig.dead()[1]["ObserverdExitCode"]


def test_a_timeout_comes_back(rig):
    finished = rig.live(job="slow")

    assert (Outcome.TIMED_OUT, False) == (finished.outcome, finished.deleted)
    assert "timeout" in finished.report.reason


def test_another_exit_code_may_mean_success(rig):
    assert Outcome.SUCCEEDED is rig.live(job="odd").outcome


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        ("missing", "cannot start '/no-such-directory/program': No such file or directory"),
        ("homeless", "cannot enter '/no-such-directory': No such file or directory"),
        ("nobodys", "no user 'no-such-user' on this machine (job 'nobodys')"),
    ],
)
def test_what_cannot_be_started_has_failed_and_says_why(job, reason, rig):
    finished = rig.live(job=job)

    assert (Outcome.FAILED, reason) == (finished.outcome, finished.report.reason)
    assert 1 == len(rig.sqs.bodies())


def test_a_machine_without_processes_costs_the_job_no_attempt(rig, monkeypatch):
    def fork_fails(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("observerd.process.spawn", fork_fails)
    rig.sqs.send('{"job": "bad"}')
    rig.queue.release(rig.receive(), 0)

    finished = rig.runner.live(rig.receive(), rig.bell)

    assert (Outcome.CRASHED, 1, 0) == (
        finished.outcome,
        len(rig.sqs.bodies()),
        len(rig.sqs.queues["dead"].messages),
    )


BAD = {
    "not JSON": "{",
    "no object": '["job"]',
    "no job": "{}",
    "unknown job": '{"job": "stranger"}',
    "path in the name": '{"job": "../../bin/sh"}',
    "shell in the name": '{"job": "x; rm -rf /"}',
    "number as the name": '{"job": 1}',
    "naive time": '{"job": "good", "scheduled_time": "2026-11-23T18:00:00"}',
    "absurd time": '{"job": "good", "scheduled_time": "9999-12-31T23:59:59Z"}',
    "no time": '{"job": "good", "scheduled_time": "noon"}',
    "other version": '{"job": "good", "v": 2}',
    "unknown key": '{"job": "good", "command": "id"}',
    "half a surrogate": '{"job": "good", "payload": "\\ud800"}',
    "NaN": '{"job": "good", "payload": NaN}',
    "wrong lateness": '{"job": "good", "max_lateness": 5}',
    "a mebibyte of nothing": "x" * 1_048_000,
    "nested without end": "[" * 100_000,
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_what_can_never_be_a_run_is_rejected_with_its_body_whole(body, rig):
    finished = rig.live(body)

    dead_body, facts = rig.dead()
    assert (Outcome.REJECTED, True) == (finished.outcome, finished.deleted)
    assert body == dead_body
    assert "rejected" == facts["ObserverdOutcome"]
    assert "\n" not in facts["ObserverdReason"]


def test_a_body_that_leaves_no_room_for_evidence_is_dead_lettered_all_the_same(rig):
    body = "x" * 1_048_576

    rig.live(body)

    assert (body, {}) == rig.dead()


def test_the_seeds_message_names_its_job_by_attribute(rig):
    rig.sqs.send(
        "batch job in 2016/02/01", attributes={"Name": {"DataType": "String", "StringValue": "good"}}
    )

    finished = rig.runner.live(rig.receive(), rig.bell)

    (log,) = rig.logs.streams.values()
    assert (Outcome.SUCCEEDED, b"fine\nbatch job in 2016/02/01") == (finished.outcome, log.content)


def test_a_dead_letter_keeps_the_senders_attributes(rig):
    name = {"DataType": "String", "StringValue": "stranger"}
    rig.sqs.send("body", attributes={"Name": name})

    rig.runner.live(rig.receive(), rig.bell)

    assert "stranger" == rig.dead()[1]["Name"]


def test_a_run_that_is_too_late_is_missed_and_never_started(rig):
    finished = rig.live(job="punctual", scheduled_time="2020-01-01T00:00:00Z")

    assert (Outcome.MISSED, True, {}) == (finished.outcome, finished.deleted, rig.logs.streams)


def test_a_local_clock_that_was_stepped_makes_no_run_late(rig, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 4_000_000_000.0)

    finished = rig.live(job="punctual", scheduled_time=_iso(rig.sqs))

    assert Outcome.SUCCEEDED is finished.outcome


def _iso(sqs):
    real = datetime.now(UTC).timestamp() + sqs.clock_offset_s
    return datetime.fromtimestamp(real, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_without_a_dead_letter_queue_nothing_is_deleted(rig):
    rig.sqs.queues["jobs"].redrive = None

    finished = rig.live("{")

    assert (False, ["{"]) == (finished.deleted, rig.sqs.bodies())
    assert finished.back_in_s > 0


def test_while_the_dead_letter_queue_does_not_answer_nothing_is_deleted(rig):
    rig.sqs.fail("SendMessage", "error", code="AccessDenied", status=400)

    finished = rig.live("{")

    assert (False, ["{"]) == (finished.deleted, rig.sqs.bodies())


def in_background(rig, job):
    rig.sqs.send(json.dumps({"job": job}))
    message, answers = rig.receive(), []
    thread = threading.Thread(target=lambda: answers.append(rig.runner.live(message, rig.bell)))
    thread.start()

    def join():
        thread.join(30)
        assert answers, "the life did not end"
        return answers[0]

    return join


def up(rig):
    return any(b"up" in log.content for log in rig.logs.streams.values())


def test_an_interrupted_job_is_there_for_others_at_once(rig):
    join = in_background(rig, "endless")
    eventually(lambda: up(rig))

    rig.bell.ring(Cause.STOP, None)

    finished = join()
    assert (Outcome.INTERRUPTED, 0) == (finished.outcome, finished.back_in_s)
    assert 2 == rig.receive().receive_count


def test_the_job_of_a_lost_lease_is_killed_and_its_message_left_alone(rig):
    join = in_background(rig, "endless")
    eventually(lambda: up(rig))
    before = len(rig.sqs.calls)

    rig.bell.ring(Cause.LEASE_LOST, 0.0)

    finished = join()
    assert (Outcome.LOST, "left alone") == (finished.outcome, finished.report.settled)
    assert before == len(rig.sqs.calls)


def test_what_failed_while_its_lease_was_lost_is_left_alone(rig, monkeypatch):
    """Closing its log takes time, in which the lease may end."""
    close = Log.close

    def slowly(log):
        rig.bell.ring(Cause.LEASE_LOST, 0.0)
        return close(log)

    monkeypatch.setattr(Log, "close", slowly)
    finished = rig.live(job="bad")

    assert (Outcome.LOST, "left alone") == (finished.outcome, finished.report.settled)
    assert "ChangeMessageVisibility" not in rig.sqs.calls


@pytest.mark.parametrize(
    ("rung", "settled"), [(Cause.LEASE_LOST, "left alone"), (None, "back in")], ids=["lost", "kept"]
)
def test_after_a_suspension_it_waits_for_the_leases_to_be_looked_at(rung, settled, rig, monkeypatch):
    waited_s = []

    def look(timeout_s):
        waited_s.append(timeout_s)
        if rung:
            rig.bell.ring(rung, 0.0)

    monkeypatch.setattr(rig.bell, "wait", look)
    assert rig.live(job="bad").report.settled.startswith("back in")
    assert [] == waited_s, "it has not been suspended"

    monkeypatch.setattr("observerd.clock.asleep_s", lambda: rig.bell.asleep_s + 60.0)
    assert rig.live(job="bad").report.settled.startswith(settled)
    assert [2 * clock.LOOK_S] == waited_s


def test_a_refused_delete_leaves_the_message(rig):
    rig.sqs.fail("DeleteMessage", "error", code="ReceiptHandleIsInvalid", status=400)

    finished = rig.live(job="good")

    assert (Outcome.SUCCEEDED, False, 1) == (finished.outcome, finished.deleted, len(rig.sqs.bodies()))


def test_a_delete_is_tried_until_sqs_is_back(rig, monkeypatch):
    monkeypatch.setattr("observerd.runner.DELETE_RETRY_S", 0.01)
    rig.sqs.fail("DeleteMessage", "error", times=7)

    finished = rig.live(job="good")

    assert (True, []) == (finished.deleted, rig.sqs.bodies())


def test_a_delete_is_given_up_with_the_lease(rig):
    rig.sqs.fail("DeleteMessage", "error")
    join = in_background(rig, "good")
    rig.sqs.wait_for(lambda sqs: sqs.calls.count("DeleteMessage!") >= 1)

    rig.bell.ring(Cause.LEASE_LOST, 0.0)

    finished = join()
    assert (Outcome.SUCCEEDED, False) == (finished.outcome, finished.deleted)


def test_what_has_succeeded_before_is_deleted_and_not_run(rig):
    rig.sqs.send('{"job": "good"}')

    finished = rig.runner.discard(rig.receive(), rig.bell)

    assert (Outcome.SUCCEEDED, True, {}) == (finished.outcome, finished.deleted, rig.logs.streams)


def test_an_error_of_ours_is_an_outcome_and_keeps_the_message(rig, monkeypatch, caplog):
    monkeypatch.setattr(rig.executor, "run", lambda *_: 1 / 0)

    finished = rig.live(job="good")

    assert (Outcome.CRASHED, 1) == (finished.outcome, len(rig.sqs.bodies()))
    assert "ZeroDivisionError" in finished.report.reason
