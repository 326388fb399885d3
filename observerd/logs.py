"""How observerd's own log lines look: a fixed phrase and the facts, as key=value or as JSON.

They are written on a thread of their own. What reads standard error may hang, as journald does on a full or
broken disk, and the main thread, held up by a line, would let the leases of running jobs end.
"""

import json
import logging
import os
import queue
import re
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from observerd.core.lines import one_line

# Some megabytes at the most; a daemon that works hard says a hundred lines a second.
WAITING_LINES = 10_000
AT_ONCE = 100
# What is still waiting at the end gets so long. systemd's stop is not to be held up by the log.
FLUSH_S = 2.0

# What a LogRecord has of its own; everything else was given in extra.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

# A value that holds one of these, or nothing, is quoted; so is what would act on a terminal.
_QUOTED = re.compile(r'[ "=]')

# syslog(3) priorities, which journald reads from the head of a line.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


def facts_of(record: logging.LogRecord) -> dict[str, Any]:
    """What was given in extra, without what is not known."""
    return {key: value for key, value in vars(record).items() if key not in _OWN and value is not None}


class TextFormatter(logging.Formatter):
    """For people: time, level, phrase, key=value ...; for the journal, which keeps the time, a priority."""

    def __init__(self, *, priorities: bool) -> None:
        super().__init__()
        self._priorities = priorities

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever was logged; a traceback follows on lines of its own."""
        facts = "".join(f" {key}={_shown(value)}" for key, value in facts_of(record).items())
        line = f"{one_line(record.getMessage())}{facts}"
        if record.exc_info:
            line += "\n" + _shown_lines(self.formatException(record.exc_info))
        if not self._priorities:
            return f"{_instant(record)} {record.levelname.lower():7} {line}"
        mark = f"<{_priority(record.levelno)}>"
        return mark + line.replace("\n", f"\n{mark}")


class JsonFormatter(logging.Formatter):
    """For machines: time, level, message, and the facts beside them."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _instant(record), "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        facts = {**line, **facts_of(record)}
        text = json.dumps(facts, default=str, ensure_ascii=False)
        # JSON's own escapes for what would act on the terminal of whoever reads it.
        return text if text.isprintable() else json.dumps(facts, default=str)


class LineHandler(logging.Handler):
    """Gives every record, as one JSON line, to a function: for the daemon's own CloudWatch stream."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self._write(self.format(record))


class Refused(OSError):
    """There was no room, or nobody to read."""

    def __init__(self, lines: int) -> None:
        super().__init__(f"{lines} lines not written, or not whole")
        self.lines = lines


class Output:
    """Standard output or error for whole lines, past Python's buffer.

    That would keep a refused line and try it again at the exit, whose status is 120 if it is refused again
    (Py_FinalizeEx): to systemd, a failure to recover from.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """None: sys.stdout where the descriptor is closed."""
        buffer = getattr(stream, "buffer", None)
        self._raw = getattr(buffer, "raw", buffer)
        self._lock = threading.Lock()
        self._torn = False

    def write(self, text: str) -> None:
        """Write whole lines, each with its end. From any thread. Raises Refused."""
        with self._lock:
            # Half of a line must not be taken for the beginning of the next.
            begin = b"\n" if self._torn else b""
            data = begin + text.encode("utf-8", "backslashreplace")
            done = self._written(data)
            if done:
                self._torn = not data.endswith(b"\n", 0, done)
            if done < len(data):
                raise Refused(data.count(b"\n", max(done, len(begin))))

    def _written(self, data: bytes) -> int:
        done = 0
        # A disk that is nearly full takes less than it is given.
        with suppress(OSError, ValueError):
            while self._raw and done < len(data) and (written := self._raw.write(memoryview(data)[done:])):
                done += written
        return done


class Writer(logging.Handler):
    """Writes every record, in order, and keeps no caller waiting for it.

    Lines that find WAITING_LINES before them are lost, and so are those that a full disk refuses; how many is
    written in their place, as soon as something can be.
    """

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output
        self._lines: queue.SimpleQueue[str | threading.Event | None] = queue.SimpleQueue()
        self._lost = 0
        threading.Thread(target=self._work, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        # Under the lock that logging takes for emit().
        if self._lines.qsize() < WAITING_LINES:
            self._lines.put(self.format(record))
        else:
            self._lost += 1

    def flush(self) -> None:
        """Wait for what has been logged to be written, FLUSH_S at the most. Called at the exit."""
        written = threading.Event()
        self._lines.put(written)
        written.wait(FLUSH_S)

    def close(self) -> None:
        """Write what is waiting, and nothing after it. Waits for nothing."""
        self._lines.put(None)
        super().close()

    def _work(self) -> None:
        told = refused = 0
        waiting: list[str | threading.Event | None] = []
        while None not in waiting:
            # Many at once: each write costs a job that ends just then its turn on the interpreter.
            waiting = [self._lines.get()]
            waiting += [self._lines.get_nowait() for _ in range(min(self._lines.qsize(), AT_ONCE))]
            text = "".join(f"{each}\n" for each in waiting if isinstance(each, str))
            if refused and self._refused(self._lost_here(refused)):
                refused += text.count("\n")
            else:
                refused = self._refused(text)
            for each in waiting:
                if isinstance(each, threading.Event):
                    each.set()
            # Counted on the threads that log, and never back: logging holds this handler's lock at the exit.
            if (lost := self._lost) > told:
                self._refused(self._lost_here(lost - told))
                told = lost

    def _lost_here(self, lines: int) -> str:
        facts = {"msg": "log lines lost here", "levelno": logging.WARNING, "levelname": "WARNING"}
        return self.format(logging.makeLogRecord({**facts, "lines": lines})) + "\n"

    def _refused(self, text: str) -> int:
        """How many lines of it could not be written."""
        try:
            self._output.write(text)
        except Refused as fault:
            return fault.lines
        return 0


def set_up(level: str, form: str, environ: Mapping[str, str]) -> None:
    """Log to standard error. form is "text", "json" or "auto": text, with priorities under journald.

    It starts a thread: to be called after every fork.
    """
    # What no line shows is not looked for (Python's Logging HOWTO, Optimization).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 as the HOWTO has it
    handler = Writer(Output(sys.stderr))
    priorities = form == "auto" and _is_journal(environ)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter(priorities=priorities))
    root = logging.getLogger()
    before, root.handlers[:] = list(root.handlers), [handler]
    for each in before:
        each.close()
    root.setLevel(logging.WARNING)  # Libraries speak when something is wrong.
    logging.getLogger("observerd").setLevel(level.upper())


def _is_journal(environ: Mapping[str, str]) -> bool:
    """Whether standard error is the journal's stream (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # Closed, or never open.
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _priority(level: int) -> int:
    return next((priority for least, priority in _PRIORITIES if level >= least), 7)


def _instant(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def _shown_lines(text: str) -> str:
    return "\n".join(map(one_line, text.split("\n")))


def _shown(value: object) -> str:
    text = f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    if text and text.isprintable() and not _QUOTED.search(text):
        return text
    return one_line(json.dumps(text, ensure_ascii=False))
