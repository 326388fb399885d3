"""The way of a call to AWS and of its answer: each takes its time, fails, hangs, or is lost."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from observerd.core.events import Message
from observerd.simulation.clock import Clock
from observerd.simulation.figures import Figures

# In a time of slow calls: seconds a way.
SLOW_LOW_S, SLOW_HIGH_S = 0.5, 20.0
# In a time of lost answers: the share of them.
LOST_SHARE = 0.3
# botocore waits about so long before it makes a call again.
AGAIN_LOW_S, AGAIN_HIGH_S = 0.1, 2.0


class Refusal(Exception):
    """A service does not do what it was asked. code is AWS's word."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class NoAnswer(Exception):
    """The call was not answered in time; what it asked for may have happened."""


@dataclass(slots=True)
class Troubles:
    """What is wrong with the cloud at the moment."""

    down: set[str] = field(default_factory=set)
    """Services ("queue", "group", "dead-letter") that answer with an error."""
    hangs: set[str] = field(default_factory=set)
    slow: int = 0
    lossy: int = 0
    denies_give_up: int = 0
    silent_metadata: int = 0


@dataclass(slots=True)
class Limit:
    """A client's deadline for one attempt, and how many it makes."""

    seconds: float
    attempts: int = 1


@dataclass(slots=True)
class Wire:
    """One machine's line to AWS."""

    clock: Clock
    figures: Figures
    draw: random.Random
    troubles: Troubles
    cut: bool = False

    def call(
        self,
        service: str,
        limit: Limit,
        act: Callable[[], Any],
        answered: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Have act called at the service (it may raise Refusal); then one of the two."""
        self._attempt(service, limit, limit.attempts, act, answered, failed)

    def receive(
        self,
        poll: Callable[[Callable[[tuple[Message, ...]], None]], None],
        limit: Limit,
        answered: Callable[[tuple[Message, ...]], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """One poll: have poll called at the queue, with what to call with its answer; then one of the two."""
        open_until = self.clock.now + limit.seconds
        if self.cut or "queue" in self.troubles.hangs:
            self.clock.at(open_until, failed, NoAnswer("no answer"))
        elif "queue" in self.troubles.down:
            self.clock.after(self._way_s(), failed, Refusal("ServiceUnavailable"))
        else:

            def back(messages: tuple[Message, ...]) -> None:
                self._back(answered, failed, messages, open_until)

            self.clock.after(self._way_s(), poll, back)

    def _attempt(
        self,
        service: str,
        limit: Limit,
        left: int,
        act: Callable[[], Any],
        answered: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> None:
        def fail(fault: Exception) -> None:
            if left > 1:
                wait_s = self.draw.uniform(AGAIN_LOW_S, AGAIN_HIGH_S)
                self.clock.after(wait_s, self._attempt, service, limit, left - 1, act, answered, failed)
            else:
                failed(fault)

        open_until = self.clock.now + limit.seconds
        if self.cut or service in self.troubles.hangs:
            self.clock.at(open_until, fail, NoAnswer("no answer"))
        elif service in self.troubles.down:
            self.clock.after(self._way_s(), fail, Refusal("Throttling"))
        else:
            self.clock.after(self._way_s(), self._arrive, act, answered, failed, fail, open_until)

    def _arrive(
        self,
        act: Callable[[], Any],
        answered: Callable[[Any], None],
        refused: Callable[[Exception], None],
        fail: Callable[[Exception], None],
        open_until: float,
    ) -> None:
        answer: Any
        reached: Callable[[Any], None]
        try:
            answer, reached = act(), answered
        except Refusal as refusal:
            answer, reached = refusal, refused
        self._back(reached, fail, answer, open_until)

    def _back(
        self,
        answered: Callable[[Any], None],
        failed: Callable[[Exception], None],
        answer: object,
        open_until: float,
    ) -> None:
        back_at = self.clock.now + self._way_s()
        if self._loses_answer() or back_at > open_until:
            self.clock.at(open_until, failed, NoAnswer("no answer"))
        else:
            self.clock.at(back_at, answered, answer)

    def _loses_answer(self) -> bool:
        return self.cut or (self.troubles.lossy > 0 and self.draw.random() < LOST_SHARE)

    def _way_s(self) -> float:
        if self.troubles.slow:
            return self.draw.uniform(SLOW_LOW_S, SLOW_HIGH_S)
        return self.draw.uniform(self.figures.call_low_s, self.figures.call_high_s)
