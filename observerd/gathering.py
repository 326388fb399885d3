"""Makes one call of what many threads want at the same moment, as SQS's batch calls allow.

Who comes while no call is on its way makes one: at once if there has been none lately, so that nobody who is
alone waits, and else after a few milliseconds, for whoever ends just then. Who comes meanwhile waits; when
that call has answered, the first of them makes the next call for all of them.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")

# A call that has not answered by then may hang until its client gives it up: nobody waits behind it longer.
PATIENCE_S = 1.0
# Short jobs that run side by side end so closely that this wait makes one call of two or three, at a
# millisecond of CPU time each. No message comes back for it.
APART_S = 0.005
# A call within this time says that there are others.
LATELY_S = 0.1


class _Wish(Generic[ItemT]):
    """One thread's item, and what became of it."""

    def __init__(self, item: ItemT) -> None:
        self.item = item
        self.called_upon = threading.Event()
        """Set when it is answered, or when its thread is to make the next call."""
        self.leads = False
        self.fault: Exception | None = None


class Gathering(Generic[ItemT]):
    """Safe to use from many threads.

    carry_out makes one call for up to at_most items, and answers for each, in their order, with None or with
    what is to be raised.
    """

    def __init__(
        self, carry_out: Callable[[Sequence[ItemT]], Sequence[Exception | None]], at_most: int
    ) -> None:
        self._carry_out = carry_out
        self._at_most = at_most
        self._lock = threading.Lock()
        self._waiting: deque[_Wish[ItemT]] = deque()
        self._calling = False
        self._called_at = -math.inf

    def do(self, item: ItemT) -> None:
        """Return when a call with item in it has succeeded for item; raise what was said of it otherwise.

        Blocks for one call of carry_out, and for the rest of one before it or PATIENCE_S.
        """
        wish = _Wish(item)
        if self._begins(wish) or self._is_called_upon(wish):
            self._lead(wish)
        if wish.fault is not None:
            raise wish.fault

    def _begins(self, wish: _Wish[ItemT]) -> bool:
        with self._lock:
            if self._calling:
                self._waiting.append(wish)
            else:
                self._calling = wish.leads = True
            return wish.leads

    def _is_called_upon(self, wish: _Wish[ItemT]) -> bool:
        """Wait until wish is answered (False), or until its thread is to make a call (True)."""
        if not wish.called_upon.wait(PATIENCE_S):
            with self._lock:
                if wish in self._waiting:
                    self._waiting.remove(wish)
                    return True
            wish.called_upon.wait()
        return wish.leads

    def _lead(self, wish: _Wish[ItemT]) -> None:
        lately = time.monotonic() - self._called_at < LATELY_S
        if lately and len(self._waiting) < self._at_most - 1:
            time.sleep(APART_S)
        with self._lock:
            self._called_at = time.monotonic()
            others = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._at_most - 1))]
        try:
            self._call([wish, *others])
        finally:
            if wish.leads:
                self._hand_over()
            for each in others:
                each.called_upon.set()

    def _call(self, wishes: Sequence[_Wish[ItemT]]) -> None:
        faults: Sequence[Exception | None]
        try:
            faults = self._carry_out([each.item for each in wishes])
        except Exception as error:  # noqa: BLE001 whoever waits must hear of an error of ours, too
            faults = [error] * len(wishes)
        for each, fault in zip(wishes, faults, strict=True):
            each.fault = fault

    def _hand_over(self) -> None:
        with self._lock:
            self._calling = bool(self._waiting)
            if self._waiting:
                successor = self._waiting.popleft()
                successor.leads = True
                successor.called_upon.set()
