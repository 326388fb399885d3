"""The main thread: everything that happens comes into one inbox, is written down, shown to the consumer,
and what the consumer orders is handed to whoever carries it out. It waits in one place only."""

import logging
import math
import queue
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from observerd import clock, signals
from observerd.bell import Bell
from observerd.core.consumer import LONG_POLL_S, ON_REQUEST, Consumer, Phase
from observerd.core.events import (
    Began,
    Cause,
    Count,
    Discard,
    DrainRequested,
    End,
    Event,
    Exit,
    Extend,
    Extended,
    Finished,
    GiveUp,
    Hold,
    Message,
    Order,
    Outcome,
    Poll,
    Protect,
    Received,
    Release,
    Reload,
    Reloaded,
    ReloadFailed,
    ReloadRequested,
    Report,
    Start,
    StopRequested,
    TimeUp,
)
from observerd.core.units import duration_text
from observerd.crew import Hand, Pool
from observerd.systemd import Notifier

if TYPE_CHECKING:
    # They bring what the first receive does not need.
    from observerd.runner import Runner
    from observerd.status import Board

log = logging.getLogger(__name__)

# A poll that has not come back by then never will: its client gives up ten seconds after the longest wait.
POLL_LIMIT_S = 3.0 * LONG_POLL_S
# The same of an extension, whose client gives up after eight. Without any, each job here loses its lease, and
# so does each that comes after it.
EXTENSION_LIMIT_S = 60.0
# A stop that makes progress is waited for; one that hangs for so long is not. As the unit's TimeoutStopSec.
STOP_EXTENSION_S = 90.0
# The main thread wakes when it means to, or is stuck: no loaded machine is that slow.
LATE_S = 30.0
# A fifth of what the shortest jobs take, eight side by side. It saves a sixth of our CPU time for each.
GATHER_S = 0.002


@dataclass(frozen=True, slots=True)
class Crew:
    """Who carries out orders."""

    receiver: Hand[Poll | Release]
    heartbeat: Hand[Extend]
    leaver: Hand[Count | GiveUp | Hold | Protect]
    reloader: Hand[Reload]
    runner: "Runner"


class Witness(Protocol):
    """Writes down what happens, on the main thread, without waiting for anything."""

    def event(self, event: Event, now: float) -> None: ...
    def order(self, order: Order) -> None: ...


class _Unanswered:
    """The orders that a hand still has to answer."""

    def __init__(self) -> None:
        self.count = 0
        self.since = 0.0
        """When it began with the first of them."""

    def asked(self) -> None:
        self.since = self.since if self.count else clock.now()
        self.count += 1

    def answered(self) -> None:
        self.since = clock.now()
        self.count -= 1


