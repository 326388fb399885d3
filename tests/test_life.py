"""A worker's life as a process: a real daemon, on a fake SQS, metadata service and Auto Scaling group."""

import json
import signal
import time

import pytest

from tests.daemon import Daemon
from tests.fake_ec2 import HOOK, INSTANCE, FakeEc2
from tests.fake_logs import GROUP, LogsServer
from tests.support import eventually
from tests.test_daemon import JOBS, ledger

LOOK, TERMINATE = "DescribeAutoScalingInstances", "TerminateInstanceInAutoScalingGroup"
COMPLETE = "CompleteLifecycleAction"
GIVEN_UP = "instance given up, taking a last look"


@pytest.fixture
def ec2():
    with FakeEc2() as machine:
        yield machine


@pytest.fixture
def daemon(sqs, ec2, tmp_path):
    """daemon(**config) is a daemon on the fake instance; started by `with`."""
    sqs.queues["jobs"].redrive = "dead"

    def make(environ=None, **config):
        known = {"lifecycle_hook": HOOK, **config}
        return Daemon(sqs, tmp_path, JOBS, (), ec2.environ | (environ or {}), **known)

    return make


def test_an_idle_worker_leaves_by_the_exit_protocol(sqs, ec2, daemon):
    sqs.longest_wait_s = 1.0
    with daemon(idle_timeout="3s") as it:
        assert 0 == it.status()

    assert (0, "Terminated", True) == (ec2.desired, ec2.state, ec2.protected)
    assert ["SetInstanceProtection", LOOK, TERMINATE, COMPLETE] == [action for action, _ in ec2.calls]
    assert [1, 3] == sqs.waits[:2], "the first is short, none longer than the idle timeout"
    assert 20 == sqs.waits[-1], "the last look is a full one"


def test_the_record_tells_which_instance_came_and_how_it_went(sqs, daemon):
    """What `why` makes hops of: launched, booted, up, given up, left."""
    sqs.longest_wait_s = 1.0
    with LogsServer() as server:
        environ = {"AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": server.url}
        with daemon(environ, idle_timeout="1s", log_group=GROUP, stack="cron") as it:
            assert 0 == it.status()

    [stream] = [name for name in server.logs.streams if name.startswith("_events/")]
    events = {each["event"]: each for each in map(json.loads, server.logs.lines(stream))}
    assert (INSTANCE, "2026-11-24T12:00:00.000Z") == (
        events["worker_up"]["instance_id"], events["worker_up"]["launched_at"],
    )  # fmt: skip
    assert ["given_up", "worker_left", "worker_up"] == sorted(events)


def test_an_idle_worker_stays_for_what_waits_behind_a_run_elsewhere(sqs, ec2, daemon):
    """SQS gives nobody the next message of a group; who left would be started anew for it, over and over."""
    for _ in range(2):
        sqs.send('{"v": 1, "job": "note"}', group="slow")
    messages = sqs.queues["jobs"].messages
    messages[0].handle, messages[0].visible_at = "elsewhere", time.monotonic() + 3_600
    sqs.longest_wait_s = 1.0
    with daemon(idle_timeout="1s") as it:
        told = it.wait_for("idle, and stays for what waits behind running jobs")
        assert (1, 0) == (told["waiting"], ec2.count(TERMINATE))
        del messages[0]
        assert 0 == it.status()

    assert (1, "Terminated") == (len(ledger(it)), ec2.state)


def test_a_message_that_arrives_between_give_up_and_last_look_is_run(sqs, ec2, daemon):
    """The producer sends, then reads that one worker is wanted; the worker lowers that, then receives."""

    def arrive(action):
        if action == TERMINATE:
            sqs.send_job("note")

    ec2.on_call = arrive
    sqs.longest_wait_s = 1.0
    with daemon(idle_timeout="1s") as it:
        assert 0 == it.status()

    assert 1 == len(ledger(it))
    assert (0, 1) == (len(sqs.bodies()), len(sqs.queues["jobs"].deleted))
    assert "Terminated" == ec2.state
    assert it.said(GIVEN_UP), "it was run by a worker that had given itself up"


