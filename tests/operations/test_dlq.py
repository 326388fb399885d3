"""What lies dead, and how it is run again or dropped. On the fake SQS, with real clients."""

import argparse
import io
import json
from dataclasses import replace

import pytest

from observerd.aws import Account as RealAccount
from observerd.core.events import Message, Outcome, Report
from observerd.core.evidence import evidence
from observerd.operations import dlq
from observerd.operations.command import _dlq as command
from observerd.operations.screen import Screen
from observerd.operations.trouble import Trouble
from observerd.sqs import sent_attribute
from tests.fake_sqs import FakeSqs
from tests.operations.cloud import AT, DUE, JOBS, PLACE, RUN, Cloud, refused

BODY = json.dumps({"v": 1, "job": "feed", "scheduled_time": DUE, "payload": {"b": 1, "a": 2}})
REPORT = Report("feed", RUN, AT, f"feed/x/{RUN}-3", "exit code 3", exit_code=3, last_lines="one\ntwo")


@pytest.fixture
def sqs():
    with FakeSqs("jobs.fifo", "dead.fifo") as fake:
        yield fake


class Group:
    def __init__(self, desired=0):
        self.desired, self.fault, self.calls = desired, None, []

    def describe_auto_scaling_groups(self, **_):
        if self.fault:
            raise self.fault
        return {"AutoScalingGroups": [{"DesiredCapacity": self.desired}]}

    def set_desired_capacity(self, **request):
        self.calls.append(request)
        self.desired = request["DesiredCapacity"]


class World:
    def __init__(self, sqs):
        self.sqs, self.cloud, self.group = sqs, Cloud(), Group()
        self.cloud.account.clients["autoscaling"] = self.group
        self.cloud.account.clients["sqs"] = RealAccount("us-east-1").client("sqs", sqs.endpoint)
        self.place = replace(
            PLACE, queue_url=sqs.url("jobs.fifo"), dead_letter_queue_url=sqs.url("dead.fifo")
        )

    def bury(self, body=BODY, report=REPORT, own=(), group="feed"):
        message = Message("m-0", "h", body, receive_count=3)
        facts = evidence(Outcome.FAILED, message, report) if report else {}
        attributes = {name: sent_attribute(each) for name, each in facts.items()} | dict(own)
        return self.sqs.send(body, "dead.fifo", attributes, group, sent_at=AT)

    def letters(self):
        return dlq.DeadLetters(self.cloud.account, self.place, {}, wait_s=0)

    def found(self):
        with self.letters().looked_at() as found:
            return found

    def retry(self):
        letters = self.letters()
        with letters.looked_at() as [dead]:
            return letters.retry(dead)

    def visible(self, name="dead.fifo"):
        answer = self.cloud.account.clients["sqs"].receive_message(
            QueueUrl=self.sqs.url(name), MaxNumberOfMessages=10, VisibilityTimeout=0
        )
        return [each["MessageId"] for each in answer.get("Messages", ())]


@pytest.fixture
def world(sqs):
    return World(sqs)


def test_the_list_says_what_died_and_why(world):
    world.bury()

    assert dlq.table(world.found(), AT + 4_500, Screen()) == (
        "DEAD FOR  JOB   OUTCOME  DUE (UTC)            RUN               WHY\n"
        "1h 15m    feed  failed   2026-11-23 18:00:00  cc303edba9d27fd3  exit code 3"
    )


def test_looking_takes_nothing_away(world):
    dead = [world.bury(), world.bury(group="other")]
    world.found()

    assert dead == world.visible()


def test_even_when_looking_ends_in_an_error(world):
    dead = world.bury()
    with pytest.raises(ZeroDivisionError), world.letters().looked_at():
        raise ZeroDivisionError

    assert [dead] == world.visible()


