"""What the world takes for our own numbers is what the template, the units and the clients really say."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from cloudformation.producer import index as producer
from cloudformation.template import load
from observerd import aws
from observerd.core.job import GRACE_MARGIN_S, Job
from observerd.metadata import LOOK_EVERY_S
from observerd.simulation import producer as played_producer
from observerd.simulation import runner as played_runner
from observerd.simulation import worker
from observerd.simulation.stack import Point, Stack, alarms

ROOT = Path(__file__).parents[2]
TEMPLATE = load("observerd.yaml")
STACK = Stack()


def parameter(name):
    return TEMPLATE["Parameters"][name]["Default"]


def properties(name):
    return TEMPLATE["Resources"][name]["Properties"]


def setting(unit, key):
    found = re.findall(
        rf"^{key}=(\d+)(s|min|h)?$", (ROOT / "packaging/systemd" / unit).read_text(), re.MULTILINE
    )
    ((number, measure),) = found
    return int(number) * {"": 1, "s": 1, "min": 60, "h": 3_600}[measure]


def hook():
    (only,) = properties("Workers")["LifecycleHookSpecificationList"]
    return only


SAYS = {
    "slots": lambda: parameter("Slots"),
    "visibility_timeout_s": lambda: properties("Queue")["VisibilityTimeout"],
    "idle_timeout_s": lambda: parameter("IdleSeconds"),
    "drain_timeout_s": lambda: parameter("DrainSeconds"),
    "retention_s": lambda: parameter("RetentionSeconds"),
    "max_receive_count": lambda: properties("Queue")["RedrivePolicy"]["maxReceiveCount"],
    "max_lateness_s": lambda: parameter("MaxLatenessSeconds"),
    "max_size": lambda: parameter("MaxSize"),
    "backlog_per_worker": lambda: parameter("BacklogPerWorker"),
    "hook_timeout_s": lambda: hook()["HeartbeatTimeout"],
    "warm_up_s": lambda: properties("Workers")["DefaultInstanceWarmup"],
    "producer_retries": lambda: properties("ProducerRetries")["MaximumRetryAttempts"],
    # An expression costs nothing, what it reads does.
    "alarm_metrics": lambda: sum(
        "MetricStat" in each or "MetricName" in each
        for alarm in alarm_properties()
        for each in alarm.get("Metrics", [alarm])
    ),
    "watchdog_s": lambda: (
        setting("observerd.service", "WatchdogSec") + setting("observerd.service", "TimeoutAbortSec")
    ),
    "restart_s": lambda: setting("observerd.service", "RestartSec"),
    "starts_at_most": lambda: setting("observerd.service", "StartLimitBurst"),
    "starts_within_s": lambda: setting("observerd.service", "StartLimitIntervalSec"),
    "failed_turns": lambda: setting("observerd-failed.service", "StartLimitBurst"),
    "failed_turn_s": lambda: setting("observerd-failed.service", "RestartSec"),
}


def alarm_properties():
    return [
        each["Properties"]
        for each in TEMPLATE["Resources"].values()
        if each["Type"] == "AWS::CloudWatch::Alarm"
    ]


@pytest.mark.parametrize("name", [each.name for each in fields(Stack)])
def test_a_number_of_the_stack_is_the_templates_or_the_units(name):
    assert SAYS[name]() == getattr(STACK, name)


@pytest.mark.parametrize("alarm", alarms(STACK), ids=lambda alarm: alarm.name)
def test_an_alarm_rings_by_the_templates_rule(alarm):
    real = properties(f"{alarm.name}Alarm")
    threshold = real["Threshold"]
    threshold = parameter(threshold["Ref"]) if isinstance(threshold, dict) else threshold
    rings_at_it = real["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"

    assert real["EvaluationPeriods"] == alarm.periods
    assert rings_at_it is alarm.breaches(threshold)
    assert (False, True) == (alarm.breaches(threshold - 1), alarm.breaches(threshold + 1))
    assert {60} == {each["MetricStat"]["Period"] for each in real["Metrics"] if "MetricStat" in each}


# The template's expression, and what the world makes of a minute of so many waiting, running and desired.
EXPRESSIONS = {
    "Wake": ("IF(desired < 1, waiting, 0)", {(3, 0, 0): 3, (3, 0, 1): 0}),
    "Grow": (
        "IF(desired > 0, IF(running < desired * ${Slots} * 0.75, 0, waiting / desired), 0)",
        {(6, 0, 0): 0, (6, 6, 2): 3, (6, 5, 2): 0},
    ),
    "Leak": (
        "IF(FILL(waiting, 0) + FILL(running, 0) == 0, inservice, 0)",
        {(0, 0, 1): 1, (2, 0, 1): 0, (0, 1, 1): 0},
    ),
}


@pytest.mark.parametrize("alarm", alarms(STACK), ids=lambda alarm: alarm.name)
def test_an_alarm_computes_what_the_template_does(alarm):
    (expression,) = (
        each["Expression"] for each in properties(f"{alarm.name}Alarm")["Metrics"] if "Expression" in each
    )
    written, values = EXPRESSIONS[alarm.name]
    assert written == (expression["Fn::Sub"] if isinstance(expression, dict) else expression)
    assert values == {
        (waiting, running, desired): alarm.value(Point(waiting, running, desired, desired))
        for waiting, running, desired in values
    }
    assert {"Wake": None, "Grow": None, "Leak": 1}[alarm.name] == alarm.value(Point(None, None, 1, 1))


def test_the_policies_set_what_the_world_sets():
    steps = {name: properties(f"{name}Policy")["StepAdjustments"] for name in ("Wake", "Grow", "Leak")}
    assert [1] == [each["ScalingAdjustment"] for each in steps["Wake"]]
    assert [(0, 1), (10, 3)] == [
        (each["MetricIntervalLowerBound"], each["ScalingAdjustment"]) for each in steps["Grow"]
    ]
    assert [0] == [each["ScalingAdjustment"] for each in steps["Leak"]]


def test_nothing_of_the_template_protects_or_sets_the_capacity():
    assert properties("Workers")["NewInstancesProtectedFromScaleIn"] in (False, "false")
    assert "DesiredCapacity" not in properties("Workers")
    assert "0" == properties("Workers")["MinSize"]


def test_the_clients_wait_as_long_as_the_world_has_them_wait():
    assert (aws.POLL_READ_S, 1) == (worker.POLL.seconds, worker.POLL.attempts)
    assert (aws.CALL_READ_S, aws.CALL_ATTEMPTS) == (
        played_runner.SETTLE.seconds,
        played_runner.SETTLE.attempts,
    )
    retries = producer.BOUNDED.retries["total_max_attempts"]
    assert (producer.BOUNDED.read_timeout, retries) == (
        played_producer.CALL.seconds,
        played_producer.CALL.attempts,
    )
    assert LOOK_EVERY_S == worker.LOOK_EVERY_S
    assert Job(name="x", command=("x",)).grace_s + GRACE_MARGIN_S == worker.GRACE_S