class Service:
    """Consumes until idle or told to stop."""

    def __init__(
        self, consumer: Consumer, inbox: "queue.SimpleQueue[Event]", notifier: Notifier, queue_name: str
    ) -> None:
        self._consumer = consumer
        self._inbox = inbox
        self._notifier = notifier
        self._queue_name = queue_name
        self._bells: dict[str, Bell] = {}
        self._polled_at: float | None = None
        self._extensions = _Unanswered()
        self._held_until = -math.inf
        self._runs = Pool()
        self._is_ready = False
        self._status = ""

    def listen_for_signals(self) -> None:
        signals.listen((signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP), self._heard)

    def _heard(self, number: signal.Signals) -> None:
        match number:
            case signal.SIGHUP:
                self._inbox.put(ReloadRequested())
            case signal.SIGUSR1:
                self._inbox.put(DrainRequested(ON_REQUEST))
            case _:
                self._inbox.put(StopRequested(number.name))

    def first_poll(self, receiver: Hand[Poll | Release]) -> None:
        """Have the first receive on its way while the rest of the crew is still being put together."""
        for order in self._consumer.on(TimeUp(), clock.now()):
            assert isinstance(order, Poll)  # noqa: S101 nothing else can be ordered yet
            self._polled_at = clock.now()
            receiver.order(order)

    def run(self, crew: Crew, witnesses: Sequence[Witness], board: "Board") -> Exit:
        """Blocks until the consumer orders to leave; says why. Every witness is told of all that happens, the
        board what is true after it."""
        while True:
            events = self._next_events()
            for event in events:
                now = clock.now()
                for order in self._orders(event, now, crew, witnesses):
                    if isinstance(order, Exit):
                        # For what is still to be sent: log lines, notices, the end of the lifecycle hook.
                        self._notifier.alive(STOP_EXTENSION_S)
                        return order
                    self._perform(order, crew)
                board.note(event, now)
            self._hold(now, crew.runner)
            self._report(events, now)
            board.show(self._consumer, now, self._overdue_at())

    def _next_events(self) -> list[Event]:
        """What has happened, as soon as there is anything, or TimeUp when a deadline came first."""
        try:
            first = self._inbox.get(timeout=self._patience_s())
        except queue.Empty:
            return [TimeUp()]
        if isinstance(first, (Began, Finished)) and self._consumer.busy > 1:
            # Nobody waits for these. Each time it wakes, this thread costs the jobs' their turn on the
            # interpreter, so what several are about to tell is heard in one go.
            time.sleep(GATHER_S)
        return [first, *(self._inbox.get_nowait() for _ in range(self._inbox.qsize()))]

    def _orders(self, event: Event, now: float, crew: Crew, witnesses: Sequence[Witness]) -> Iterator[Order]:
        for witness in witnesses:
            witness.event(event, now)
        self._note(event, crew)
        for order in self._consumer.on(event, now):
            for witness in witnesses:
                witness.order(order)
            yield order

    def _patience_s(self) -> float | None:
        """None: for as long as it takes."""
        wake_at, now = self._consumer.wake_at(), clock.now()
        look_s = clock.LOOK_S if self._consumer.running else None
        most_s = (None if wake_at is None else max(0.0, wake_at - now), self._beat_s(), look_s)
        return min((each for each in most_s if each is not None), default=None)

    def _beat_s(self) -> float | None:
        """How often systemd must hear of us; None: never."""
        limits_s = (self._notifier.watchdog_s, STOP_EXTENSION_S if self._is_leaving() else None)
        return min((each / 2 for each in limits_s if each is not None), default=None)

    def _is_leaving(self) -> bool:
        return self._consumer.phase is not Phase.RUNNING

    def _overdue_at(self) -> float | None:
        """When there must have been an event by; None: nothing is waited for."""
        wake_at = self._consumer.wake_at()
        means_to_wake = () if wake_at is None else (wake_at + LATE_S,)
        return min((*self._answers_due(), *means_to_wake), default=None)

    def _answers_due(self) -> Iterator[float]:
        """When each call that is on its way has been answered, or never will be."""
        if self._consumer.polling and self._polled_at is not None:
            yield self._polled_at + POLL_LIMIT_S
        if self._extensions.count:
            yield self._extensions.since + EXTENSION_LIMIT_S

    def _note(self, event: Event, crew: Crew) -> None:
        match event:
            case Finished(message):
                self._silence(message)
            case Extended():
                self._extensions.answered()
            case Reloaded(jobs):
                crew.runner.jobs = jobs

    def _perform(self, order: Order, crew: Crew) -> None:
        match order:
            case Poll():
                self._polled_at = clock.now()
                crew.receiver.order(order)
            case Release():
                crew.receiver.order(order)
            case Extend():
                self._extensions.asked()
                crew.heartbeat.order(order)
            case Count() | GiveUp() | Hold() | Protect():
                crew.leaver.order(order)
            case Reload():
                if self._is_ready:
                    self._notifier.reloading()
                crew.reloader.order(order)
            case Start(message):
                self._carry(message, crew.runner.live)
            case Discard(message):
                self._carry(message, crew.runner.discard)
            case End(message, cause, grace_s):
                self._ring(message, cause, grace_s)

    def _hold(self, now: float, runner: "Runner") -> None:
        """Whatever may hang in this process: the end of the leases is kept by another one, too."""
        until = self._consumer.leases.held_until(now)
        if until is not None and self._held_until - now < self._consumer.leases.timeout_s / 2:
            self._held_until = until
            runner.hold(max(0.0, until - now))

    def _ring(self, message: Message, cause: Cause, grace_s: float | None) -> None:
        # None: it could not be started, and Finished is in the inbox already.
        if bell := self._bells.get(message.id):
            bell.ring(cause, grace_s)

    def _silence(self, message: Message) -> None:
        if bell := self._bells.pop(message.id, None):
            bell.close()

    def _carry(self, message: Message, life: Callable[[Message, Bell], Finished]) -> None:
        try:
            bell = self._bells[message.id] = Bell()
            self._runs.start(partial(self._live, message, bell, life))
        except (OSError, RuntimeError) as error:
            # No descriptor or no thread to be had: the message comes back when its visibility timeout ends.
            back_in_s = self._consumer.limits.visibility_timeout_s
            report = Report(reason=str(error), settled="left alone")
            self._inbox.put(Finished(message, Outcome.CRASHED, back_in_s=back_in_s, report=report))

    def _live(self, message: Message, bell: Bell, life: Callable[[Message, Bell], Finished]) -> None:
        finished = Finished(message, Outcome.CRASHED, report=Report(reason="observerd's own error"))
        try:
            finished = life(message, bell)
        except Exception:
            log.exception("run crashed", extra={"message_id": message.id})
        finally:
            self._inbox.put(finished)

    def _report(self, events: Sequence[Event], now: float) -> None:
        status, was_ready = status_line(self._consumer, self._queue_name, now), self._is_ready
        heard = {type(event) for event in events}
        self._is_ready = self._is_ready or Received in heard
        if self._is_ready and (not was_ready or heard & {Reloaded, ReloadFailed}):
            self._notifier.ready(status)
        elif self._is_leaving() and StopRequested in heard:
            self._notifier.stopping(status)
        elif status != self._status:
            self._notifier.status(status)
        self._status = status
        if self._is_healthy(now):
            self._notifier.alive(STOP_EXTENSION_S if self._is_leaving() else None)

    def _is_healthy(self, now: float) -> bool:
        """Progress, not mere life: polls and extensions may take long, but not for ever."""
        return all(now < due for due in self._answers_due())


def status_line(consumer: Consumer, queue_name: str, now: float) -> str:
    """One line for `systemctl status`: what it is doing, how full it is, on which queue."""
    settling = f", {len(consumer.settling)} to be settled" if consumer.settling else ""
    busy = f"{consumer.busy}/{consumer.limits.slots} slots busy{settling}, queue {queue_name}"
    if consumer.phase is not Phase.RUNNING:
        return f"{consumer.phase.name.lower()}, {busy}"
    if consumer.parked:
        return f"out of service, {busy}"
    if consumer.running:
        return f"running, {busy}"
    if consumer.unanswered:
        return f"waiting for SQS, {busy}"
    idle_since = consumer.idle_since(now)
    if idle_since is None:
        return f"idle, {busy}"
    return f"idle for {duration_text(round(now - idle_since))}, {busy}"
