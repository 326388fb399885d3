"""The logs of runs, and the daemon's own: one stream each in CloudWatch Logs, or the journal in its place."""

import threading
import time
from collections.abc import Callable
from math import inf
from typing import Any

from observerd.cloudwatch_logs import CloudWatchLogs, Pace
from observerd.core.lines import Lines, Tail
from observerd.logstream import Buffer, Delivery, Journal, Stream

__all__ = ["Delivery", "JobLog", "JobLogs", "Pace"]

MIB = 1024 * 1024
# In an outage a flood's lines may wait in memory, and no more than 32 MB in all: requests under way and the
# allocator's holes take as much again as the lines themselves (30 MB measured with eight floods at once).
TOTAL_BYTES = 16 * MIB
OWN_BYTES = 2 * MIB
DEFAULT_PACE = Pace()


class JobLogs:
    """Opens the streams of one log group.

    client makes a boto3 client for CloudWatch Logs. It is called when there is something to send, on no
    caller's thread. Without a group every line goes to the journal, on the thread that writes it; with one,
    what CloudWatch Logs does not take does, on another. journal gets "stream: line".
    """

    def __init__(
        self,
        client: Callable[[], Any],
        group: str | None,
        *,
        journal: Callable[[str], None],
        flush_timeout_s: float = 5.0,
        buffer_bytes: int = 8 * MIB,
        total_bytes: int = TOTAL_BYTES,
        pace: Pace = DEFAULT_PACE,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._logs = CloudWatchLogs(client, group, pace, flush_timeout_s, wall) if group else None
        self._buffer = Buffer(buffer_bytes, total_bytes)
        # What the daemon says of itself must not give way to the output of its jobs.
        self._own_buffer = Buffer(OWN_BYTES, OWN_BYTES)
        self._record_buffer = Buffer(OWN_BYTES, OWN_BYTES)
        self._journal = journal
        self._flush_timeout_s = flush_timeout_s
        self._lock = threading.Lock()
        self._open: set[JobLog] = set()

    def open(self, stream: str, *, journalled: bool = False) -> "JobLog":
        """A log for the lines of one stream. journalled: the journal has them anyway, and gets none here."""
        return self._opened(self._sink(stream, journalled=journalled))

    def open_record(self, stream: str) -> "JobLog":
        """A log for lines that CloudWatch counts, and that a journal is no place for.

        An outage is waited for, within a buffer of their own. What is left at the end goes to the journal.
        """
        if self._logs is None:
            return self._opened(Journal(_nowhere, stream, inf))
        journal = Journal(self._journal, stream, self._logs.pace.journal_lines)
        return self._opened(Stream(stream, self._logs, self._record_buffer, journal, insistent=True))

    def _opened(self, sink: Stream | Journal) -> "JobLog":
        opened = JobLog(sink, self._flush_timeout_s, self._forget)
        with self._lock:
            self._open.add(opened)
        return opened

    @property
    def buffered_bytes(self) -> int:
        """What waits to be sent, in memory."""
        return self._buffer.used

    @property
    def is_down(self) -> bool:
        """Whether CloudWatch Logs does not take what it is sent."""
        return self._logs is not None and self._logs.is_down()

    def close(self, timeout_s: float) -> None:
        """Flush every open stream, all of them within timeout_s."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            left = list(self._open)
        for each in left:
            each.finish()  # All flush at once, so that they share the time instead of queueing for it.
        for each in left:
            each.close(max(0.0, deadline - time.monotonic()))

    def _sink(self, stream: str, *, journalled: bool) -> Stream | Journal:
        if self._logs is None:
            return Journal(_nowhere if journalled else self._journal, stream, inf)
        limit = inf if journalled else self._logs.pace.journal_lines
        journal = Journal(_nowhere if journalled else self._journal, stream, limit)
        return Stream(stream, self._logs, self._own_buffer if journalled else self._buffer, journal)

    def _forget(self, closed: "JobLog") -> None:
        with self._lock:
            self._open.discard(closed)


class JobLog:
    """One stream. Every method may be called from any thread, and none raises."""

    def __init__(
        self, sink: Stream | Journal, flush_timeout_s: float, forget: Callable[["JobLog"], None]
    ) -> None:
        self._sink = sink
        self._flush_timeout_s = flush_timeout_s
        self._forget = forget
        self._lines = Lines()
        self._tail = Tail()
        # Re-entrant: a destructor that logs may come back into line() on the thread that is in it.
        self._lock = threading.RLock()
        self._finished = False

    def write(self, chunk: bytes) -> None:
        """Take raw output as it comes. Waits for nothing."""
        with self._lock:
            self._tail.take(chunk)
            self._pass_on(self._lines.take(chunk))

    def line(self, text: str) -> None:
        """Take one line as a whole, after what was left open before it."""
        whole = text.encode("utf-8", "replace")
        with self._lock:
            self._tail.take(whole + b"\n")
            self._pass_on([*self._lines.end(), whole])

    def tail(self) -> str:
        """The last lines, as evidence: safe to read, 20 of them and 4 KiB at most. After close() too."""
        with self._lock:
            return self._tail.text()

    def finish(self) -> None:
        """Take no more, and have what is there sent. Waits for nothing."""
        with self._lock:
            if not self._finished:
                self._pass_on(self._lines.end())
                self._finished = True
                self._sink.finish()

    def close(self, timeout_s: float | None = None) -> Delivery:
        """Flush within timeout_s (None: the flush timeout) and let go of everything. What became of it."""
        self.finish()
        delivery = self._sink.settle(self._flush_timeout_s if timeout_s is None else timeout_s)
        self._forget(self)
        return delivery

    def _pass_on(self, blocks: list[bytes]) -> None:
        if not self._finished:
            for block in blocks:
                self._sink.take(block)


def _nowhere(_line: str) -> None:
    """For lines that the journal has anyway."""
