"""The calls to CloudWatch Logs: one client for all streams, whether it answers, how a batch gets there."""

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from observerd.core.backoff import backoff_s

log = logging.getLogger(__name__)

# Between two tries of one batch.
RETRY_S, RETRY_CAP_S = 0.2, 2.0
# PutLogEvents refuses what is more than 2 hours ahead or older than the retention (a day at least), and used
# to refuse a batch that spans more than 24 hours (API Reference). A stepped clock must not bring us there.
AHEAD_MS, BEHIND_MS = 110 * 60_000, 22 * 3_600_000

_MISSING = "ResourceNotFoundException"
# CloudWatch Logs is there, but will never take this batch.
_REFUSALS = frozenset({"InvalidParameterException", "ParamValidationError"})
# The next try would get the same answer.
_HOPELESS = _REFUSALS | {_MISSING, "AccessDeniedException"}

Event = dict[str, Any]
"""As in PutLogEvents: timestamp in Unix milliseconds, message."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things may take, in seconds, and how much of a run may go to the journal."""

    send_interval_s: float = 2.0
    patience_s: float = 30.0
    """A batch is tried for so long before CloudWatch Logs counts as down."""
    probe_every_s: float = 30.0
    """While it is down, one batch is risked so often to find out."""
    journal_lines: int = 1_000


class CloudWatchLogs:
    """One log group. Remembers whether CloudWatch Logs answers, so that an outage is waited for once."""

    def __init__(
        self,
        connect: Callable[[], Any],
        group: str,
        pace: Pace,
        flush_timeout_s: float,
        wall: Callable[[], float],
    ) -> None:
        self.group = group
        self.pace = pace
        self._flush_timeout_s = flush_timeout_s
        self.wall = wall
        self._connect = connect
        self._connecting = threading.Lock()
        self._client: Any = None
        self._lock = threading.Lock()
        self._down_since: float | None = None
        self._probe_at = 0.0
        self._local = threading.local()

    @contextmanager
    def call(self) -> Iterator[Any]:
        """The client, for calls of this thread."""
        self._local.calling = True
        try:
            with self._connecting:
                if self._client is None:
                    self._client = self._connect()
            yield self._client
        finally:
            self._local.calling = False

    def is_calling(self) -> bool:
        """Whether this thread is within call()."""
        return getattr(self._local, "calling", False)

    def is_down(self) -> bool:
        return self._down_since is not None

    def may_try(self) -> bool:
        """Whether a batch may be risked: in an outage, one in every probe_every_s."""
        now = time.monotonic()
        with self._lock:
            if self.is_down() and now < self._probe_at:
                return False
            self._probe_at = now + self.pace.probe_every_s
            return True

    def answered(self) -> None:
        with self._lock:
            since, self._down_since = self._down_since, None
        if since is not None:
            outage_s = time.monotonic() - since
            log.info("CloudWatch Logs answers again", extra={"log_group": self.group, "outage_s": outage_s})

    def failed(self, fault: str) -> None:
        now = time.monotonic()
        with self._lock:
            if self.is_down():
                return
            self._down_since, self._probe_at = now, now + self.pace.probe_every_s
        facts = {"log_group": self.group, "fault": fault}
        log.warning("CloudWatch Logs does not answer, output goes to the journal", extra=facts)

    def kept_waiting(self, waited_s: float) -> None:
        """A stream was closed without an answer. One that was closed in a hurry proves nothing."""
        if waited_s >= self._flush_timeout_s:
            self.failed(f"no answer within {waited_s:g} s")


