"""The threads that wait so that the main thread need not: for AWS, one order in, one event out; for jobs."""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from observerd.core.events import CrewDied, Event

OrderT = TypeVar("OrderT")


class Hand(Generic[OrderT]):
    """Carries out orders one after the other on a thread of its own.

    What carry_out answers goes to the inbox. If it raises, the inbox gets CrewDied and the thread ends: what
    it left half done cannot be known.
    """

    def __init__(
        self, name: str, carry_out: Callable[[OrderT], Event], inbox: "queue.SimpleQueue[Event]"
    ) -> None:
        self._carry_out = carry_out
        self._inbox = inbox
        self._orders: queue.SimpleQueue[OrderT] = queue.SimpleQueue()
        # A daemon thread: a call that hangs in the kernel must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def order(self, order: OrderT) -> None:
        self._orders.put(order)

    def _work(self) -> None:
        try:
            while True:
                self._inbox.put(self._carry_out(self._orders.get()))
        except Exception as error:  # noqa: BLE001 the crew's last word
            self._inbox.put(CrewDied(self._thread.name, f"{type(error).__name__}: {error}"))


class Pool:
    """Carries out tasks side by side, on as many threads as there have been tasks at once.

    concurrent.futures would wait at the exit for a task that hangs, and would keep one for which no thread
    could be started.
    """

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)

    def start(self, task: Callable[[], None]) -> None:
        """Raises RuntimeError, and forgets the task, where it needs a thread and none is to be had."""
        if not self._idle.acquire(blocking=False):
            threading.Thread(target=self._work, name="run", daemon=True).start()
        self._tasks.put(task)

    def _work(self) -> None:
        while True:
            self._tasks.get()()
            self._idle.release()
