"""The record of every run, from received to settled: one JSON line an event.

Each line has "at" (UTC), "event" and "worker"; those of a run also have its run_id, job, scheduled_time and
attempt. What comes before these (sent, woken), the producer writes into its own log group.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from observerd.core.events import (
    Began,
    Cause,
    DrainRequested,
    End,
    Event,
    Exit,
    Extended,
    Finished,
    GaveUp,
    GiveUpAnswer,
    Ignore,
    Message,
    Order,
    Received,
    SpotNoticed,
    TargetState,
    TargetStateChanged,
)
from observerd.core.request import instant_text
from observerd.emf import Emf

# The name of a stream of events begins so; no job's name begins with an underscore.
STREAM_PREFIX = "_events/"
# json.dumps makes one anew for every line.
_ENCODER = json.JSONEncoder(ensure_ascii=False)


@dataclass(slots=True)
class _Delivery:
    """A message that is here, and became a run."""

    run: dict[str, Any]
    started_at: float
    start_delay_s: float


class Record:
    """Told of every event and every order, on the main thread. Waits for nothing.

    write gets each line, without its end. worker names this daemon's life. wall tells Unix time.
    """

    def __init__(
        self, write: Callable[[str], None], worker: str, emf: Emf, wall: Callable[[], float] = time.time
    ) -> None:
        self._write = write
        self._worker = worker
        self._emf = emf
        self._wall = wall
        self._up_at = wall()
        # Until it is known which run a message asks for.
        self._received_at: dict[str, float] = {}
        self._runs: dict[str, _Delivery] = {}
        self._by_handle: dict[str, dict[str, Any]] = {}

    def up(
        self, booted_at: float, started_at: float, instance_id: str | None, launched_at: float | None
    ) -> None:
        """Say that this worker is up; when its machine booted and its daemon was started, in Unix time.

        And which instance it is, and when EC2 launched that; None where that is not known.
        """
        self._up_at = started_at
        times = {"launched_at": launched_at, "booted_at": booted_at}
        told = {name: _instant(at) for name, at in times.items() if at is not None}
        self._say("worker_up", started_at, instance_id=instance_id, **told)

    def event(self, event: Event, _now: float) -> None:
        match event:
            case Received(messages):
                at = self._wall()
                self._received_at.update((each.id, at) for each in messages)
            case Began():
                self._began(event)
            case Extended(kept=kept):
                for run in [self._by_handle[handle] for handle in kept if handle in self._by_handle]:
                    self._say("heartbeat", self._wall(), **run)
            case Finished():
                self._finished(event)
            case SpotNoticed(action, gone_in_s):
                self._say("spot_notice", self._wall(), action=action, gone_in_s=gone_in_s)
            case TargetStateChanged(TargetState.TERMINATED):
                self._say("terminating", self._wall())
            case DrainRequested(reason):
                self._say("drain_requested", self._wall(), reason=reason)
            case GaveUp(GiveUpAnswer.TERMINATING, detail):
                self._say("given_up", self._wall(), detail=detail)

    def order(self, order: Order) -> None:
        match order:
            case Ignore(message, stale):
                self._received_at.pop(message.id, None)
                self._say_of("stale" if stale else "duplicate", message)
            case End(message, cause):
                self._say_of("lease_lost" if cause is Cause.LEASE_LOST else "told_to_end", message)
            case Exit(status, reason):
                at = self._wall()
                metrics = self._emf.of_worker(max(0.0, at - self._up_at), at)
                self._say("worker_left", at, reason=reason, exit_status=status, **metrics)

    def _began(self, event: Began) -> None:
        message = event.message
        run = _run(event.run_id, event.job, event.scheduled_at, message)
        self._say_received(message, run)
        self._runs[message.id] = _Delivery(run, self._wall(), event.start_delay_s)
        self._by_handle[message.receipt_handle] = run
        facts = {"log_stream": event.log_stream, "start_delay_s": event.start_delay_s}
        self._say("started", self._wall(), **run, **facts)

    def _finished(self, event: Finished) -> None:
        report, message, at = event.report, event.message, self._wall()
        delivery = self._runs.pop(message.id, None)
        self._by_handle.pop(message.receipt_handle, None)
        run = delivery.run if delivery else _run(report.run_id, report.job, report.scheduled_at, message)
        if delivery is None:
            self._say_received(message, run)
        start_delay_s = delivery.start_delay_s if delivery else None
        ended_at = delivery.started_at + report.duration_s if delivery and report.duration_s else at
        facts = {
            "outcome": event.outcome.value,
            "reason": report.reason,
            "exit_code": report.exit_code,
            "signal": report.signal,
            "duration_s": report.duration_s,
            "log_stream": report.log_stream,
            **self._emf.of_run(event.outcome, run["job"], report.duration_s, start_delay_s, ended_at),
        }
        # The settlement may have taken its time, where SQS did not answer.
        self._say("ended", min(ended_at, at), **run, **facts)
        self._say("settled", at, **run, settled=report.settled, back_in_s=event.back_in_s)

    def _say_received(self, message: Message, run: dict[str, Any]) -> None:
        received_at = self._received_at.pop(message.id, self._wall())
        self._say("received", received_at, **run, sent_at=_instant(message.sent_at))

    def _say_of(self, event: str, message: Message) -> None:
        delivery = self._runs.get(message.id)
        self._say(event, self._wall(), **(delivery.run if delivery else {"message_id": message.id}))

    def _say(self, event: str, at: float, **facts: Any) -> None:
        known = {key: value for key, value in facts.items() if value is not None}
        line = {"at": _instant(at), "event": event, "worker": self._worker, **known}
        self._write(_ENCODER.encode(line))


def boot_and_start(wall: Callable[[], float] = time.time) -> tuple[float, float]:
    """When this machine booted and when this process was started, in Unix time."""
    booted_at = wall() - time.clock_gettime(time.CLOCK_BOOTTIME)
    # Field 22, counted after the name, which may hold anything (proc(5)).
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    return booted_at, booted_at + ticks / os.sysconf("SC_CLK_TCK")


def _run(run_id: str | None, job: str | None, scheduled_at: float | None, message: Message) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "job": job,
        "scheduled_time": None if scheduled_at is None else instant_text(scheduled_at),
        "attempt": message.receive_count,
        "message_id": message.id,
    }


def _instant(at: float) -> str:
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