def test_a_stop_during_the_last_look_waits_for_it_and_gives_back_what_it_finds(sqs, ec2, daemon):
    with daemon(idle_timeout="1s") as it:
        it.wait_for(GIVEN_UP)
        eventually(lambda: sqs.waits[-1] == 20 and sqs.waiting == 1)
        it.signal(signal.SIGTERM)
        it.wait_for("stop requested")
        sqs.send_job("note")
        assert 0 == it.status()

    assert it.said("late message released")
    assert 1 == sqs.count("ChangeMessageVisibility")
    assert not it.ledger.exists()
    assert "Terminated" == ec2.state, "its hook does not wait for nothing"


def test_a_spot_notice_ends_the_job_and_gives_its_message_back(sqs, ec2, daemon):
    ec2.metadata["instance-life-cycle"] = "spot"
    with daemon() as it:
        sqs.send_job("wait")
        it.wait_for_ledger("start")
        ec2.takes_back()
        assert 0 == it.status()

    assert ["told"] == ledger(it)[1:]
    assert ["interrupted"] == [line["outcome"] for line in it.said("run ended")]
    assert 1 == sqs.count("ChangeMessageVisibility")
    assert 0 == ec2.count(TERMINATE), "EC2 replaces what it takes back"


def test_a_worker_that_others_end_finishes_its_job_under_the_hook_and_takes_no_other(sqs, ec2, daemon):
    with daemon() as it:
        sqs.send_job("until")
        it.wait_for_ledger("start")
        eventually(lambda: ec2.protected)
        ec2.state = "Terminating:Wait"
        it.wait_for("lifecycle state", 2)
        sqs.send_job("note")
        (it.directory / "ledger.go").touch()
        assert 0 == it.status()

    assert ["end"] == [line.split()[0] for line in ledger(it)[1:]]
    assert 1 == len(sqs.bodies()), "the other one is another worker's"
    assert (0, 1, "Terminated") == (ec2.count(TERMINATE), ec2.count(COMPLETE), ec2.state)


def test_a_drained_worker_is_replaced_and_finishes_its_job_first(sqs, ec2, daemon):
    with daemon() as it:
        sqs.send_job("until")
        it.wait_for_ledger("start")
        it.signal(signal.SIGUSR1)
        eventually(lambda: ec2.state == "Terminating:Wait")
        assert 1 == ec2.desired, "the group starts another in its place"
        assert it.process.poll() is None
        (it.directory / "ledger.go").touch()
        assert 0 == it.status()

    assert ["end"] == [line.split()[0] for line in ledger(it)[1:]]
    assert "Terminated" == ec2.state


@pytest.mark.parametrize(
    ("call", "answer", "known_as"),
    [
        (TERMINATE, ("AccessDenied", "not authorized"), ("error", "denied")),
        (LOOK, ("AccessDenied", "not authorized"), ("error", "denied")),
        (TERMINATE, ("Throttling", "Rate exceeded"), ("warning", "failed")),
        (TERMINATE, ("ScalingActivityInProgress", "busy"), ("warning", "failed")),
        (TERMINATE, ("ResourceContention", "busy"), ("warning", "failed")),
        (TERMINATE, "hang", ("warning", "failed")),
        (LOOK, "hang", ("warning", "failed")),
    ],
)
def test_a_worker_that_may_not_leave_goes_on_serving(call, answer, known_as, sqs, ec2, daemon):
    ec2.answers[call] = answer
    sqs.longest_wait_s = 1.0
    with daemon(idle_timeout="1s") as it:
        eventually(lambda: ec2.count(call))
        sqs.send_job("note")
        it.wait_for_ledger("note")
        told = it.wait_for("instance not given up, staying in service")
        sqs.send_job("note")
        it.wait_for_ledger("note", 2)

    assert known_as == (told["level"], told["answer"])
    assert "InService" == ec2.state


