"""What the run has left behind, read back, and what must be true of it."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from demo.cloud import Cloud, CloudFault
from demo.stack import Stack
from demo.story import Story

BUCKET, KEY = "feed-store", "dummy-feed"
COUNTS = {
    "ApproximateNumberOfMessages": "visible",
    "ApproximateNumberOfMessagesNotVisible": "in flight",
    "ApproximateNumberOfMessagesDelayed": "delayed",
}
EMPTY = dict.fromkeys(COUNTS.values(), 0)
SCRAPE_S = 5.0
SHOWN = (
    "observerd_job_runs_total",
    "observerd_job_duration_seconds_sum",
    "observerd_job_start_delay_seconds_sum",
    "observerd_sqs_receives_total",
    "observerd_sqs_messages_total",
    "observerd_healthy",
)


class Check(NamedTuple):
    claim: str
    expected: object
    seen: object

    @property
    def holds(self) -> bool:
        return self.expected == self.seen


@dataclass
class Evidence:
    lines: list[str] = field(default_factory=list)
    """The job's, from CloudWatch Logs."""
    stored: bytes = b""
    """The object, from S3."""
    queue: Mapping[str, int] = field(default_factory=dict)
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    capacity: int | None = None


class Reader:
    """Reads back from the emulated AWS. Makes its clients at once, on the thread it is made on."""

    def __init__(self, cloud: Cloud, stack: Stack) -> None:
        self._outputs = stack.outputs
        self._sqs = cloud.client("sqs")
        self._logs = cloud.client("logs")
        self._s3 = cloud.client("s3")
        self._auto_scaling = cloud.client("autoscaling")

    def evidence(self, log_stream: str | None) -> Evidence:
        return Evidence(
            lines=self.lines(log_stream) if log_stream else [],
            stored=self.stored(),
            queue=self.counts(self._outputs["QueueUrl"]),
            dead_letters=self.counts(self._outputs["DeadLetterQueueUrl"]),
            capacity=self.capacity(),
        )

    def lines(self, log_stream: str) -> list[str]:
        answer = self._logs.get_log_events(
            logGroupName=self._outputs["JobLogGroup"], logStreamName=log_stream, startFromHead=True
        )
        return [each["message"] for each in answer["events"]]

    def stored(self) -> bytes:
        try:
            body: bytes = self._s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read()
        except ClientError:
            return b""
        return body

    def counts(self, queue_url: str) -> dict[str, int]:
        found = self._sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=list(COUNTS))["Attributes"]
        return {word: int(found[name]) for name, word in COUNTS.items()}

    def capacity(self) -> int:
        name = self._outputs["AutoScalingGroupName"]
        answer = self._auto_scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])
        return int(answer["AutoScalingGroups"][0]["DesiredCapacity"])


def scrape(address: str) -> dict[str, float]:
    """Every sample of a /metrics page by its series; none where it does not answer."""
    connection = http.client.HTTPConnection(address, timeout=SCRAPE_S)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except OSError:
        return {}
    finally:
        connection.close()
    samples = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {series: float(value) for series, _, value in samples}


def why(cloud: Cloud, stack: Stack, run_id: str, timeout_s: float) -> list[str]:
    """What `observerd why` says of a run. Raises CloudFault."""
    command = (sys.executable, "-m", "observerd", "why", run_id, "--stack", stack.name)
    environment = {**cloud.base_environment, **cloud.environment("YOU")}
    try:
        done = subprocess.run(
            command, capture_output=True, env=environment, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as expired:
        raise CloudFault(f"observerd why did not end within {expired.timeout:g} s") from None
    if done.returncode:
        raise CloudFault(f"observerd why failed: {done.stderr.strip()}")
    return done.stdout.splitlines()


def of_interest(metrics: Mapping[str, float]) -> dict[str, float]:
    """What a person would look at first, of some hundred series."""
    return {series: value for series, value in metrics.items() if series.partition("{")[0] in SHOWN and value}


def checks(
    story: Story, evidence: Evidence, metrics: Mapping[str, float], stack: Stack, answer: Mapping[str, Any]
) -> Iterator[Check]:
    """Everything that the demo claims."""
    woken = {"woken": True, "error": None}
    yield Check("the producer sent its message and woke the group", woken, _parts(answer, woken))
    yield Check("the daemon received that message, once", [answer.get("message_id")], story.message_ids)
    yield Check("the group launched one instance", 1, len(story.instances))
    yield from _of_the_run(story, evidence)
    yield Check("the queue is empty", EMPTY, evidence.queue)
    yield Check("the dead-letter queue is empty", EMPTY, evidence.dead_letters)
    yield from _of_the_metrics(metrics)
    yield Check("desired capacity went 0 -> 1 -> 0", [0, 1, 0], story.capacities)
    looked = "it found nothing" if story.looked_again else "it did not"
    yield Check("after giving up it looked at the queue once more", "it found nothing", looked)
    yield Check("it completed the template's lifecycle hook", _hook(stack, story), _completed(story))
    left = None if story.left is None else (story.left.status, story.left.told)
    yield Check("it exited with status 0, by itself", (0, False), left)


def _of_the_run(story: Story, evidence: Evidence) -> Iterator[Check]:
    seen = [story.run.get(key) for key in ("outcome", "exit_code", "attempt")]
    yield Check("the job succeeded at the first attempt", ["succeeded", 0, 1], seen)
    counted = (story.run.get("lines"), story.run.get("lines_dropped"))
    yield Check("all its lines are in CloudWatch Logs", (len(evidence.lines) or "some", None), counted)
    yield Check("the object in S3 is of this run", story.run.get("run_id", "a run"), _run_of(evidence.stored))
    order = sorted(("started", "stored", "deleted"), key=lambda moment: story.moments.get(moment, 0.0))
    yield Check("the message was deleted after the work was done", ["started", "stored", "deleted"], order)
    yield Check("it was deleted once", 1, story.deletions)


def _of_the_metrics(metrics: Mapping[str, float]) -> Iterator[Check]:
    runs = 'observerd_job_runs_total{job_name="nightly-feed",outcome="succeeded"}'
    yield Check("/metrics counts one run that succeeded", 1.0, metrics.get(runs))
    deleted = 'observerd_sqs_messages_total{result="deleted"}'
    yield Check("/metrics counts one message deleted", 1.0, metrics.get(deleted))


def _parts(whole: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    return {key: whole.get(key) for key in like}


def _run_of(stored: bytes) -> object:
    try:
        return json.loads(stored)["run_id"]
    except (ValueError, KeyError):
        return stored


def _hook(stack: Stack, story: Story) -> tuple[Any, ...]:
    group = stack.properties("Workers")
    name = group["LifecycleHookSpecificationList"][0]["LifecycleHookName"]
    return (name, stack.outputs["AutoScalingGroupName"], story.instances[:1], "CONTINUE")


def _completed(story: Story) -> tuple[Any, ...]:
    found = story.hook.get
    return (
        found("LifecycleHookName"),
        found("AutoScalingGroupName"),
        [found("InstanceId")] if story.hook else [],
        found("LifecycleActionResult"),
    )
