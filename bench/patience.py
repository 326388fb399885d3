"""Waiting with an end, and what is said when it comes."""

import time
from collections.abc import Callable, Iterator


class NotMeasured(Exception):
    """Something could not be measured. The text is one line for people."""


def until(condition: Callable[[], bool], within_s: float, what: str) -> float:
    """The instant, in time.monotonic(), at which condition was seen to hold. Raises NotMeasured."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() >= deadline:
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
