"""The scheduler and the producer function: events on time or twice, sends before wakes, and retries."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from observerd.core.request import deduplication_id
from observerd.simulation.books import Books, body_of
from observerd.simulation.clock import Clock
from observerd.simulation.crontab import Schedule
from observerd.simulation.figures import Figures
from observerd.simulation.group import Group
from observerd.simulation.queue import Queue
from observerd.simulation.stack import Stack
from observerd.simulation.wire import Limit, Wire

# cloudformation/producer/index.py: BOUNDED.
CALL = Limit(5.0, 2)


@dataclass(slots=True)
class Event:
    """One event of the scheduler, on its way through the function's attempts."""

    run_id: str
    job: str
    instant: str
    group: str
    """SQS hands out one message of it at a time."""
    attempts: int = 0


@dataclass(slots=True)
class Producer:
    clock: Clock
    figures: Figures
    stack: Stack
    books: Books
    draw: random.Random
    wire: Wire
    queue: Queue
    group: Group
    wakes: bool = True
    """Whether it asks for an instance, and keeps what it could not send: the seed's does neither."""
    fails: bool = False
    cannot_wake: bool = False
    fires_twice: bool = False

    def due(self, line: Schedule, instant: str) -> None:
        """The schedule's instant has come."""
        event = self._event(line, instant)
        self.clock.after(self.draw.uniform(0.0, self.figures.scheduler_precision_s), self._invoke, event)
        if self.fires_twice or self.draw.random() < self.figures.scheduler_twice_share:
            twin = replace(event)
            self.clock.after(self.draw.uniform(0.0, self.figures.scheduler_precision_s), self._invoke, twin)

    def send_now(self, line: Schedule, instant: str) -> None:
        """A person invokes the function."""
        self._handle(self._event(line, instant, by_hand=True))

    def _event(self, line: Schedule, instant: str, *, by_hand: bool = False) -> Event:
        run_id = self.books.due(line, instant, by_hand=by_hand)
        return Event(run_id, line.job, instant, run_id if line.overlaps else line.job)

    def _invoke(self, event: Event) -> None:
        event.attempts += 1
        start_s = self.draw.uniform(self.figures.lambda_start_low_s, self.figures.lambda_start_high_s)
        self.clock.after(start_s, self._handle, event)

    def _handle(self, event: Event) -> None:
        """Send first, then wake: see cloudformation/producer/index.py."""
        if self.fails and self.draw.random() < 0.5:  # noqa: PLR2004 an error before or after the send
            self._failed(event, "the producer fails before it has sent")
            return
        self.send(event, lambda: self.wake(event, lambda: None))

    def send(self, event: Event, then: Callable[[], None]) -> None:
        body = body_of(event.job, event.instant, self.stack.max_lateness_s)

        def arrive() -> None:
            key = deduplication_id(event.job, event.instant)
            self.books.sent(event.run_id, self.queue.send(body, event.group, key))

        def sent(_: object) -> None:
            if self.fails:
                self._failed(event, "the producer fails after it has sent")
            else:
                then()

        self.wire.call("queue", CALL, arrive, sent, lambda fault: self._failed(event, f"not sent: {fault}"))

    def wake(self, event: Event, then: Callable[[], None]) -> None:
        """Ask for a worker if none is wanted. What goes wrong is counted, and the Wake alarm mends it."""
        if not self.wakes:
            then()
            return

        def looked(desired: int) -> None:
            if desired:
                self.books.relied(event.run_id)
                then()
                return
            self.wire.call("group", CALL, ask, lambda _: then(), not_woken)

        def ask() -> None:
            self.group.set_desired(1, "the producer")

        def not_woken(fault: Exception) -> None:
            self.clock.note("producer", f"could not wake the group for {event.job}: {fault}")
            then()

        if self.cannot_wake:
            not_woken(PermissionError("denied"))
        else:
            self.wire.call("group", CALL, lambda: self.group.desired, looked, not_woken)

    def _failed(self, event: Event, why: str) -> None:
        self.clock.note("producer", why)
        if event.attempts > self.stack.producer_retries:
            self.books.undelivered(event.run_id, kept=self.wakes)
        else:
            self.clock.after(self.figures.lambda_retry_s * event.attempts, self._invoke, event)
