"""Virtual time: what is due next happens next, and nothing waits."""

import heapq
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple


class Line(NamedTuple):
    """One line of a history."""

    at: float
    who: str
    what: str

    def __str__(self) -> str:
        moment = datetime.fromtimestamp(self.at, UTC)
        return f"{moment:%d %H:%M:%S}.{moment.microsecond // 100_000}  {self.who:10} {self.what}"


class Clock:
    """The world's time in Unix seconds, and what is still to happen in it."""

    def __init__(self, start: float) -> None:
        self.now = start
        self.history: list[Line] = []
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, moment: float, act: Callable[..., None], *arguments: Any) -> None:
        """Have act called then; at once when that is past. Calls of one moment keep their order."""
        self._count += 1
        heapq.heappush(self._due, (max(moment, self.now), self._count, act, arguments))

    def after(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        self.at(self.now + seconds, act, *arguments)

    def note(self, who: str, what: str) -> None:
        self.history.append(Line(self.now, who, what))

    def run(self, until: float) -> None:
        due, pop = self._due, heapq.heappop
        while due and due[0][0] <= until:
            self.now, _, act, arguments = pop(due)
            act(*arguments)
        self.now = until
