"""The producer as Python, against an emulated queue and group."""

import hashlib
import json
import re
import uuid
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from cloudformation.producer import index
from cloudformation.template import HERE, load
from observerd.core.request import run_id_of

EVENT = {
    "job": "nightly-feed",
    "scheduled_time": "2026-11-23T18:00:00Z",
    "schedule": "at-night",
    "max_lateness": "21600s",
    "overlap": "queue",
    "payload": {"feed": "eu"},
}
SOURCE = HERE / "producer" / "index.py"
NOW = datetime(2026, 11, 23, 18, 0, 7, 123456, tzinfo=UTC)


class Stack:
    """The queue and the group that the function finds by its environment."""

    def __init__(self, name, sqs, autoscaling):
        self.name, self.sqs, self.autoscaling = name, sqs, autoscaling
        fifo = {"FifoQueue": "true"}
        self.queue_url = sqs.create_queue(QueueName=f"{name}.fifo", Attributes=fifo)["QueueUrl"]
        launch = {"LaunchConfigurationName": name, "ImageId": "ami-12c6146b", "InstanceType": "t3.small"}
        autoscaling.create_launch_configuration(**launch)
        group = {
            "AutoScalingGroupName": name,
            "AvailabilityZones": ["us-east-1a"],
            "MinSize": 0,
            "MaxSize": 5,
        }
        autoscaling.create_auto_scaling_group(**group, LaunchConfigurationName=name)

    @property
    def desired(self):
        found = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])
        return found["AutoScalingGroups"][0]["DesiredCapacity"]

    @desired.setter
    def desired(self, count):
        self.autoscaling.set_desired_capacity(AutoScalingGroupName=self.name, DesiredCapacity=count)

    def messages(self):
        received = self.sqs.receive_message(
            QueueUrl=self.queue_url, MaxNumberOfMessages=10, AttributeNames=["All"], WaitTimeSeconds=0
        )
        return received.get("Messages", [])


@pytest.fixture(scope="module")
def clients():
    """One emulated account for all tests here, since making clients takes longer than using them."""
    with mock_aws():
        index._client.cache_clear()
        yield boto3.client("sqs", "us-east-1"), boto3.client("autoscaling", "us-east-1")
        index._client.cache_clear()


@pytest.fixture
def stack(clients, monkeypatch):
    made = Stack(f"stack-{uuid.uuid4().hex}", *clients)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("QUEUE_URL", made.queue_url)
    monkeypatch.setenv("AUTO_SCALING_GROUP", made.name)
    monkeypatch.setenv("STACK_NAME", "cron")
    return made


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_message_is_that_of_version_1(stack):
    index.handler(EVENT, None)
    [message] = stack.messages()
    expected = {key: value for key, value in EVENT.items() if key != "overlap"} | {"v": 1}
    assert json.loads(message["Body"]) == expected


def test_keys_that_the_event_has_not_the_message_has_not(stack):
    index.handler({"job": "a", "scheduled_time": "2026-11-23T18:00:00Z"}, None)
    [message] = stack.messages()
    assert json.loads(message["Body"]) == {"v": 1, "job": "a", "scheduled_time": "2026-11-23T18:00:00Z"}


def test_a_payload_of_null_is_a_payload():
    assert index.message(EVENT | {"payload": None}, NOW)["payload"] is None


def test_called_twice_it_sends_one_message(stack):
    index.handler(EVENT, None)
    index.handler(EVENT, None)
    assert len(stack.messages()) == 1


def test_the_same_time_in_another_zone_is_the_same_run(stack):
    index.handler(EVENT, None)
    index.handler(EVENT | {"scheduled_time": "2026-11-24T03:00:00+09:00"}, None)
    assert len(stack.messages()) == 1


def test_the_deduplication_id_is_the_sum_of_job_and_time(stack):
    index.handler(EVENT, None)
    [message] = stack.messages()
    expected = hashlib.sha256(b"nightly-feed|2026-11-23T18:00:00Z").hexdigest()
    assert message["Attributes"]["MessageDeduplicationId"] == expected


def test_runs_of_a_job_share_a_group_so_that_they_do_not_overlap(stack):
    index.handler(EVENT, None)
    index.handler(EVENT | {"scheduled_time": "2026-11-23T19:00:00Z"}, None)
    assert [it["Attributes"]["MessageGroupId"] for it in stack.messages()] == ["nightly-feed"] * 2


def test_runs_that_may_overlap_have_a_group_each(stack):
    index.handler(EVENT | {"overlap": "allow"}, None)
    index.handler(EVENT | {"overlap": "allow", "scheduled_time": "2026-11-23T19:00:00Z"}, None)
    messages = stack.messages()
    assert len({it["Attributes"]["MessageGroupId"] for it in messages}) == 2
    assert all(
        it["Attributes"]["MessageGroupId"] == it["Attributes"]["MessageDeduplicationId"] for it in messages
    )


def test_an_empty_group_is_woken(stack):
    assert index.handler(EVENT, None)["woken"] is True
    assert stack.desired == 1


def test_a_group_of_three_stays_three(stack):
    stack.desired = 3
    assert index.handler(EVENT, None)["woken"] is False
    assert stack.desired == 3


def test_when_sending_fails_the_call_fails_and_wakes_nobody(stack):
    stack.sqs.delete_queue(QueueUrl=stack.queue_url)
    with pytest.raises(stack.sqs.exceptions.QueueDoesNotExist):
        index.handler(EVENT, None)
    assert stack.desired == 0


