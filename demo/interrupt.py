"""Ctrl-C and its like, heeded at once where that is safe and remembered where it is not."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """Somebody wants us to end. A BaseException: nothing that handles errors may hold it up."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class Interrupt:
    """Raises Interrupted once, inside `heeded()` only: what starts or ends a process is never cut short."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._is_heeded = False

    def listen(self) -> None:
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # As nohup leaves it.
            signal.signal(signal.SIGHUP, self._on_signal)

    @contextmanager
    def heeded(self) -> Iterator[None]:
        self._is_heeded = True
        try:
            self.check()
            yield
            self.check()
        finally:
            self._is_heeded = False

    def check(self) -> None:
        """Raises Interrupted if a signal has come, also where its handler could not (Python drops what a
        handler raises inside a finaliser)."""
        if self._number is not None:
            raise Interrupted(self._number)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        is_first, self._number = self._number is None, self._number or number
        if is_first and self._is_heeded:
            raise Interrupted(number)
