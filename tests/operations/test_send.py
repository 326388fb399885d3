"""One run put on the queue by hand, and a worker asked for. On the fake SQS, with a real client."""

import argparse
import json
from dataclasses import replace

import pytest

from observerd.aws import Account as RealAccount
from observerd.operations.command import _send
from observerd.operations.trouble import Trouble
from tests.fake_sqs import FakeSqs
from tests.operations.cloud import DUE, PLACE, RUN, Account, refused
from tests.operations.test_dlq import Group


@pytest.fixture
def sqs():
    with FakeSqs("jobs.fifo") as fake:
        yield fake


@pytest.fixture
def send(sqs):
    """send(group, **arguments) is the exit status; group None: none is known."""

    def do(group, job="feed", scheduled_time=DUE, payload=None, as_json=False):
        account = Account(sqs=RealAccount("us-east-1").client("sqs", sqs.endpoint), autoscaling=group)
        place = replace(PLACE, queue_url=sqs.url("jobs.fifo"), group=group and PLACE.group)
        arguments = argparse.Namespace(job=job, scheduled_time=scheduled_time, payload=payload, json=as_json)
        return _send(account, place, arguments)

    return do


def test_a_run_is_sent_and_a_worker_asked_for(send, sqs, capsys):
    group = Group()

    assert 0 == send(group)
    assert {"v": 1, "job": "feed", "scheduled_time": DUE} == json.loads(sqs.bodies("jobs.fifo")[0])
    assert [1] == [call["DesiredCapacity"] for call in group.calls]
    assert f"sent: job feed, run {RUN}, message " in (said := capsys.readouterr().out)
    assert said.endswith("; a worker was asked for\n")


def test_a_group_that_has_grown_is_left_as_it_is(send, capsys):
    group = Group(desired=3)

    assert (0, []) == (send(group), group.calls)
    assert "a worker is there" in capsys.readouterr().out


def test_a_group_that_cannot_be_woken_is_told_and_the_run_is_sent(send, sqs, capsys):
    group = Group()
    group.fault = refused("AccessDenied", "no DescribeAutoScalingGroups")

    assert 0 == send(group, as_json=True)
    said = capsys.readouterr()
    assert (1, "not woken") == (len(sqs.bodies("jobs.fifo")), json.loads(said.out)["woken"])
    assert "the Wake alarm will ask for a worker" in said.err


def test_where_no_group_is_known_nobody_is_asked(send, capsys):
    assert 0 == send(None)
    assert "no group is known to be woken" in capsys.readouterr().out


def test_what_makes_no_run_wakes_nobody(send, sqs):
    group = Group()

    with pytest.raises(Trouble, match="--payload is not JSON") as trouble:
        send(group, payload="{")
    assert (65, [], []) == (trouble.value.status, sqs.bodies("jobs.fifo"), group.calls)
