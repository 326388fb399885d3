"""schedules.toml to plain CloudFormation: what schedule.yaml makes of one schedule, for many."""

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from observerd.schedules.conversion import CannotConvert, Part
from observerd.schedules.schedule import Schedule, Schedules, missed_after_h

# CloudFormation quotas: a template body given to the API as it is, and resources in a template.
BODY_LIMIT_BYTES, RESOURCE_LIMIT = 51_200, 500
# Scheduler API Reference, RetryPolicy.
RETRIES = 185

# Longer than an import of the main stack's, shorter than a schedule's target.
_SHORT = 90

Resources = dict[str, Any]


def render(schedules: Schedules, now: datetime) -> list[str]:
    """Templates, each to be deployed as a stack of its own, in the order of the file.

    A schedule's logical ids are made of its name alone, so a changed line is an update of its own resources.
    Raises CannotConvert.
    """
    templates: list[str] = []
    current: Resources = _subscriptions(schedules)
    for group in _groups(schedules, now):
        if not _fits(group):
            raise CannotConvert(
                f"{next(iter(group))} alone is more than the {BODY_LIMIT_BYTES:,} bytes of a template"
                " (have the job fetch a payload of that size)"
            )
        if current and not _fits(current | group):
            templates.append(_text(current))
            current = {}
        current |= group
    return [*templates, _text(current)]


def _fits(resources: Resources) -> bool:
    return len(resources) <= RESOURCE_LIMIT and len(_text(resources).encode()) <= BODY_LIMIT_BYTES


def _groups(schedules: Schedules, now: datetime) -> Iterator[Resources]:
    """The resources of one schedule, the alarm of its job with the first that starts it."""
    watched = set()
    for schedule in schedules.entries:
        resources: Resources = {}
        parts = schedule.parts(now.date())
        for part in parts:
            resources[logical_id(schedule.name) + part.label] = _schedule(schedule, part)
        if schedule.job not in watched and schedule.enabled:
            watched.add(schedule.job)
            of_the_job = [each for each in schedules.entries if each.job == schedule.job and each.enabled]
            if hours := missed_after_h(of_the_job, now):
                resources[logical_id(schedule.job) + "Missed"] = _alarm(schedule, hours)
        yield resources


def logical_id(name: str) -> str:
    """Letters and digits that no other name is given. A name in lower case with hyphens reads as itself."""
    plain = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]", name))
    if re.fullmatch(r"[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*", name):
        return plain
    return f"{plain}X{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _schedule(schedule: Schedule, part: Part) -> dict[str, Any]:
    lateness_s = round(schedule.max_lateness_s)
    event = {
        "job": schedule.job,
        "schedule": schedule.name,
        "scheduled_time": "<aws.scheduler.scheduled-time>",
        "max_lateness": f"{lateness_s}s",
        "overlap": schedule.overlap,
        "payload": schedule.payload,
    }
    if schedule.payload is None:
        # cron's jobs have an empty standard input, not {}.
        del event["payload"]
    properties = {
        "GroupName": _import("ScheduleGroupName"),
        "State": "ENABLED" if schedule.enabled else "DISABLED",
        "ScheduleExpression": part.expression,
        "ScheduleExpressionTimezone": part.timezone,
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {
            "Arn": _import("ProducerArn"),
            "RoleArn": _import("SchedulerRoleArn"),
            "Input": json.dumps(event, ensure_ascii=False),
            "RetryPolicy": {"MaximumEventAgeInSeconds": lateness_s, "MaximumRetryAttempts": RETRIES},
            "DeadLetterConfig": {"Arn": _import("UndeliveredQueueArn")},
        },
    }
    described = " ".join(text for text in (schedule.description, _origin(schedule, part)) if text)
    return {"Type": "AWS::Scheduler::Schedule", "Properties": _described(described) | properties}


def _origin(schedule: Schedule, part: Part) -> str:
    line = f"[{schedule.cron.text} in {schedule.timezone}]" if schedule.cron else ""
    return f"{line} {part.why}".strip()


def _described(text: str) -> dict[str, str]:
    # Scheduler API Reference, CreateSchedule: Description.
    return {"Description": text[:512]} if text else {}


def _alarm(schedule: Schedule, hours: int) -> dict[str, Any]:
    job = schedule.job
    says = (
        f"{job} has not succeeded for {hours} hours (a new schedule says so until the first success)."
        " What it said: aws --region ${AWS::Region} logs tail ${JobLogs} --since 1d"
        " || Is its schedule on? aws --region ${AWS::Region} scheduler get-schedule --group-name ${Group}"
        f" --name ${{{logical_id(schedule.name)}}}"
        " || Run it now: aws --region ${AWS::Region} lambda invoke --function-name ${Producer}"
        f' --cli-binary-format raw-in-base64-out --payload \'{{"job":"{job}"}}\' /dev/stdout'
    )
    names = {
        "JobLogs": _import("JobLogGroup"),
        "Group": _import("ScheduleGroupName"),
        "Producer": _import("ProducerArn"),
    }
    series = {
        "Namespace": "Observerd",
        "MetricName": "JobSucceeded",
        "Dimensions": [{"Name": "Stack", "Value": {"Ref": "Stack"}}, {"Name": "JobName", "Value": job}],
    }
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmDescription": {"Fn::Sub": [says, names]},
            "Metrics": [
                {"Id": "successes", "Expression": "FILL(succeeded, 0)"},
                {
                    "Id": "succeeded",
                    "ReturnData": False,
                    "MetricStat": {"Stat": "Sum", "Period": 3600, "Metric": series},
                },
            ],
            "ComparisonOperator": "LessThanThreshold",
            "Threshold": 1,
            "EvaluationPeriods": hours,
            "TreatMissingData": "breaching",
            "AlarmActions": [_import("AlertTopicArn")],
            "OKActions": [_import("AlertTopicArn")],
        },
    }


def _subscriptions(schedules: Schedules) -> Resources:
    return {
        f"Notify{logical_id(address)}": {
            "Type": "AWS::SNS::Subscription",
            "Properties": {"TopicArn": _import("AlertTopicArn"), "Protocol": "email", "Endpoint": address},
        }
        for address in schedules.notify
    }


def _import(name: str) -> dict[str, Any]:
    return {"Fn::ImportValue": {"Fn::Sub": f"${{Stack}}-{name}"}}


def _text(resources: Resources) -> str:
    return (
        _laid_out(
            {
                "AWSTemplateFormatVersion": "2010-09-09",
                "Description": "observerd: schedules and the alarms that ring when a job has not succeeded",
                "Parameters": {
                    "Stack": {
                        "Description": "The name of the main stack, e.g. cron.",
                        "Type": "String",
                        "AllowedPattern": "^[A-Za-z][A-Za-z0-9-]*$",
                    }
                },
                "Resources": resources,
            },
            depth=5,
        )
        + "\n"
    )


def _laid_out(value: Any, depth: int, indent: str = "") -> str:
    """JSON with a property a line, so that a diff shows what changed. What is short stays on one line."""
    line = json.dumps(value, ensure_ascii=False)
    if not depth or len(line) <= _SHORT or not isinstance(value, dict | list):
        return line
    deeper = indent + " "
    if isinstance(value, list):
        inside = [_laid_out(each, 0) for each in value]
        left, right = "[]"
    else:
        inside = [f"{json.dumps(key)}: {_laid_out(each, depth - 1, deeper)}" for key, each in value.items()]
        left, right = "{}"
    return f"{left}\n" + ",\n".join(deeper + each for each in inside) + f"\n{indent}{right}"