def test_when_waking_fails_the_call_succeeds_and_says_so(stack, monkeypatch):
    monkeypatch.setenv("AUTO_SCALING_GROUP", "gone")
    answer = index.handler(EVENT, None)
    assert answer["woken"] is False
    assert answer["error"] == "no Auto Scaling group gone"
    assert len(stack.messages()) == 1


def test_a_wake_that_failed_is_counted(stack, monkeypatch, capsys):
    """The line is in the embedded metric format, and the Producer alarm looks at what comes of it."""
    monkeypatch.setenv("AUTO_SCALING_GROUP", "gone")
    index.handler(EVENT, None)
    _, line = lines(capsys)
    assert "wake_failed" == line["event"]
    [series] = line["_aws"]["CloudWatchMetrics"]
    alarm = load("observerd.yaml")["Resources"]["ProducerAlarm"]["Properties"]
    [watched] = [it["MetricStat"]["Metric"] for it in alarm["Metrics"] if it["Id"] == "unwoken"]
    assert series["Namespace"] == watched["Namespace"]
    assert series["Metrics"] == [{"Name": watched["MetricName"]}]
    assert series["Dimensions"] == [[it["Name"] for it in watched["Dimensions"]]]
    assert (line["Stack"], line["WakeFailed"], line["job"]) == ("cron", 1, "nightly-feed")


def test_a_good_call_is_two_events_of_the_run_that_the_worker_will_record(stack, capsys):
    answer = index.handler(EVENT, None)
    run = {
        "run_id": run_id_of("nightly-feed", "2026-11-23T18:00:00Z"),
        "job": "nightly-feed",
        "scheduled_time": "2026-11-23T18:00:00Z",
        "message_id": answer["message_id"],
    }
    assert lines(capsys) == [{"event": "sent", **run}, {"event": "woken", **run, "woken": True}]


def test_by_hand_the_time_is_now_to_the_second():
    assert index.message({"job": "a"}, NOW)["scheduled_time"] == "2026-11-23T18:00:07Z"


@pytest.mark.parametrize(
    ("event", "fault"),
    [
        ("text", "not an object: 'text'"),
        ({}, "job: not a job's name: None"),
        ({"job": 7}, "job: not a string: 7"),
        ({"job": ""}, "job: not a job's name: ''"),
        ({"job": "a/b"}, "job: not a job's name: 'a/b'"),
        ({"job": "a\n"}, "job: not a job's name: 'a\\n'"),
        ({"job": "a" * 81}, "job: not a job's name"),
        ({"job": "a", "overlap": "skip"}, "overlap: neither queue nor allow: 'skip'"),
        ({"job": "a", "overlap": ["allow"]}, "overlap: not a string: ['allow']"),
        ({"job": "a", "schedule": None}, "schedule: not a string: None"),
        ({"job": "a", "max_lateness": 60}, "max_lateness: not a string: 60"),
        ({"job": "a", "overlp": "allow"}, "unknown keys ['overlp'] (known: job, scheduled_time,"),
        ({"job": "a", "scheduled_time": 1795456800}, "scheduled_time: not a string"),
        ({"job": "a", "scheduled_time": "today"}, "scheduled_time: not a time of ISO 8601: 'today'"),
        ({"job": "a", "scheduled_time": "2026-11-23T18:00:00"}, "scheduled_time: has no time zone"),
    ],
)
def test_a_bad_event_is_refused_in_one_clear_line(event, fault):
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as refused:
        index.message(event, NOW)
    assert fault in str(refused.value)


def test_the_faults_of_an_event_come_all_at_once():
    with pytest.raises(ValueError, match=r"unknown keys.*; job: .*; overlap: "):
        index.message({"x": 1, "overlap": "never"}, NOW)


@given(
    st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)),  # noqa: DTZ001  A zone comes next.
    st.timedeltas(timedelta(hours=-14), timedelta(hours=14)),
)
def test_a_time_in_any_zone_and_of_any_precision_becomes_that_second_in_utc(moment, offset):
    offset -= timedelta(microseconds=offset.microseconds, seconds=offset.seconds % 60)
    text = f"{(moment + offset).isoformat()}{_zone(offset)}"
    assert (
        index.message({"job": "a", "scheduled_time": text}, NOW)["scheduled_time"]
        == f"{moment:%Y-%m-%dT%H:%M:%S}Z"
    )


def _zone(offset):
    minutes = offset // timedelta(minutes=1)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def test_the_worst_case_ends_before_the_functions_timeout():
    """Else a slow wake would fail a call whose message is sent. Between tries botocore waits a second."""
    assert index.BOUNDED.retries["total_max_attempts"] == 2
    call = 2 * (index.BOUNDED.connect_timeout + index.BOUNDED.read_timeout) + 1
    assert 3 * call < load("observerd.yaml")["Resources"]["Producer"]["Properties"]["Timeout"]


def test_tries_of_lambda_end_while_sqs_still_knows_the_first_message():
    """Two calls may send and then hang until their timeout. Lambda waits one minute, then two more."""
    resources = load("observerd.yaml")["Resources"]
    assert resources["ProducerRetries"]["Properties"]["MaximumRetryAttempts"] == 2
    assert 2 * resources["Producer"]["Properties"]["Timeout"] + 60 + 120 < 300


def test_the_function_finds_in_its_environment_what_the_template_puts_there():
    variables = load("observerd.yaml")["Resources"]["Producer"]["Properties"]["Environment"]["Variables"]
    assert set(re.findall(r'os\.environ\["(\w+)"\]', SOURCE.read_text())) == set(variables)
