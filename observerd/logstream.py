"""One log stream: a bounded buffer, watchtower behind it, and the journal for what cannot be sent.

Output is cut into lines by its writer and counted against the buffer; watchtower's handler batches the lines
on a thread of its own and calls put_log_events, on what it takes for a boto3 client: that brings a batch to
CloudWatch Logs or else to the journal. Every line ends in one of three counts: sent, in the journal, dropped.
A line may arrive twice where an answer was lost on its way.

watchtower 3.4 left to itself loses lines while it creates a stream, has no bound, keeps a thread for each
stream, tells of losses by warnings only and closes at its leisure. So every stream has a handler of its own
that ends with it, is created before its first batch, and the handler never hears of a failure.
"""

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty
from typing import Any, NamedTuple

import watchtower

from observerd.cloudwatch_logs import CloudWatchLogs, Courier, Event
from observerd.core.lines import lines_in, output_lines, text_lines

# Half of what PutLogEvents takes: with ten streams under way, their requests are memory too.
BATCH_BYTES = 512 * 1024
# Beside its text, a line on its way is a dict, two numbers and a place in two queues: 225 bytes measured.
LINE_BYTES = 240


class Delivery(NamedTuple):
    """What became of a stream's lines. Those neither dropped nor in the journal are in CloudWatch Logs."""

    lines: int
    dropped: int
    to_journal: int


class Journal:
    """The journal for one stream's lines, up to a limit. Writes "stream: line"."""

    def __init__(self, write: Callable[[str], None], stream: str, limit: float) -> None:
        self._write = write
        self._stream = stream
        self._limit = limit
        self._lock = threading.Lock()
        self.lines = 0
        self.dropped = 0

    def take(self, block: bytes) -> None:
        self.write(self.admit(text_lines(block)))

    def finish(self) -> None:
        """Nothing is held back here."""

    def settle(self, _timeout_s: float) -> Delivery:
        return Delivery(self.lines + self.dropped, self.dropped, self.lines)

    def admit(self, texts: list[str]) -> list[str]:
        """Those of texts that there is room for, counted as written; the others are counted as dropped."""
        with self._lock:
            admitted = texts[: int(min(len(texts), self._limit - self.lines))]
            self.lines += len(admitted)
            self.dropped += len(texts) - len(admitted)
        return admitted

    def write(self, admitted: list[str]) -> None:
        """Blocks for as long as the journal does: not to be called under a lock that a job needs."""
        for text in admitted:
            try:
                self._write(f"{self._stream}: {text}")
            except (OSError, ValueError):  # Broken, closed, or without a character of the line.
                with self._lock:
                    self.lines -= 1
                    self.dropped += 1


class Buffer:
    """How many bytes of memory one stream and all streams together may hold."""

    def __init__(self, stream_bytes: int, total_bytes: int) -> None:
        self._stream_bytes = stream_bytes
        self._total_bytes = total_bytes
        self._lock = threading.Lock()
        self.used = 0

    def take(self, held: int, wanted: int) -> bool:
        """Whether a stream that holds so many bytes may hold so many more; if so, they are its own."""
        with self._lock:
            fits = held + wanted <= self._stream_bytes and self.used + wanted <= self._total_bytes
            self.used += wanted if fits else 0
            return fits

    def has_room(self, held: int) -> bool:
        """Whether it is worth starting again: not for one line now and one later, each with its notice."""
        return held <= self._stream_bytes // 2 and self.used <= self._total_bytes * 7 // 8

    def adjust(self, change: int) -> None:
        with self._lock:
            self.used += change