class Courier:
    """Brings the batches of one stream to CloudWatch Logs. Lives on the thread that calls deliver().

    An insistent one stays with a batch until it is taken; once hurry is set, it tries once more at most.
    """

    def __init__(
        self, stream: str, logs: CloudWatchLogs, abandoned: threading.Event, *, insistent: bool = False
    ) -> None:
        self._insistent = insistent
        self.hurry = threading.Event()
        self._stream = stream
        self._logs = logs
        self._abandoned = abandoned
        self._created = False
        self._undelivered = 0
        self.answered_at = -math.inf
        """When CloudWatch Logs last took something, in time.monotonic()."""

    def deliver(self, events: list[Event]) -> slice:
        """Which of the events CloudWatch Logs took. Tries for as long as it seems worth it; never raises."""
        # Read before the try: what is hurried while a try fails has its last one still before it.
        hurried = self.hurry.is_set()
        taken = self._attempt(events)
        while taken is None and self._insistent and not hurried:
            hurried = self.hurry.wait(min(self._logs.pace.probe_every_s, threading.TIMEOUT_MAX))
            taken = self._attempt(events)
        if taken is None:
            taken = slice(0, 0)
        self._undelivered += len(events) - len(events[taken])
        return taken

    def _attempt(self, events: list[Event]) -> slice | None:
        """Which of the events were taken; None while CloudWatch Logs does not answer."""
        # The last try of an insistent one is worth a call even in an outage.
        if not ((self._insistent and self.hurry.is_set()) or self._logs.may_try()):
            return None
        try:
            taken = self._insist(events)
        except Exception as error:  # noqa: BLE001 whatever a client raises, these lines have another way
            return self._learn(error)
        self.answered_at = time.monotonic()
        self._undelivered = 0
        self._logs.answered()
        return taken

    def _learn(self, error: Exception) -> slice | None:
        if _code(error) in _REFUSALS:
            self._logs.answered()
            return slice(0, 0)
        if not self._abandoned.is_set():  # Given up before its time, a batch proves nothing.
            self._logs.failed(f"{type(error).__name__}: {error}")
        return None

    def _insist(self, events: list[Event]) -> slice:
        give_up_at = time.monotonic() + self._logs.pace.patience_s
        failures = 0
        while True:
            try:
                return self._send(events)
            except Exception as error:
                failures += 1
                if self._is_hopeless(_code(error)) or not self._pause(failures, give_up_at):
                    raise

    def _is_hopeless(self, code: str) -> bool:
        if code == _MISSING and self._created:
            self._created = False  # Somebody deleted the stream under us.
            return False
        return code in _HOPELESS

    def _pause(self, failures: int, give_up_at: float) -> bool:
        """Wait for the next try. Returns whether there should be one."""
        delay_s = backoff_s(RETRY_S, failures, RETRY_CAP_S, random.random())  # noqa: S311 jitter
        if self._logs.is_down() or time.monotonic() + delay_s > give_up_at:
            return False
        return not self._abandoned.wait(delay_s)

    def _send(self, events: list[Event]) -> slice:
        names = {"logGroupName": self._logs.group, "logStreamName": self._stream}
        with self._logs.call() as client:
            if not self._created:
                _create_stream(client, names)
                self._created = True
            notice = self._notice(events[0])
            batch = [*notice, *events]
            _keep_in_time(batch, self._logs.wall())
            answer = client.put_log_events(**names, logEvents=batch)
        refused = answer.get("rejectedLogEventsInfo", {})
        first = max(refused.get("tooOldLogEventEndIndex", 0), refused.get("expiredLogEventEndIndex", 0))
        last = refused.get("tooNewLogEventStartIndex", len(batch))
        return slice(max(0, first - len(notice)), last - len(notice))

    def _notice(self, before: Event) -> list[Event]:
        if not self._undelivered:
            return []
        text = f"[observerd] lines missing here: {self._undelivered} (in the machine's journal, or dropped)"
        return [{"timestamp": before["timestamp"], "message": text}]


def _create_stream(client: Any, names: dict[str, str]) -> None:
    try:
        client.create_log_stream(**names)
    except Exception as error:
        if _code(error) != "ResourceAlreadyExistsException":
            raise


def _keep_in_time(events: list[Event], now: float) -> None:
    """Move times that CloudWatch Logs would refuse to the nearest that it takes; the order stays."""
    earliest, latest = int(now * 1000) - BEHIND_MS, int(now * 1000) + AHEAD_MS
    for event in events:
        event["timestamp"] = min(max(event["timestamp"], earliest), latest)


def _code(error: Exception) -> str:
    """AWS's code of an error, or its class where no answer came."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", type(error).__name__))
