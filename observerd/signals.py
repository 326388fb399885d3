"""Signals: heard at once, whatever the main thread is about to wait for."""

import os
import signal
import threading
from collections.abc import Callable, Iterable


def listen(numbers: Iterable[signal.Signals], heard: Callable[[signal.Signals], None]) -> None:
    """Have heard(number) called for each of these signals that comes, on a thread of its own, to the end of
    the process. To be called once, on the main thread.

    A Python handler runs between two steps of the main thread. A signal that the kernel gives to another
    thread, or to the main thread just before it begins to wait, would not be acted upon before that wait is
    over: a stop that is heard hours late. What the C handler writes to the wakeup descriptor is not late.
    """
    here, there = os.pipe()
    os.set_blocking(there, False)
    signal.set_wakeup_fd(there, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, _leave_it_to_the_descriptor)
    threading.Thread(target=_pass_on, args=(here, heard), name="signals", daemon=True).start()


def _leave_it_to_the_descriptor(*_: object) -> None:
    """A handler of Python's has to be there; that it runs late does not matter."""


def _pass_on(descriptor: int, heard: Callable[[signal.Signals], None]) -> None:
    while True:
        for number in os.read(descriptor, 64):
            heard(signal.Signals(number))