class Stream:
    """Takes blocks of lines from any thread, without waiting. finish() comes last, then settle()."""

    def __init__(
        self, name: str, logs: CloudWatchLogs, buffer: Buffer, journal: Journal, *, insistent: bool = False
    ) -> None:
        self._name = name
        self._logs = logs
        self._buffer = buffer
        self._journal = journal
        # An insistent one is the record's, whose lines are metrics.
        self._events = text_lines if insistent else output_lines
        self._abandoned = threading.Event()
        self._courier = Courier(name, logs, self._abandoned, insistent=insistent)
        self._changed = threading.Condition()
        self._handler: _Handler | None = None
        # Handed to watchtower and not known to be anywhere else yet, in order.
        self._waiting: deque[str] = deque()
        self._held_bytes = 0
        self._lines = 0
        self._dropped = 0
        self._gap = 0
        self._stamp = 0.0
        self._batched_at = 0.0

    # ---- on the threads that write

    def take(self, block: bytes) -> None:
        # What the AWS library logs of our own calls would be the next call's load, and so on for ever.
        if self._logs.is_calling():
            return
        with self._changed:
            # Lines keep their order by their time, so it never goes back, even where the clock does.
            self._stamp = max(self._stamp, self._logs.wall())
            if self._is_full():
                self._drop(lines_in(block))  # Counted, not decoded: a flood costs its job next to nothing.
            else:
                for text in self._events(block):
                    self._admit(text)
            self._hurry_if_held()

    def finish(self) -> None:
        with self._changed:
            self._mark_gap()
            self._courier.hurry.set()
            if self._handler is not None:
                self._handler.close()

    def settle(self, timeout_s: float) -> Delivery:
        """What became of every line, after timeout_s at most. Nothing of the stream is held any longer.

        Only a thread inside a call that hangs stays, for as long as the client's own timeouts let it.
        """
        began_at = time.monotonic()
        with self._changed:
            settled = self._changed.wait_for(lambda: not self._waiting, timeout_s)
            left = [] if settled else self._abandon()
            handler, self._handler = self._handler, None
        self._journal.write(left)
        if settled and handler is not None:
            handler.join(max(0.0, began_at + timeout_s - time.monotonic()))
        # A stream that is merely slow has had some answer.
        if not settled and self._courier.answered_at < began_at:
            self._logs.kept_waiting(timeout_s)
        return Delivery(self._lines, self._dropped + self._journal.dropped, self._journal.lines)

    def _admit(self, text: str) -> None:
        if self._is_full() or not self._buffer.take(self._held_bytes, _bytes(text)):
            self._drop(1)
            return
        self._held_bytes += _bytes(text)
        self._lines += 1
        self._mark_gap()
        self._hand_over(text)

    def _is_full(self) -> bool:
        return self._gap > 0 and not self._buffer.has_room(self._held_bytes)

    def _drop(self, lines: int) -> None:
        self._gap += lines
        self._lines += lines
        self._dropped += lines

    def _mark_gap(self) -> None:
        if self._gap:
            notice = _Notice(f"[observerd] lines dropped here: {self._gap} (too many to send in time)")
            self._gap = 0
            self._held_bytes += _bytes(notice)
            self._buffer.adjust(_bytes(notice))
            self._hand_over(notice)

    def _hand_over(self, text: str) -> None:
        if self._handler is None:
            self._handler = _Handler(self._name, self._logs, self)
        if not self._waiting:
            self._batched_at = time.monotonic()
        self._waiting.append(text)
        self._handler.put(text, self._stamp)

    def _hurry_if_held(self) -> None:
        # watchtower waits for a moment of the wall clock: stepped back, it would hold a batch for as long as
        # the step. So it is told to go on, with the next line here, and by finish() at the latest.
        now = time.monotonic()
        if self._handler is not None and now - self._batched_at > 3 * self._logs.pace.send_interval_s:
            self._batched_at = now
            self._handler.flush()  # type: ignore[no-untyped-call]  # watchtower's own types are partial

    def _abandon(self) -> list[str]:
        self._abandoned.set()
        if self._handler is not None:
            self._handler.discard()
        left = self._release(len(self._waiting))
        self._changed.notify_all()
        return self._journal.admit(_of_the_job(left))

    def _release(self, count: int) -> list[str]:
        released = [self._waiting.popleft() for _ in range(count)]
        freed = sum(map(_bytes, released))
        self._held_bytes -= freed
        self._buffer.adjust(-freed)
        return released

    # ---- on watchtower's thread

    def put_log_events(self, *, logEvents: list[Event], **_: str) -> dict[str, str]:  # noqa: N803 as boto3 has it
        """Bring one batch to where it can go.

        Answers as if all were well: to anything else watchtower warns, and tries four times more at once.
        """
        self._batched_at = time.monotonic()
        if not self._abandoned.is_set():
            taken = self._courier.deliver(logEvents)
            self._journal.write(self._settle_batch(len(logEvents), taken))
        return {}

    def _settle_batch(self, count: int, taken: slice) -> list[str]:
        """What is to be written to the journal of a batch."""
        with self._changed:
            if self._abandoned.is_set():
                return []  # settle() has seen to these lines.
            batch = self._release(count)
            del batch[taken]
            self._changed.notify_all()
            return self._journal.admit(_of_the_job(batch))


class _Notice(str):
    """A line of ours in a job's stream. It is sent like the job's, and not counted."""

    __slots__ = ()


def _of_the_job(texts: list[str]) -> list[str]:
    return [text for text in texts if not isinstance(text, _Notice)]


def _bytes(text: str) -> int:
    return sys.getsizeof(text) + LINE_BYTES


class _Handler(watchtower.CloudWatchLogHandler):
    """watchtower's handler for one stream, without its waiting and warnings at the end."""

    FLUSH_TIMEOUT = 0  # flush() asks and does not wait, at the interpreter's exit too.

    def __init__(self, stream: str, logs: CloudWatchLogs, client: Stream) -> None:
        options: dict[str, Any] = {
            "log_group_name": logs.group,
            "log_stream_name": stream,
            "boto3_client": client,
            "send_interval": logs.pace.send_interval_s,
            "max_batch_size": BATCH_BYTES,
            "create_log_group": False,
            "create_log_stream": False,
        }
        super().__init__(**options)
        # One for all lines, because watchtower copies what it needs: half of the time a line takes.
        self._record = logging.makeLogRecord({"name": __name__})

    def put(self, text: str, at: float) -> None:
        """Not for two threads at once."""
        self._record.msg = text
        self._record.created = at
        self.handle(self._record)

    def _get_stream_name(self, message: logging.LogRecord) -> str:  # noqa: ARG002 watchtower's hook
        return self.log_stream_name  # A name, not a format string.

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 logging's name
        """No thread could be started. The line goes on waiting, and to the journal in the end."""

    def close(self) -> None:
        """Let the thread send what it has and end."""
        self.shutting_down = True
        for each in self.queues.values():
            each.put(self.END)
        logging.Handler.close(self)

    def discard(self) -> None:
        """Forget what the thread has not taken yet, and let it end."""
        for each in self.queues.values():
            with suppress(Empty):
                while True:
                    each.get_nowait()
        self.close()

    def join(self, timeout_s: float) -> None:
        for thread in self.threads:
            thread.join(timeout_s)