def test_one_message_is_shown_with_its_evidence_and_last_lines(world):
    world.bury()
    [dead] = world.found()
    sheet = dlq.sheet(dead, world.letters().last_lines(dead), world.place, AT + 60, Screen())

    for line in (
        "feed  run cc303edba9d27fd3  failed",
        "  reason     exit code 3",
        "  exit code  3",
        "  attempt    3",
        "  due        2026-11-23T18:00:00Z",
        "  retry      observerd dlq retry m-1 --stack cron",
        "  last lines\n    one\n    two",
    ):
        assert line in sheet
    assert f"log-events/feed$252Fx$252F{RUN}-3" in sheet


def test_a_message_that_sqs_itself_gave_up_is_looked_up_in_the_events(world):
    run = world.cloud.sent()
    world.cloud.received(run)
    stream = world.cloud.started(run)
    world.cloud.logs.put(JOBS, stream, AT + 70, "the end")
    world.bury(report=None)
    [dead] = world.found()

    assert ("feed", RUN, "crashed") == (dead.job, dead.run_id, dead.outcome)
    assert ["line of attempt 1", "the end"] == world.letters().last_lines(dead)


def test_another_runs_lines_are_no_evidence(world):
    """Not every CloudWatch Logs filters as it is asked."""
    world.cloud.logs.filters = False
    world.cloud.started(world.cloud.sent(job="tidy"))
    world.bury(report=None)
    [dead] = world.found()

    assert [] == world.letters().last_lines(dead)


def test_evidence_that_a_stranger_wrote_does_not_act_on_the_terminal(world):
    """SQS lets C1 controls through, and ends of lines."""
    evil = "feed\x9b2J\nbilling  succeeded"
    world.bury(report=replace(REPORT, job=evil, run_id=evil, reason=evil, last_lines=evil))
    [dead] = world.found()
    shown = [
        dlq.table([dead], AT, Screen(80)),
        dlq.sheet(dead, [evil], world.place, AT, Screen(80)),
        dlq.report(dlq.Done(dead, "dropped")),
    ]

    assert 1 == len(shown[2].splitlines())
    assert "\x9b" not in "".join(shown)
    assert not any(line.startswith("billing") for line in "\n".join(shown).splitlines())


def test_a_body_that_cannot_be_read_is_shown_as_it_is(world):
    world.bury("\x1b[2J not JSON", replace(REPORT, job=None, run_id=None, last_lines=""))
    [dead] = world.found()

    assert (None, None) == (dead.job, dead.run_id)
    assert "\\x1b[2J not JSON" in dlq.sheet(dead, [], world.place, AT, Screen())


def test_a_retry_is_the_same_message_without_evidence_and_marked(world, sqs):
    world.bury(own={"Name2": {"DataType": "String", "StringValue": "kept"}})
    done = world.retry()
    [sent] = sqs.queues["jobs.fifo"].messages

    assert (BODY, "feed", None) == (sent.body, sent.group, done.fault)
    assert {"Name2": "kept", "ObserverdRetried": "by hand"} == {
        name: each["StringValue"] for name, each in sent.attributes.items()
    }


def test_a_retry_is_no_duplicate_to_sqs(world):
    """Within five minutes SQS would drop what bears the message's, or an earlier retry's, id."""
    seen = []
    events = world.cloud.account.clients["sqs"].meta.events
    events.register("provide-client-params.sqs.SendMessage", lambda params, **_: seen.append(params))
    for _ in range(2):
        world.bury()
        world.retry()

    assert 4 == len({*(each["MessageDeduplicationId"] for each in seen), "m-1", "m-3"})


def test_a_retry_wakes_the_group_before_it_deletes(world, sqs):
    world.bury()
    done = world.retry()

    assert [{"AutoScalingGroupName": "cron-workers", "DesiredCapacity": 1, "HonorCooldown": False}] == (
        world.group.calls
    )
    assert ("sent, a worker was asked for", 0) == (done.words, len(sqs.queues["dead.fifo"].messages))
    assert sqs.calls.index("SendMessage") < sqs.calls.index("DeleteMessage")


def test_a_retry_leaves_a_group_with_workers_alone(world):
    world.bury()
    world.group.desired = 2

    assert ("sent, a worker is there", []) == (world.retry().words, world.group.calls)


