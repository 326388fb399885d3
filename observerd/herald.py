"""Tells people and monitors what becomes of runs, on threads of its own: no run waits for it."""

import contextlib
import json
import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from observerd.core.events import Began, Event, Finished, Order, Outcome, Reloaded
from observerd.core.job import Job
from observerd.notices import (
    Notice,
    Ping,
    Scene,
    is_final_failure,
    of_failure,
    of_recovery,
    ping_of_end,
    ping_of_start,
)
from observerd.record import STREAM_PREFIX

log = logging.getLogger(__name__)

T = TypeVar("T")

# More than a day of a busy worker; then a monitor that hangs costs notices, and no memory.
WAITING_AT_MOST = 1_000
# A weekly job's last run, and a day for it.
LOOK_BACK_S = 8 * 86_400.0
# Of the record. A job with more events than that in eight days has other alarms.
PAGES_AT_MOST = 100
PING_TIMEOUT = urllib3.Timeout(connect=5.0, read=10.0)
PING_RETRIES = urllib3.Retry(
    total=3, backoff_factor=1.0, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None, redirect=3
)
PING_BODY_BYTES = 10_000


class Errands:
    """Runs what it is given one after the other on a thread of its own, begun with the first.

    lost is told of each that came to nothing: "failed" or "dropped".
    """

    def __init__(self, name: str, lost: Callable[[str], None] = lambda _: None) -> None:
        self._name = name
        self._lost = lost
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._done = threading.Condition()
        self._left = 0

    def add(self, errand: Callable[[], None]) -> None:
        """Waits for nothing: what there is no room for is dropped, and said."""
        with self._done:
            if self._left >= WAITING_AT_MOST:
                log.warning("notice dropped: too many wait", extra={"by": self._name})
                self._lost("dropped")
                return
            self._left += 1
        self._waiting.put(errand)
        if self._thread is None:
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            # None to be had: the next errand tries again, and this one waits.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread = thread

    def finish(self, timeout_s: float) -> int:
        """How many are left when all are done, or the time is up."""
        with self._done:
            self._done.wait_for(lambda: not self._left, timeout_s)
            return self._left

    def _work(self) -> None:
        while True:
            errand = self._waiting.get()
            try:
                errand()
            except Exception as error:  # noqa: BLE001 whatever it is, the next errand is another
                self._lost("failed")
                log.warning(
                    "notice not sent", extra={"by": self._name, "fault": f"{type(error).__name__}: {error}"}
                )
            with self._done:
                self._left -= 1
                self._done.notify_all()


class Herald:
    """Told of every event, on the main thread. Waits for nothing.

    publish sends a notice (None: nobody is told); ping calls a monitor. has_failed says whether a job's last
    run, but for that of a message, was a final failure. They may block and raise. count gets a kind of notice
    and what became of it.
    """

    def __init__(
        self,
        jobs: Mapping[str, Job],
        scene: Scene,
        publish: Callable[[Notice], None] | None,
        ping: Callable[[Ping], None],
        has_failed: Callable[[str, str], bool],
        count: Callable[[str, str], None] = lambda _kind, _result: None,
    ) -> None:
        self._jobs = jobs
        self._scene = scene
        self._publish = publish
        self._ping = ping
        self._has_failed = has_failed
        self._count = count
        self._notices = Errands("notices", lambda result: count("notice", result))
        # By the monitors' hosts: one that hangs keeps its own word back, and no other's.
        self._pings: defaultdict[str, Errands] = defaultdict(
            lambda: Errands("pings", lambda result: count("ping", result))
        )
        # Whether each job's last run here was a final failure.
        self._failed: dict[str, bool] = {}

    def event(self, event: Event, _now: float) -> None:
        match event:
            case Began():
                self._ping_for(event.job, lambda url: ping_of_start(url, event))
            case Finished():
                self._ping_for(event.report.job, lambda url: ping_of_end(url, event))
                well = event.outcome is Outcome.SUCCEEDED and event.report.job
                if self._publish is not None and (well or is_final_failure(event)):
                    publish = self._publish
                    self._notices.add(lambda: self._tell(event, publish))
            case Reloaded(jobs):
                self._jobs = jobs

    def order(self, order: Order) -> None:
        """Orders are no news."""

    def close(self, timeout_s: float) -> None:
        """Have what waits sent, within that time."""
        deadline = time.monotonic() + timeout_s
        for errands in (self._notices, *self._pings.values()):
            if left := errands.finish(max(0.0, deadline - time.monotonic())):
                log.warning("notices not sent in time", extra={"left": left})

    def _ping_for(self, name: str | None, ping_of: Callable[[str], Ping]) -> None:
        job = self._jobs.get(name or "")
        if job is not None and (url := job.ping_url):
            self._pings[urlsplit(url).netloc].add(lambda: self._send("ping", self._ping, ping_of(url)))

    def _tell(self, event: Finished, publish: Callable[[Notice], None]) -> None:
        """On the notices' thread, in order."""
        job, failed = event.report.job or "", is_final_failure(event)
        before, self._failed[job] = self._failed.get(job), failed
        if failed:
            self._send("notice", publish, of_failure(event, self._scene))
        elif before or (before is None and self._has_failed(job, event.message.id)):
            self._send("notice", publish, of_recovery(event, self._scene))

    def _send(self, kind: str, send: Callable[[T], None], what: T) -> None:
        send(what)
        self._count(kind, "sent")


