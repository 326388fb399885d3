"""The machine as a member of its Auto Scaling group: how it is given up so that the group shrinks."""

import contextlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import ec2_metadata
import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from observerd.core.events import GaveUp, GiveUp, GiveUpAnswer, Held, Hold

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient

GROUP_TAG = "aws:autoscaling:groupName"
# One attempt: IMDS is on the machine itself; what it does not answer in a second it will not answer.
_IMDS_TIMEOUT = urllib3.Timeout(connect=1.0, read=2.0)

_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})


class NoMetadata(Exception):
    """The instance metadata service did not answer. The text is one line."""


class Metadata(Protocol):
    def instance_id(self) -> str: ...
    def group(self) -> str | None: ...


class Imds:
    """The instance metadata service, version 2. Every question raises NoMetadata when it is not answered."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        pool = urllib3.PoolManager(timeout=_IMDS_TIMEOUT, retries=False)
        self._imds = ec2_metadata.EC2Metadata(pool_manager=pool)
        if endpoint := environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"):
            self._imds.service_url = f"{endpoint.rstrip('/')}/latest/"
            self._imds.metadata_url = f"{self._imds.service_url}meta-data/"

    def instance_id(self) -> str:
        return self._ask("instance_id")

    def group(self) -> str | None:
        """The group's name from the instance's tags, where the launch template lets IMDS tell them."""
        with contextlib.suppress(KeyError):
            return str(self._imds.tags[GROUP_TAG])
        return None

    def _ask(self, name: str) -> str:
        try:
            return str(getattr(self._imds, name))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise NoMetadata(f"instance metadata: {error}") from error


class Instance:
    """One instance in its group. Every call blocks for its client's timeouts at most."""

    def __init__(
        self,
        make_client: "Callable[[], AutoScalingClient]",
        metadata: Metadata,
        group: str | None,
        lifecycle_hook: str | None,
    ) -> None:
        self._make_client = make_client
        self._metadata = metadata
        self._group = group
        self._hook = lifecycle_hook

    @cached_property
    def _client(self) -> "AutoScalingClient":
        # Made at the end of a life: its service model is large, and the first job is waiting at the start.
        return self._make_client()

    def carry_out(self, order: GiveUp | Hold) -> GaveUp | Held:
        return self.give_up() if isinstance(order, GiveUp) else Held(self.hold())

    def give_up(self) -> GaveUp:
        """Terminate this instance and lower the group's desired capacity.

        The group's lifecycle hook, where it has one, keeps the instance alive until complete().
        """
        try:
            return self._terminate(self._metadata.instance_id())
        except NoMetadata as fault:
            return GaveUp(GiveUpAnswer.FAILED, str(fault))
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            answer = GiveUpAnswer.KEPT if code in _DENIED else GiveUpAnswer.FAILED
            return GaveUp(answer, " ".join(str(error).split()))
        except BotoCoreError as error:
            return GaveUp(GiveUpAnswer.FAILED, " ".join(str(error).split()))

    def hold(self) -> str | None:
        """Have the lifecycle hook wait for its whole timeout again. What went wrong in one line, or None."""
        return self._at_hook("record_lifecycle_action_heartbeat")

    def complete(self) -> str | None:
        """Let the group end this instance now.

        What went wrong in one line, or None. A failure costs money and no run: the hook's timeout mends it.
        """
        return self._at_hook("complete_lifecycle_action", LifecycleActionResult="CONTINUE")

    def _at_hook(self, call: str, **rest: str) -> str | None:
        if self._hook is None:
            return None
        try:
            group = self._group or self._metadata.group()
            if group is None:
                return "the group's name is not known (set auto_scaling_group, or allow tags in IMDS)"
            getattr(self._client, call)(
                LifecycleHookName=self._hook,
                AutoScalingGroupName=group,
                InstanceId=self._metadata.instance_id(),
                **rest,
            )
        except (ClientError, BotoCoreError, NoMetadata, urllib3.exceptions.HTTPError) as error:
            return " ".join(str(error).split())
        return None

    def _terminate(self, instance_id: str) -> GaveUp:
        try:
            return self._ask_termination(instance_id, decrement=True)
        except ClientError as error:
            text = str(error)
            if "not found" in text or "not part of" in text:
                return GaveUp(GiveUpAnswer.TERMINATING, f"{instance_id} is in no Auto Scaling group")
            if "min" not in text.lower() or error.response.get("Error", {}).get("Code") != "ValidationError":
                raise
        # Desired is at its minimum already: 0 is somebody's wish that we go, more is a wish that we stay.
        minimum = self._minimum(instance_id)
        if minimum > 0:
            return GaveUp(GiveUpAnswer.KEPT, f"the group's minimum size is {minimum}")
        return self._ask_termination(instance_id, decrement=False)

    def _ask_termination(self, instance_id: str, *, decrement: bool) -> GaveUp:
        self._client.terminate_instance_in_auto_scaling_group(
            InstanceId=instance_id, ShouldDecrementDesiredCapacity=decrement
        )
        return GaveUp(GiveUpAnswer.TERMINATING, instance_id)

    def _minimum(self, instance_id: str) -> int:
        known = self._client.describe_auto_scaling_instances(InstanceIds=[instance_id])[
            "AutoScalingInstances"
        ]
        groups = self._client.describe_auto_scaling_groups(
            AutoScalingGroupNames=[each["AutoScalingGroupName"] for each in known]
        )["AutoScalingGroups"]
        return max((group["MinSize"] for group in groups), default=0)
