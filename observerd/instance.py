"""The machine as a member of its Auto Scaling group: protected, held, given up so that the group shrinks."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from observerd.aws import text_of
from observerd.core.events import (
    GaveUp,
    GiveUp,
    GiveUpAnswer,
    Held,
    Hold,
    Protect,
    ProtectAnswer,
    Protected,
    Shrink,
)
from observerd.metadata import Metadata

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_autoscaling.type_defs import AutoScalingInstanceDetailsTypeDef

_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
# Auto Scaling takes a few seconds from the request to terminate until the hook waits to be completed.
COMPLETE_RETRY_S = 2.0


class _Refused(Exception):
    """Auto Scaling said no, or nothing. The text is one line."""

    def __init__(self, error: Exception) -> None:
        super().__init__(text_of(error))
        answer = error.response.get("Error", {}) if isinstance(error, ClientError) else {}
        self.code = answer.get("Code", "")

    def says(self, *phrases: str) -> bool:
        """Whether the request was understood and refused with one of these phrases."""
        return self.code == "ValidationError" and any(phrase in str(self).lower() for phrase in phrases)


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except _Refused:
        raise
    except Exception as error:
        raise _Refused(error) from error


class Instance:
    """One instance in its group. Every call blocks for its client's timeouts at most, and raises nothing."""

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
        # Made when it is first needed: its service model is large, and the first job is waiting at the start.
        return self._make_client()

    def carry_out(self, order: GiveUp | Hold | Protect) -> GaveUp | Held | Protected:
        match order:
            case GiveUp(shrink):
                return self.give_up(shrink)
            case Hold():
                return Held(self.hold())
            case Protect():
                return self.protect()

    def give_up(self, shrink: Shrink = Shrink.ALWAYS) -> GaveUp:
        """Have the group terminate this instance.

        The group's lifecycle hook, where it has one, keeps the instance alive until complete().
        """
        try:
            with _asking():
                return self._give_up(self._metadata.instance_id(), shrink)
        except _Refused as refused:
            answer = GiveUpAnswer.DENIED if refused.code in _DENIED else GiveUpAnswer.FAILED
            return GaveUp(answer, str(refused))

    def protect(self) -> Protected:
        """Keep the group's policies from choosing this instance when they scale in."""
        try:
            with _asking():
                return self._protect()
        except _Refused as refused:
            is_early = refused.says("not in inservice")
            return Protected(ProtectAnswer.NOT_YET if is_early else ProtectAnswer.FAILED, str(refused))

    def hold(self) -> str | None:
        """Have the lifecycle hook wait for its whole timeout again. What went wrong in one line, or None."""
        return self._at_hook("record_lifecycle_action_heartbeat")

    def complete(
        self,
        patience_s: float,
        pause: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> str | None:
        """Let the group end this instance now, trying for so long; the last try may take its own time.

        What went wrong in one line, or None. A failure costs money and no run: the hook's timeout mends it.
        """
        tries, until = int(patience_s / COMPLETE_RETRY_S) + 1, clock() + patience_s
        for left in reversed(range(tries)):
            fault = self._at_hook("complete_lifecycle_action", LifecycleActionResult="CONTINUE")
            if fault is None or not left or clock() >= until:
                break
            pause(COMPLETE_RETRY_S)
        return fault

    # ---- the calls

    def _give_up(self, instance_id: str, shrink: Shrink) -> GaveUp:
        details = self._details(instance_id)
        if details is None:
            return GaveUp(GiveUpAnswer.TERMINATING, f"{instance_id} is in no Auto Scaling group")
        # Somebody else may have asked, or we have and the answer was lost: a second decrement would take the
        # place of another worker.
        if details["LifecycleState"].startswith("Terminat"):
            return GaveUp(GiveUpAnswer.TERMINATING, f"{instance_id}, which is ending already")
        # What is in standby is not counted in the desired capacity.
        if shrink is Shrink.NEVER or details["LifecycleState"] == "Standby":
            return self._terminate(instance_id, decrement=False)
        try:
            with _asking():
                return self._terminate(instance_id, decrement=True)
        except _Refused as refused:
            if not refused.says("minsize", "min size"):
                raise
        return self._give_up_below_minimum(instance_id, details["AutoScalingGroupName"], shrink)

    def _give_up_below_minimum(self, instance_id: str, group: str, shrink: Shrink) -> GaveUp:
        """Desired is at its minimum: 0 is somebody's wish that we go, more is a wish that somebody stays."""
        minimum = self._minimum(group)
        if minimum > 0 and shrink is Shrink.ALWAYS:
            return GaveUp(GiveUpAnswer.KEPT, f"the group's minimum size is {minimum}")
        return self._terminate(instance_id, decrement=False)

    def _terminate(self, instance_id: str, *, decrement: bool) -> GaveUp:
        self._client.terminate_instance_in_auto_scaling_group(
            InstanceId=instance_id, ShouldDecrementDesiredCapacity=decrement
        )
        return GaveUp(GiveUpAnswer.TERMINATING, instance_id)

    def _protect(self) -> Protected:
        group = self._group_name()
        if group is None:
            return Protected(ProtectAnswer.NEEDLESS, "in no Auto Scaling group")
        instance_id = self._metadata.instance_id()
        self._client.set_instance_protection(
            InstanceIds=[instance_id], AutoScalingGroupName=group, ProtectedFromScaleIn=True
        )
        return Protected(ProtectAnswer.PROTECTED, instance_id)

    def _at_hook(self, call: str, **rest: str) -> str | None:
        if self._hook is None:
            return None
        try:
            with _asking():
                group = self._group_name()
                if group is None:
                    return "in no Auto Scaling group"
                getattr(self._client, call)(
                    LifecycleHookName=self._hook,
                    AutoScalingGroupName=group,
                    InstanceId=self._metadata.instance_id(),
                    **rest,
                )
        except _Refused as refused:
            return str(refused)
        return None

    def _group_name(self) -> str | None:
        if self._group is None:
            self._group = self._metadata.group()
            if self._group is None and (details := self._details(self._metadata.instance_id())):
                self._group = details["AutoScalingGroupName"]
        return self._group

    def _minimum(self, group: str) -> int:
        groups = self._client.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"]
        return max((group["MinSize"] for group in groups), default=0)

    def _details(self, instance_id: str) -> "AutoScalingInstanceDetailsTypeDef | None":
        found = self._client.describe_auto_scaling_instances(InstanceIds=[instance_id])
        return next(iter(found["AutoScalingInstances"]), None)
