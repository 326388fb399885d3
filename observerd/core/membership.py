"""The instance as a member of its Auto Scaling group: protected, out of service, given up, taken away.

Three rules, each the lesson of somebody's lost job or leaked instance (docs/scaling.md):

* Protection from scale-in is set once the instance is in service, and never taken off: whatever takes it off
  "only while idle" has a moment between its last look and its next message. Termination asked for by this
  instance itself does not mind it.
* Only this instance lowers the desired capacity on its own account. An attempt whose answer was lost may have
  worked: if the instance is then being terminated, that was us.
* While the instance is being terminated and something runs here, the lifecycle hook is kept from running out.
"""

from collections.abc import Iterator
from math import inf

from observerd.core.backoff import backoff_s
from observerd.core.events import (
    GaveUp,
    GiveUp,
    GiveUpAnswer,
    Hold,
    Order,
    Protect,
    ProtectAnswer,
    Protected,
    Shrink,
    TargetState,
)

# A refused attempt to leave is made again after half a minute at first, ten minutes at most.
GIVE_UP_RETRY_S, GIVE_UP_RETRY_CAP_S = 30.0, 600.0
# A sixth of the template's hook timeout (cloudformation/observerd.yaml, 600 s): five attempts may fail.
HOLD_EVERY_S = 100.0
# What was waiting when the daemon came up is started before the client for this call is loaded.
PROTECT_AFTER_S = 2.0
# So late, at the most, instance metadata tells what became of an attempt whose answer was lost. No figure is
# published; to take another's termination for ours costs one more look, and no run.
UNSURE_S = 600.0
# An instance is in service some seconds after its daemon: the group waits for EC2's word that it runs.
PROTECT_RETRY_S, PROTECT_RETRY_CAP_S = 5.0, 600.0

_OUT_OF_SERVICE = frozenset({TargetState.STANDBY, TargetState.DETACHED, TargetState.WARMED})


class Membership:
    """What the consumer knows of its group. Times are those of the consumer's clock."""

    def __init__(self, now: float, jitter: float, *, protects: bool) -> None:
        self.given_up = False
        """Whether this instance is being terminated because we asked for it."""
        self.terminated = False
        """Whether somebody else has it terminated."""
        self.asking = False
        """Whether an attempt to give up is on its way."""
        self.given_up_at = inf
        self._jitter = jitter
        self._state: TargetState | None = None
        self._unsure_until = now
        self._give_up_failures = 0
        self._give_up_at = now
        self._hold_at = inf
        self._protect_failures = 0
        self._protect_at = inf
        self._protects = protects
        self._served = False

    @property
    def ending(self) -> bool:
        """Whether this instance is being terminated: its hook is to be held, and completed in the end."""
        return self.given_up or self.terminated

    @property
    def parked(self) -> bool:
        """Whether no message may be taken. A last look is taken whatever becomes of the instance after it."""
        return self._state in _OUT_OF_SERVICE and not self.given_up

    def serves(self, now: float) -> None:
        """The first poll has been answered."""
        self._served = self._protects
        self._protect_at = now + PROTECT_AFTER_S if self._protects else inf

    def gave_up(self, event: GaveUp, now: float) -> None:
        self.asking = False
        if event.answer is GiveUpAnswer.TERMINATING:
            self._end_by_us(now)
            return
        if event.answer is GiveUpAnswer.FAILED:
            self._unsure_until = now + UNSURE_S
        self._give_up_failures += 1
        # A group that keeps this instance on purpose, or a policy, does not change in seconds.
        base_s = GIVE_UP_RETRY_S if event.answer is GiveUpAnswer.FAILED else GIVE_UP_RETRY_CAP_S
        self._give_up_at = now + backoff_s(base_s, self._give_up_failures, GIVE_UP_RETRY_CAP_S, self._jitter)

    def is_brought_to(self, state: TargetState, now: float) -> None:
        was_out, self._state = self._state in _OUT_OF_SERVICE, state
        if state is TargetState.TERMINATED and not self.ending:
            if self.asking or now < self._unsure_until:
                self._end_by_us(now)
            else:
                self.terminated, self._hold_at = True, now + HOLD_EVERY_S
        if state is TargetState.IN_SERVICE and was_out and self._served:
            self._protect_at = now

    def was_protected(self, event: Protected, now: float) -> None:
        if event.answer in (ProtectAnswer.NOT_YET, ProtectAnswer.FAILED):
            self._protect_failures += 1
            wait_s = backoff_s(PROTECT_RETRY_S, self._protect_failures, PROTECT_RETRY_CAP_S, self._jitter)
            self._protect_at = now + wait_s

    def ask_anew(self, now: float) -> None:
        """Somebody wants it now, whatever was refused before."""
        self._give_up_at = min(now, self._give_up_at)

    def may_give_up(self, now: float) -> bool:
        return not self.asking and not self.ending and now >= self._give_up_at

    def give_up(self, shrink: Shrink) -> Order:
        self.asking = True
        return GiveUp(shrink)

    def due(self, now: float) -> Iterator[Order]:
        """What is due by time alone."""
        if self.ending and now >= self._hold_at:
            self._hold_at = now + HOLD_EVERY_S
            yield Hold()
        if not self.ending and now >= self._protect_at:
            self._protect_at = inf
            yield Protect()

    def wake_at(self) -> float:
        """When something is due; infinity: nothing by time alone."""
        return self._hold_at if self.ending else self._protect_at

    def give_up_at(self) -> float:
        """When the next attempt may be made; infinity: none is needed."""
        return inf if self.asking or self.ending else self._give_up_at

    def _end_by_us(self, now: float) -> None:
        if not self.ending:
            self.given_up_at, self._hold_at = now, now + HOLD_EVERY_S
        self.given_up = True
