"""SQS: visibility, FIFO groups, deduplication, long and short polls, redrive, retention."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from observerd.core.events import Message
from observerd.simulation.books import Books
from observerd.simulation.clock import Clock
from observerd.simulation.figures import Figures
from observerd.simulation.wire import Refusal


class Refused(Refusal):
    """The receipt handle is not, or no longer, the caller's."""


@dataclass(slots=True, eq=False)
class Stored:
    """A message as the queue keeps it."""

    id: str
    body: str
    group: str
    sent_at: float
    visible_at: float
    receive_count: int = 0
    received_at: float = 0.0
    handle: str = ""


@dataclass(slots=True, eq=False)
class Waiter:
    """A poll that has found nothing yet."""

    holder: str
    at_most: int
    until: float
    visibility_s: float
    answer: Callable[[tuple[Message, ...]], None]


@dataclass(slots=True)
class Queue:
    """One queue. Its calls act at once: how long they travel is the caller's business."""

    clock: Clock
    figures: Figures
    books: Books
    draw: random.Random
    fifo: bool
    retention_s: float
    max_receive_count: int | None
    stirred: Callable[[], None]
    """Called when something happens that metrics and alarms may be interested in."""
    stored: dict[str, Stored] = field(default_factory=dict)
    active_at: float = float("-inf")
    awake_since: float = 0.0
    empty_answers: bool = False
    _waiters: list[Waiter] = field(default_factory=list)
    _known: dict[str, tuple[float, str]] = field(default_factory=dict)
    _count: int = 0

    # ---- what callers may ask

    def send(self, body: str, group: str, deduplication_id: str | None) -> str:
        """The message's id; the first one's when SQS has seen the deduplication id of late."""
        self._touch()
        now = self.clock.now
        known_at, known_id = self._known.get(deduplication_id or "", (float("-inf"), ""))
        if self.fifo and now - known_at < self.figures.deduplication_s:
            return known_id
        self._count += 1
        message = Stored(f"m{self._count}", body, group, now, now)
        self.stored[message.id] = message
        if deduplication_id:
            self._known[deduplication_id] = (now, message.id)
        self.clock.after(self.retention_s, self._expire, message)
        self._offer()
        self.stirred()
        return message.id

    def receive(
        self,
        holder: str,
        at_most: int,
        wait_s: float,
        visibility_s: float,
        answer: Callable[[tuple[Message, ...]], None],
    ) -> None:
        """Call answer with messages, or with none when wait_s is over."""
        self._touch()
        waiter = Waiter(holder, at_most, self.clock.now + wait_s, visibility_s, answer)
        # A short poll asks a few of the servers only; the message may be on another.
        share = self.figures.false_empty_share if not wait_s else 0.5 * self.empty_answers
        misses = share and self.draw.random() < share
        if not misses and (found := self._take(waiter)):
            answer(found)
        elif not wait_s:
            answer(())
        else:
            if not misses:
                self._waiters.append(waiter)
            self.clock.at(waiter.until, self._wait_is_over, waiter, misses)

    def delete(self, message: Message, holder: str) -> None:
        """Raises Refused."""
        self._touch()
        stored = self._held(message)
        self.books.deleted(message, holder)
        self._remove(stored)

    def change_visibility(self, message: Message, seconds: float) -> None:
        """Raises Refused."""
        self._touch()
        stored = self._held(message)
        until = self.clock.now + seconds
        if until > stored.received_at + self.figures.visibility_limit_s:
            raise Refused("more than twelve hours in all")
        stored.visible_at = until
        if seconds:
            self.clock.at(until, self._visible_again, stored)
        else:
            self._offer()

    def count(self) -> int:
        """ApproximateNumberOfMessages, without the delay that SQS allows itself."""
        self._touch()
        return self.waiting()

    # ---- what the world sees

    def waiting(self) -> int:
        """ApproximateNumberOfMessagesVisible, which counts what a FIFO group keeps back."""
        return sum(each.visible_at <= self.clock.now for each in self.stored.values())

    def in_flight(self) -> int:
        return len(self.stored) - self.waiting()

    def takeable(self) -> Stored | None:
        """The first message that a receive would find now."""
        now, locked = self.clock.now, set()
        if self.fifo:
            locked = {each.group for each in self.stored.values() if each.visible_at > now}
        return next(
            (each for each in self.stored.values() if each.visible_at <= now and each.group not in locked),
            None,
        )

    # ---- how it works

    def _touch(self) -> None:
        now = self.clock.now
        if now - self.active_at > self.figures.queue_sleeps_after_s:
            self.awake_since = now
        self.active_at = now

    def _take(self, waiter: Waiter) -> tuple[Message, ...]:
        taken: list[Message] = []
        while len(taken) < waiter.at_most and (found := self.takeable()):
            if self.max_receive_count and found.receive_count >= self.max_receive_count:
                self.books.redriven(found.id)
                del self.stored[found.id]
            else:
                taken.append(self._hand_out(found, waiter))
        return tuple(taken)

    def _hand_out(self, stored: Stored, waiter: Waiter) -> Message:
        now = self.clock.now
        stored.receive_count += 1
        stored.handle = f"{stored.id}#{stored.receive_count}"
        stored.received_at, stored.visible_at = now, now + waiter.visibility_s
        self.clock.at(stored.visible_at, self._visible_again, stored)
        self.books.handed_out(stored.id, waiter.holder)
        return Message(
            id=stored.id,
            receipt_handle=stored.handle,
            body=stored.body,
            group_id=stored.group,
            receive_count=stored.receive_count,
            sent_at=stored.sent_at,
            # The Date of an answer has no fractions of a second.
            received_at=max(stored.sent_at, float(int(now))),
        )

    def _held(self, message: Message) -> Stored:
        stored = self.stored.get(message.id)
        if stored is None or stored.handle != message.receipt_handle:
            raise Refused("not the newest handle of a message that is there")
        if self.fifo and stored.visible_at <= self.clock.now:
            raise Refused("the handle has expired")
        return stored

    def _visible_again(self, stored: Stored) -> None:
        if stored.id in self.stored and stored.visible_at <= self.clock.now:
            self._offer()
            self.stirred()

    def _remove(self, stored: Stored) -> None:
        del self.stored[stored.id]
        # The next message of its group may be taken now.
        self._offer()

    def _expire(self, stored: Stored) -> None:
        if stored.id in self.stored:
            self.books.expired(stored.id)
            self._remove(stored)

    def _offer(self) -> None:
        """Answer the polls that a message has come for, the longest waiting first."""
        while self._waiters:
            found = self._take(self._waiters[0])
            if not found:
                return
            self._waiters.pop(0).answer(found)

    def _wait_is_over(self, waiter: Waiter, missed: bool) -> None:  # noqa: FBT001 a callback's argument
        if missed or waiter in self._waiters:
            if not missed:
                self._waiters.remove(waiter)
            waiter.answer(())
