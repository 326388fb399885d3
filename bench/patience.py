"""Waiting with an end, and what is said when it comes."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

# Seldom, for there may be 64 of them.
LOOK_S = 0.25


class NotMeasured(Exception):
    """Something could not be measured. The text is one line for people."""


class Watched(Protocol):
    def check(self) -> None:
        """Raises NotMeasured if it has ended."""


def until(
    condition: Callable[[], bool], within_s: float, what: str, programs: Sequence[Watched] = ()
) -> float:
    """The instant, in time.monotonic(), at which condition was seen to hold. Raises NotMeasured.

    If one of programs ends meanwhile, it is not waited for any longer.
    """
    deadline, looked_at = time.monotonic() + within_s, time.monotonic()
    while not condition():
        now = time.monotonic()
        if now - looked_at >= LOOK_S:
            for program in programs:
                program.check()
            looked_at = now
        if now >= deadline:
            raise NotMeasured(f"not within {within_s:g} s: {what}")
        # Short against what is measured, long enough to leave the processors to it.
        time.sleep(0.002)
    return time.monotonic()


def rounds(at_most: int, within_s: float) -> Iterator[int]:
    """Numbers of rounds, at least one, until there were enough or the time is over."""
    deadline = time.monotonic() + within_s
    for number in range(at_most):
        if number and time.monotonic() >= deadline:
            return
        yield number
