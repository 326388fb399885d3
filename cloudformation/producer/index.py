"""The producer: makes one message of a schedule's event, then wakes the workers.

observerd.yaml holds this file inline (see embed.py): the standard library and boto3 are all there is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = ("job", "scheduled_time", "schedule", "max_lateness", "overlap", "payload")
JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")

# Three calls of two tries at most end within the function's 55 s. Lambda tries the whole again.
BOUNDED = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})


def handler(event: Any, _context: object) -> dict[str, Any]:
    """What was sent and whether that woke the group. Raises when nothing could be sent.

    Send first, then look at the group: a leaving worker lowers the capacity first, then looks at the
    queue. Whatever the interleaving, one of the two sees the other.
    """
    body = message(event, datetime.now(UTC))
    sent = send(body, event.get("overlap", "queue"))
    return sent | wake_safely(sent)


def message(event: Any, now: datetime) -> dict[str, Any]:
    """The message of version 1. Raises ValueError, in one line, when the event is not good."""
    if faults := list(_faults(event)):
        raise ValueError("bad event: " + "; ".join(faults))
    optional = {key: event[key] for key in ("schedule", "max_lateness", "payload") if key in event}
    scheduled_time = _utc(event["scheduled_time"]) if "scheduled_time" in event else _stamp(now)
    return {"v": 1, "job": event["job"], "scheduled_time": scheduled_time} | optional


def _faults(event: Any) -> Iterator[str]:
    if not isinstance(event, dict):
        yield f"not an object: {event!r}"
        return
    if unknown := sorted(set(event) - set(KEYS)):
        yield f"unknown keys {unknown} (known: {', '.join(KEYS)})"
    for key in KEYS:
        if key != "payload" and not isinstance(event.get(key, ""), str):
            yield f"{key}: not a string: {event[key]!r}"
    if not JOB_NAME.fullmatch(str(event.get("job", ""))):
        yield f"job: not a job's name: {event.get('job')!r} (want {JOB_NAME.pattern})"
    if event.get("overlap", "queue") not in ("queue", "allow"):
        yield f"overlap: neither queue nor allow: {event['overlap']!r}"


def _utc(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"scheduled_time: not a time of ISO 8601: {text!r}") from None
    if moment.tzinfo is None:
        raise ValueError(f"scheduled_time: has no time zone: {text!r} (UTC is a Z at the end)")
    return _stamp(moment)


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def send(body: dict[str, Any], overlap: str) -> dict[str, Any]:
    """Send the message: one per job and time, even if called again within SQS's five minutes."""
    run = hashlib.sha256(f"{body['job']}|{body['scheduled_time']}".encode()).hexdigest()
    sent = _client("sqs").send_message(
        QueueUrl=os.environ["QUEUE_URL"],
        MessageBody=json.dumps(body),
        MessageDeduplicationId=run,
        # SQS hands out one message of a group at a time: the runs of a job queue up.
        MessageGroupId=body["job"] if overlap == "queue" else run,
    )
    facts = {"run_id": run[:16], "job": body["job"], "scheduled_time": body["scheduled_time"]}
    facts["message_id"] = sent["MessageId"]
    _log(event="sent", **facts)
    return facts


def wake_safely(sent: dict[str, Any]) -> dict[str, Any]:
    """Wake the group, or count a failure: the message is safe, and the Wake alarm will do it."""
    try:
        woken: dict[str, Any] = {"woken": wake(os.environ["AUTO_SCALING_GROUP"])}
        _log(event="woken", **sent, **woken)
    except Exception as error:  # noqa: BLE001  A retry of the whole call would mend nothing.
        woken = {"woken": False, "error": str(error)}
        _log(event="wake_failed", **_counted("WakeFailed"), **sent, **woken)
    return woken


def wake(group: str) -> bool:
    """Ask for a worker if none is wanted. Never lowers the capacity of a group that has grown."""
    autoscaling = _client("autoscaling")
    found = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"]
    if not found:
        raise LookupError(f"no Auto Scaling group {group}")
    if found[0]["DesiredCapacity"] > 0:
        return False
    autoscaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=1, HonorCooldown=False)
    return True


def _counted(metric: str) -> dict[str, Any]:
    """The keys that make CloudWatch count a log line (embedded metric format)."""
    series = {"Namespace": "Observerd", "Dimensions": [["Stack"]], "Metrics": [{"Name": metric}]}
    meta = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [series]}
    return {"_aws": meta, "Stack": os.environ["STACK_NAME"], metric: 1}


def _log(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")


@cache
def _client(service: Any) -> Any:
    return boto3.client(service, config=BOUNDED)