def test_a_worker_whose_group_has_a_minimum_goes_on_serving(sqs, ec2, daemon):
    ec2.minimum = 1
    sqs.longest_wait_s = 1.0
    with daemon(idle_timeout="1s") as it:
        told = it.wait_for("instance not given up, staying in service")
        sqs.send_job("note")
        it.wait_for_ledger("note")

    assert ("kept", "the group's minimum size is 1") == (told["answer"], told["detail"])
    assert (1, "InService") == (ec2.desired, ec2.state)


def test_a_worker_that_nobody_wants_any_more_leaves_without_a_decrement(sqs, ec2, daemon):
    ec2.desired = 0
    sqs.longest_wait_s = 1.0
    with daemon(idle_timeout="1s") as it:
        assert 0 == it.status()

    assert (0, "Terminated", 2) == (ec2.desired, ec2.state, ec2.count(TERMINATE))


def test_an_answer_that_was_lost_is_made_good_by_what_metadata_says(sqs, ec2, daemon):
    ec2.desired = 2
    ec2.answers[TERMINATE] = "lost"
    sqs.longest_wait_s = 1.0
    with daemon(idle_timeout="1s") as it:
        assert 0 == it.status()

    assert (1, "Terminated", 1) == (ec2.desired, ec2.state, ec2.count(TERMINATE))
    assert 20 == sqs.waits[-1], "with a last look"


def test_a_hook_that_is_not_there_keeps_no_worker(sqs, daemon):
    sqs.longest_wait_s = 1.0
    with daemon(idle_timeout="1s", lifecycle_hook="another") as it:
        assert 0 == it.status()

    (told,) = it.said("lifecycle action not completed")
    assert "No active Lifecycle Action" in told["fault"]


def test_a_group_that_hangs_at_the_end_keeps_no_worker_for_long(sqs, ec2, daemon):
    ec2.answers[COMPLETE] = "hang"
    sqs.longest_wait_s = 1.0
    with daemon(idle_timeout="1s") as it:
        assert 0 == it.status()

    assert 1 <= ec2.count(COMPLETE) <= 2, "ten seconds of tries that take five each"


def test_a_long_run_of_the_last_look_is_finished_under_the_hook(sqs, ec2, daemon, tmp_path):
    def arrive(action):
        if action == TERMINATE:
            sqs.send_job("until")

    ec2.on_call = arrive
    sqs.longest_wait_s = 1.0
    with daemon(idle_timeout="1s") as it:
        it.wait_for_ledger("start")
        eventually(lambda: ec2.state == "Terminating:Wait")
        it.signal(signal.SIGTERM)
        it.wait_for("stop requested")
        assert it.process.poll() is None, "the first TERM lets it finish"
        assert 0 == ec2.count(COMPLETE)
        (tmp_path / "ledger.go").touch()
        assert 0 == it.status()

    assert ["end"] == [line.split()[0] for line in ledger(it)[1:]]
    assert (0, "Terminated") == (len(sqs.bodies()), ec2.state)


def test_unreadable_metadata_ends_no_daemon(sqs, ec2, daemon):
    ec2.metadata |= {"instance-life-cycle": "spot", "spot/instance-action": "null"}
    with daemon() as it:
        it.wait_for("instance metadata does not answer")
        sqs.send_job("note")
        it.wait_for("run ended")
        assert it.process.poll() is None


def test_a_dead_metadata_service_and_a_silent_group_delay_no_job(sqs, ec2, daemon):
    ec2.imds_works = False
    ec2.answers["SetInstanceProtection"] = "hang"
    with daemon(auto_scaling_group="workers") as it:
        it.wait_for("instance metadata does not answer")
        sqs.send_job("note")
        it.wait_for("run ended")
        ec2.imds_works = True
        eventually(lambda: ec2.count("SetInstanceProtection"))
        sqs.send_job("note")
        it.wait_for("run ended", 2)

    assert [] == it.said("protected from scale-in")


def test_a_machine_that_is_to_power_off_does_when_idle(sqs, daemon, tmp_path):
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    (tmp_path / "systemctl").chmod(0o755)
    with daemon({"PATH": f"{tmp_path}:/usr/bin:/bin"}, idle_timeout="1s", exit_action="poweroff") as it:
        assert 0 == it.status()

    assert (tmp_path / "asked").read_text().endswith(" poweroff.target\n")
