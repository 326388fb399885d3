"""Makes runs of events. Values in, values out: no clock, no AWS."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from observerd.core.events import Outcome
from observerd.core.request import instant_text
from observerd.operations.reading import Seen, instant, instant_ms

# What a run is in that has not come to an outcome, or never will.
RUNNING, WAITING, RETRYING, VANISHED, UNSENT = "running", "waiting", "retrying", "vanished", "unsent"
STATES = (RUNNING, WAITING, RETRYING, VANISHED, UNSENT)
# A duplicate is a delivery, and no run of its own.
OUTCOMES = tuple(outcome.value for outcome in Outcome if outcome is not Outcome.DUPLICATE)
# A worker renews each lease at a third of the visibility timeout: every 40 s where the stack has set it.
SILENT_S = 900.0

# After these the message is shown to another worker, however often it takes.
_COMES_AGAIN = frozenset({Outcome.INTERRUPTED.value, Outcome.LOST.value, Outcome.CRASHED.value})


@dataclass(slots=True)
class Attempt:
    """One delivery of a run's message to a worker. Times are Unix times."""

    number: int
    worker: str
    message_id: str
    received_at: float
    sent_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    settled_at: float | None = None
    last_sign_at: float = 0.0
    heartbeats: int = 0
    start_delay_s: float | None = None
    outcome: str | None = None
    reason: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    duration_s: float | None = None
    log_stream: str | None = None
    settled: str | None = None
    back_in_s: float | None = None

    def take(self, seen: Seen) -> None:
        self.last_sign_at = max(self.last_sign_at, seen.at)
        match seen.event:
            case "heartbeat":
                self.heartbeats += 1
            case "started":
                self.started_at = seen.at
                self.log_stream = seen.text("log_stream")
                self.start_delay_s = seen.number("start_delay_s")
            case "ended":
                self._ended(seen)
            case "settled":
                self.settled_at = seen.at
                self.settled = seen.text("settled")
                self.back_in_s = seen.number("back_in_s")

    def _ended(self, seen: Seen) -> None:
        self.ended_at = seen.at
        self.outcome = seen.text("outcome")
        self.reason = seen.text("reason")
        self.exit_code = seen.facts.get("exit_code")
        self.signal = seen.facts.get("signal")
        self.duration_s = seen.number("duration_s")
        self.log_stream = seen.text("log_stream") or self.log_stream

    @property
    def host(self) -> str:
        """The worker's machine: its name without its life."""
        return self.worker.partition("/")[0]

    @property
    def is_final(self) -> bool:
        """Whether nobody will try again after it."""
        return self.outcome is not None and self.back_in_s is None and self.outcome not in _COMES_AGAIN


@dataclass(slots=True)
class Story:
    """One run: what is known of it, first to last."""

    run_id: str | None
    job: str | None
    scheduled_at: float | None
    sent: list[Seen] = field(default_factory=list)
    woken: list[Seen] = field(default_factory=list)
    """woken or wake_failed"""
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def last(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def name(self) -> str:
        """Its id, or the beginning of its message's, where that could not be read: either is understood."""
        return self.run_id or (self.attempts[-1].message_id[:8] if self.attempts else "-")

    @property
    def sent_at(self) -> float | None:
        """When its message was first sent, by the producer or by hand."""
        by_hand = (each.sent_at for each in self.attempts if each.sent_at is not None)
        return min([*(seen.at for seen in self.sent), *by_hand], default=None)

    @property
    def began_at(self) -> float:
        """When it was due; where that is not known, when it was first heard of."""
        heard = [seen.at for seen in self.sent] + [each.received_at for each in self.attempts]
        return self.scheduled_at if self.scheduled_at is not None else min(heard, default=0.0)

    def outcome(self, now: float) -> str:
        """One of OUTCOMES or STATES."""
        last = self.last
        sent_again = (
            last is not None
            and last.is_final
            and any(seen.at > (last.settled_at or last.received_at) for seen in self.sent)
        )
        if last is None or sent_again:
            return WAITING if self.sent else UNSENT
        if last.outcome is None:
            return RUNNING if now - last.last_sign_at < SILENT_S else VANISHED
        return last.outcome if last.is_final else RETRYING

    def back_for_s(self, now: float) -> float:
        """How long nobody has taken the message of a run that is tried again; negative: it is hidden."""
        last = self.last
        if last is None or last.settled_at is None:
            return 0.0
        return now - last.settled_at - (last.back_in_s or 0.0)

    def values(self, now: float) -> dict[str, Any]:
        """For --json. Times are in UTC, spans in seconds; what is not known is null."""
        last = self.last
        return {
            "run_id": self.run_id,
            "job": self.job,
            "scheduled_time": time_text(self.scheduled_at),
            "outcome": self.outcome(now),
            "reason": last.reason if last else None,
            "exit_code": last.exit_code if last else None,
            "sent_at": _exact(self.sent[0].at) if self.sent else None,
            "start_delay_s": next(
                (each.start_delay_s for each in self.attempts if each.start_delay_s is not None), None
            ),
            "duration_s": last.duration_s if last else None,
            "attempts": [_attempt_values(each) for each in self.attempts],
        }


def stories(events: Iterable[Seen]) -> list[Story]:
    """The runs that the events tell of, by the time they were due."""
    known: dict[str, Story] = {}
    for seen in sorted(events, key=lambda each: each.at):
        # A message that could not be read has no run_id, and is a tale of its own.
        key = seen.text("run_id") or seen.text("message_id")
        if key is not None:
            _take(known.setdefault(key, _begun(seen)), seen)
    return sorted((each for each in known.values()), key=lambda story: (story.began_at, story.job or ""))


def _begun(seen: Seen) -> Story:
    scheduled = seen.text("scheduled_time")
    return Story(seen.text("run_id"), seen.text("job"), instant(scheduled) if scheduled else None)


def _take(story: Story, seen: Seen) -> None:
    match seen.event:
        case "sent":
            story.sent.append(seen)
        case "woken" | "wake_failed":
            story.woken.append(seen)
        case "received":
            story.attempts.append(_received(seen))
        case _:
            for attempt in _of_delivery(story.attempts, seen):
                attempt.take(seen)


def _received(seen: Seen) -> Attempt:
    sent = seen.text("sent_at")
    return Attempt(
        int(seen.number("attempt") or 1),
        seen.text("worker") or "?",
        seen.text("message_id") or "?",
        seen.at,
        sent_at=instant(sent) if sent else None,
        last_sign_at=seen.at,
    )


def _of_delivery(attempts: list[Attempt], seen: Seen) -> Iterator[Attempt]:
    """The attempt that the event is of: by worker and message, the latest."""
    whose = (seen.text("worker"), seen.text("message_id"))
    yield from [each for each in attempts if (each.worker, each.message_id) == whose][-1:]


def _attempt_values(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt": attempt.number,
        "worker": attempt.worker,
        "message_id": attempt.message_id,
        "received_at": _exact(attempt.received_at),
        "started_at": _exact(attempt.started_at),
        "ended_at": _exact(attempt.ended_at),
        "settled_at": _exact(attempt.settled_at),
        "outcome": attempt.outcome,
        "reason": attempt.reason,
        "exit_code": attempt.exit_code,
        "signal": attempt.signal,
        "duration_s": attempt.duration_s,
        "log_stream": attempt.log_stream,
        "settled": attempt.settled,
        "back_in_s": attempt.back_in_s,
    }


def time_text(at: float | None) -> str | None:
    return None if at is None else instant_text(at)


def _exact(at: float | None) -> str | None:
    return None if at is None else instant_ms(at)
