"""A lease is our time-bounded right to a message: SQS calls it the visibility timeout.

It is extended at every third of the timeout, so that two attempts may fail. It is lost when SQS refuses to
extend it, when its time is nearly over and no answer came, and for good: a lost lease is never extended
again. A message stays ours for 12 hours at most, however often it is extended.
"""

from dataclasses import dataclass

from observerd.core.events import Message
from observerd.core.job import VISIBILITY_LIMIT_S

# ChangeMessageVisibilityBatch takes ten entries (SQS API Reference).
BATCH = 10
# An unanswered extension is tried again after a twelfth of the timeout: 10 s of 120.
RETRY_SHARE = 12
# The job of an unanswered lease is told to end in its last sixth: 20 s of 120 to die in before anyone else
# may be given the message.
LAST_SHARE = 6
# The 12-hour limit counts from the moment SQS handed the message out, which is before we saw it.
LIMIT_MARGIN_S = 30.0


@dataclass(slots=True)
class Lease:
    message: Message
    taken_at: float
    expires_at: float
    due_at: float
    asking: bool = False
    lost: bool = False


class Leases:
    """Every lease held, by message id. Times are one monotonic clock's seconds."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._held: dict[str, Lease] = {}

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._held

    def is_stale(self, asked_at: float, now: float) -> bool:
        """Whether what SQS was asked for at that time may be lost already."""
        return now >= asked_at + self.timeout_s - self.timeout_s / LAST_SHARE

    def take(self, message: Message, asked_at: float, now: float) -> None:
        """Hold the lease of a message that is not stale."""
        due_at = min(now + self.timeout_s / 3, asked_at + self.timeout_s / 2)
        self._held[message.id] = Lease(message, asked_at, asked_at + self.timeout_s, due_at)

    def drop(self, message_id: str) -> None:
        del self._held[message_id]

    def due(self, now: float) -> list[tuple[tuple[Message, int], ...]]:
        """The extensions to ask for now, in batches of ten: (message, seconds). Marks them as asked for."""
        # Asked after every event, and nearly always in vain: a glance at the time comes first.
        if not any(lease.due_at <= now and self._is_due(lease, now) for lease in self._held.values()):
            return []
        # Whatever is due soon comes along, so that leases taken seconds apart share a call from then on.
        soon_s = self.timeout_s / LAST_SHARE
        asked = [lease for lease in self._held.values() if self._is_due(lease, now, soon_s)]
        for lease in asked:
            lease.asking = True
        entries = [(lease.message, self._extension_s(lease, now)) for lease in asked]
        return [tuple(entries[start : start + BATCH]) for start in range(0, len(entries), BATCH)]

    def answered(self, handles: tuple[str, ...], asked_at: float) -> None:
        for lease in self._among(handles):
            lease.asking = False
            lease.expires_at = asked_at + self._extension_s(lease, asked_at)
            lease.due_at = asked_at + self.timeout_s / 3

    def unanswered(self, handles: tuple[str, ...], now: float) -> None:
        for lease in self._among(handles):
            lease.asking = False
            lease.due_at = now + self.timeout_s / RETRY_SHARE

    def refuse(self, handles: tuple[str, ...]) -> list[Message]:
        """The messages among these that were still ours until now."""
        refused = [lease for lease in self._among(handles) if not lease.lost]
        for lease in refused:
            lease.lost = True
        return [lease.message for lease in refused]

    def expiring(self, now: float) -> list[tuple[Message, float]]:
        """The messages lost for want of an answer, each with the seconds left until others may have it."""
        gone = [lease for lease in self._held.values() if not lease.lost and now >= self._lost_at(lease)]
        for lease in gone:
            lease.lost = True
        return [(lease.message, max(0.0, lease.expires_at - now)) for lease in gone]

    def until(self) -> float | None:
        """When the first of them runs out, were it not extended; None while none is held."""
        return min((lease.expires_at for lease in self._held.values()), default=None)

    def held_until(self, now: float) -> float | None:
        """Until when nobody but us is given any message that is not lost; None while there is none.

        A poll under way may yet bring one whose lease began a third of the timeout ago.
        """
        ends = [lease.expires_at for lease in self._held.values() if not lease.lost]
        return min(*ends, now + self.timeout_s * 2 / 3) if ends else None

    def wake_at(self) -> float | None:
        """When a lease next needs something; None while none does."""
        moments = [self._lost_at(lease) for lease in self._held.values() if not lease.lost]
        moments += [lease.due_at for lease in self._held.values() if self._is_due(lease, lease.due_at)]
        return min(moments, default=None)

    def _is_due(self, lease: Lease, at: float, ahead_s: float = 0.0) -> bool:
        is_open = not lease.asking and not lease.lost
        return is_open and lease.due_at <= at + ahead_s and self._extension_s(lease, at) > 0

    def _lost_at(self, lease: Lease) -> float:
        return lease.expires_at - self.timeout_s / LAST_SHARE

    def _extension_s(self, lease: Lease, at: float) -> int:
        """Whole seconds to ask for, and none at the limit; SQS refuses a total of more than 12 hours."""
        left_s = lease.taken_at + VISIBILITY_LIMIT_S - LIMIT_MARGIN_S - at
        return int(min(self.timeout_s, left_s)) if left_s >= 1 else 0

    def _among(self, handles: tuple[str, ...]) -> list[Lease]:
        return [lease for lease in self._held.values() if lease.message.receipt_handle in handles]