def test_a_retry_that_cannot_be_sent_deletes_nothing(world, sqs):
    dead = world.bury()
    sqs.fail("SendMessage", "error", code="AccessDenied", status=403)
    done = world.retry()

    assert ("left where it is", True) == (done.words, "not sent" in done.fault)
    assert ([dead], []) == (world.visible(), world.group.calls)


def test_a_group_that_cannot_be_woken_does_not_bring_the_message_back(world, sqs):
    """It is in the queue: left here too, the next retry would run it twice."""
    world.bury()
    world.group.fault = refused("AccessDenied", "no")
    done = world.retry()

    assert (True, [], 1) == (
        "Wake alarm" in done.fault,
        world.visible(),
        len(sqs.queues["jobs.fifo"].messages),
    )


def test_a_message_that_is_sent_and_stays_says_so(world, sqs):
    world.bury()
    sqs.fail("DeleteMessage", "error", code="AccessDenied", status=403)

    assert "still in the dead-letter queue too" in world.retry().fault


def test_ten_attributes_leave_no_room_for_the_mark(world):
    world.bury(report=None, own={f"a{n}": {"DataType": "String", "StringValue": "x"} for n in range(10)})

    assert "its max_lateness counts" in world.retry().words


@pytest.mark.parametrize("text", [RUN, "feed", "m-1"])
def test_a_letter_is_meant_by_run_job_or_message(text, world):
    world.bury()

    assert ["m-1"] == [each.message.id for each in dlq.meant(world.found(), [text], every=False)]


def test_what_means_several_is_asked_back(world):
    world.bury()
    world.bury()
    found = world.found()

    with pytest.raises(Trouble, match=r"'feed' means 2 dead letters: m-1, m-2"):
        dlq.meant(found, ["feed"], every=False)
    assert 2 == len(dlq.meant(found, ["feed"], every=True))
    with pytest.raises(Trouble, match="no dead letter 'tidy'"):
        dlq.meant(found, ["tidy"], every=True)


def given(action, *which, **flags):
    return argparse.Namespace(
        **{"action": action, "which": which, "all": False, "yes": False, "json": False} | flags
    )


def run(world, *arguments, **flags):
    return command(world.cloud.account, world.place, given(*arguments, **flags))


@pytest.mark.parametrize("action", ["retry", "drop"])
def test_nothing_is_changed_that_was_not_named(action, world):
    dead = world.bury()

    with pytest.raises(Trouble, match="which"):
        run(world, action)
    assert [dead] == world.visible()


def test_a_drop_asks_first(world, monkeypatch):
    dead = world.bury()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))

    with pytest.raises(Trouble, match="--yes"):
        run(world, "drop", "feed")
    assert [dead] == world.visible()


def test_a_drop_deletes_for_good(world, sqs, capsys):
    world.bury()

    assert 0 == run(world, "drop", "feed", yes=True)
    assert ("feed  run cc303edba9d27fd3  message m-1: dropped\n", []) == (
        capsys.readouterr().out,
        sqs.queues["dead.fifo"].messages,
    )


def test_json_has_the_evidence_and_the_last_lines(world, capsys):
    world.bury()
    run(world, "show", json=True)
    [told] = json.loads(capsys.readouterr().out)

    assert (RUN, "3", ["one", "two"], BODY) == (
        told["run_id"],
        told["evidence"]["ExitCode"],
        told["last_lines"],
        told["body"],
    )


def test_an_empty_queue_is_good_news(world, capsys):
    assert 0 == run(world, "list")
    assert "no dead letters\n" == capsys.readouterr().out


def test_without_a_configured_queue_the_redrive_policy_tells(world, sqs):
    sqs.queues["jobs.fifo"].redrive = "dead.fifo"
    world.place = replace(world.place, dead_letter_queue_url=None)
    world.bury()

    assert 1 == len(world.found())
    sqs.queues["jobs.fifo"].redrive = None
    with pytest.raises(Trouble, match="has no dead-letter queue"):
        world.letters()
