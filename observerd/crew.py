"""The threads that wait on AWS so that the main thread need not: one order in, one event out."""

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