# ---- hands


class Topic:
    """An SNS topic. client makes a boto3 client, once, on the thread that publishes."""

    def __init__(self, client: Callable[[], Any], arn: str) -> None:
        self._make_client = client
        self._client: Any = None
        self._arn = arn

    def publish(self, notice: Notice) -> None:
        if self._client is None:
            self._client = self._make_client()
        self._client.publish(
            TopicArn=self._arn,
            Subject=notice.subject,
            Message=notice.text,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in notice.attributes.items()
            },
        )


class Monitor:
    """Whatever listens at the ping URLs."""

    def __init__(self) -> None:
        self._pool = urllib3.PoolManager(timeout=PING_TIMEOUT, retries=PING_RETRIES)

    def ping(self, ping: Ping) -> None:
        """Raises OSError where nobody answered, or refused. Its text has the host alone: the rest of the
        address is what proves to a monitor that it is us."""
        body, host = ping.body.encode()[-PING_BODY_BYTES:], urlsplit(ping.url).hostname
        try:
            answer = self._pool.request("POST", ping.url, body=body)
        except urllib3.exceptions.HTTPError as error:
            why = getattr(error, "reason", None) or error
            raise OSError(f"the monitor at {host} does not answer: {type(why).__name__}") from None
        if answer.status >= 400:  # noqa: PLR2004 HTTP's refusals
            raise OSError(f"the monitor at {host} answers {answer.status}")


class Memory:
    """The record of the group's workers: what became of a job before this worker came."""

    def __init__(
        self, client: Callable[[], Any], log_group: str | None, wall: Callable[[], float] = time.time
    ) -> None:
        self._wall = wall
        self._make_client = client
        self._log_group = log_group

    def has_failed(self, job: str, message_id: str) -> bool:
        """Whether the job's last run, but for that of the message, was a final failure.

        False where the record cannot be read: then nobody is told of a recovery, and the log says why.
        """
        if self._log_group is None:
            return False
        last: tuple[float, bool] = (0.0, False)
        try:
            for event in self._events(job):
                if event.get("message_id") != message_id:
                    last = max(last, _end(event))
        except (ClientError, BotoCoreError) as error:
            log.warning("not known whether this is a recovery", extra={"job": job, "fault": str(error)})
            return False
        return last[1]

    def _events(self, job: str) -> Any:
        client, request = self._make_client(), self._request(job)
        for _ in range(PAGES_AT_MOST):
            answer = client.filter_log_events(**request)
            for each in answer.get("events", ()):
                try:
                    event = json.loads(each["message"])
                except ValueError:
                    continue
                if isinstance(event, dict) and event.get("job") == job:
                    yield event | {"_at": each["timestamp"]}
            if not (token := answer.get("nextToken")):
                return
            request["nextToken"] = token

    def _request(self, job: str) -> dict[str, Any]:
        return {
            "logGroupName": self._log_group,
            "logStreamNamePrefix": STREAM_PREFIX,
            "filterPattern": f'{{ ($.job = "{job}") && (($.event = "ended") || ($.event = "settled")) }}',
            "startTime": int((self._wall() - LOOK_BACK_S) * 1000),
        }


def _end(event: Mapping[str, Any]) -> tuple[float, bool]:
    """When a run ended, and whether badly for good; what is neither that nor a success is older than all."""
    if str(event.get("settled", "")).startswith("dead-lettered"):
        return event["_at"], True
    ends = {Outcome.SUCCEEDED.value: False, Outcome.MISSED.value: True}
    outcome = event.get("outcome")
    return (event["_at"], ends[outcome]) if outcome in ends else (0.0, False)
