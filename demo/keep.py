"""What `--keep` adds: a shell's environment for the emulated AWS, and the template's Wake alarm."""

import shlex
import sys
from pathlib import Path

from demo.cloud import REPOSITORY, Cloud
from demo.stack import Stack

# A message must have been seen waiting so often: the producer, which wakes the group itself, comes first.
LOOKS = 2


class WakeAlarm:
    """Does what the template's Wake alarm and its policy do, which no emulator evaluates: messages wait and
    the group is empty, so let there be one worker."""

    def __init__(self, cloud: Cloud, stack: Stack) -> None:
        self._sqs = cloud.client("sqs", "ALARM")
        self._auto_scaling = cloud.client("autoscaling", "ALARM")
        self._queue_url = stack.outputs["QueueUrl"]
        self._group = stack.outputs["AutoScalingGroupName"]
        self._seen = 0

    def look(self) -> bool:
        """Whether it has just raised the desired capacity."""
        self._seen = self._seen + 1 if self._messages_wait() and self._group_is_empty() else 0
        if self._seen < LOOKS:
            return False
        self._auto_scaling.set_desired_capacity(AutoScalingGroupName=self._group, DesiredCapacity=1)
        self._seen = 0
        return True

    def _messages_wait(self) -> bool:
        name = "ApproximateNumberOfMessages"
        answer = self._sqs.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=[name])
        return int(answer["Attributes"][name]) > 0

    def _group_is_empty(self) -> bool:
        answer = self._auto_scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[self._group])
        return not answer["AutoScalingGroups"][0]["DesiredCapacity"]


def write_environment(cloud: Cloud, stack: Stack, configuration: Path) -> Path:
    """A file to `source`: it points a shell, and what is started from it, at the emulated AWS."""
    variables = {
        **cloud.environment("YOU"),
        "NO_PROXY": "127.0.0.1",
        "OBSERVERD_QUEUE_URL": stack.outputs["QueueUrl"],
        "DEMO_CONFIG": str(configuration / "observerd.toml"),
    }
    # A profile or a session of the shell's own would outweigh our keys.
    lines = ["unset AWS_PROFILE AWS_SESSION_TOKEN"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    path = cloud.directory / "env"
    path.write_text("\n".join(lines) + "\n")
    return path


def commands(environment: Path, stack: str) -> list[tuple[str, str]]:
    """What to try, and what it does."""
    observerd = Path(sys.executable).with_name("observerd")
    with_config = "--config $DEMO_CONFIG"
    name = observerd.relative_to(REPOSITORY) if observerd.is_relative_to(REPOSITORY) else observerd
    return [
        (f"source {environment}", "first, for all the others"),
        (f"{name} send nightly-feed", "one more run: the Wake alarm calls a worker, see above"),
        (f"""{name} send nightly-feed --payload '{{"feed": "eu"}}'""", "the job gets it on standard input"),
        (f"{name} send no-such-job", "goes to the dead-letter queue, with the reason"),
        (f"{name} runs --stack {stack}", "what became of them all"),
        (f"{name} why nightly-feed --stack {stack}", "the last one's way, hop by hop"),
        (f"{name} dlq list --stack {stack}", "what has failed for good"),
        (f"{name} jobs {with_config}", "what this image can run"),
        (f"{name} exec nightly-feed {with_config}", "the job here and now, without the queue"),
    ]
