"""What the daemon shows of itself: one value, made anew on the main thread after every event.

Other threads read Board.status and nothing else; what they have read never changes. Times are those of
clock.now(). A reader turns them into times of day, so that a stepped clock bends no duration.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from observerd.core.consumer import Consumer, Phase
from observerd.core.events import Began, Event, Finished, Outcome, Received, ReceiveFailed, Reloaded, Settling
from observerd.core.job import Job

# How much is remembered: a screen or two of runs, and a row of bars for each job.
RECENT_AT_MOST = 50
BARS_AT_MOST = 30


class State(Enum):
    """What the daemon is doing, in a word. The values are metric labels."""

    STARTING = "starting"
    RUNNING = "running"
    IDLE = "idle"
    WAITING = "waiting"
    """SQS does not answer."""
    OUT_OF_SERVICE = "out_of_service"
    """Its group has it in standby, detached or in a warm pool: it takes no message."""
    LEAVING = "leaving"
    """The instance is given up; what the last look finds is still run."""
    DRAINING = "draining"
    STOPPING = "stopping"
    """Jobs have been told to end."""


@dataclass(frozen=True, slots=True)
class InProgress:
    message_id: str
    job: str
    run_id: str
    attempt: int
    log_stream: str
    began_at: float
    start_delay_s: float


@dataclass(frozen=True, slots=True)
class Past:
    """A delivery that ended. job and run_id are None where the message could not be read."""

    job: str | None
    run_id: str | None
    outcome: Outcome
    attempt: int
    ended_at: float
    duration_s: float | None
    exit_code: int | None
    signal: int | None
    reason: str | None
    settled: str
    back_in_s: float | None
    log_stream: str | None
    last_lines: str
    """Of one that did not succeed."""


@dataclass(frozen=True, slots=True)
class History:
    """One job's ends here. bars are the last of them, oldest first."""

    last: Past
    bars: tuple[tuple[Outcome, float], ...]
    succeeded_at: float | None


@dataclass(frozen=True, slots=True)
class Status:
    taken_at: float
    state: State = State.STARTING
    jobs: Mapping[str, Job] = field(default_factory=lambda: MappingProxyType({}))
    slots: int = 1
    running: tuple[InProgress, ...] = ()
    """Oldest first."""
    settling: int = 0
    """How many jobs have ended of which SQS is still to be told."""
    recent: tuple[Past, ...] = ()
    """Newest first."""
    histories: Mapping[str, History] = field(default_factory=lambda: MappingProxyType({}))
    """Of the jobs that have ended here at least once."""
    idle_since: float | None = None
    idle_timeout_s: float | None = None
    received_at: float | None = None
    """When SQS last answered a receive."""
    fault: str | None = None
    """Why the last receive failed."""
    lease_until: float | None = None
    """When the first of the messages held here would be shown to others, were its lease not extended."""
    overdue_at: float | None = None
    """When something must have happened by; None: there is nothing to wait for."""

    @property
    def is_ready(self) -> bool:
        """Whether messages are taken."""
        return self.state in (State.RUNNING, State.IDLE)

    def is_healthy(self, now: float) -> bool:
        """Whether the main thread and its poll get on, as against merely being there."""
        return self.overdue_at is None or now < self.overdue_at


class Board:
    """Where the status hangs. Written by the main thread alone; reading status is one atomic step."""

    def __init__(self, jobs: Mapping[str, Job], consumer: Consumer, now: float) -> None:
        self.jobs = jobs
        self._running: dict[str, InProgress] = {}
        self._recent: deque[Past] = deque(maxlen=RECENT_AT_MOST)
        self._histories: Mapping[str, History] = MappingProxyType({})
        self._received_at: float | None = None
        self._fault: str | None = None
        self.status = self._made(consumer, now, None)

    def note(self, event: Event, now: float) -> None:
        """Take in what happened. Nobody is shown it before show()."""
        match event:
            case Received():
                self._received_at, self._fault = now, None
            case ReceiveFailed(_, detail):
                self._fault = detail
            case Began():
                self._running[event.message.id] = _in_progress(event, now)
            case Settling(message):
                self._running.pop(message.id, None)
            case Finished():
                self._ended(event, now)
            case Reloaded(jobs):
                self.jobs = jobs

    def show(self, consumer: Consumer, now: float, overdue_at: float | None) -> None:
        """Publish what is true now."""
        self.status = self._made(consumer, now, overdue_at)

    def _ended(self, event: Finished, now: float) -> None:
        self._running.pop(event.message.id, None)
        past = _past(event, now)
        self._recent.appendleft(past)
        if past.job is not None and past.job in self.jobs:
            after = _after(self._histories.get(past.job), past)
            self._histories = MappingProxyType({**self._histories, past.job: after})

    def _state(self, consumer: Consumer) -> State:
        if consumer.phase is not Phase.RUNNING:
            return State.DRAINING if consumer.phase is Phase.DRAINING else State.STOPPING
        if consumer.given_up:
            return State.LEAVING
        if consumer.parked:
            return State.OUT_OF_SERVICE
        if consumer.running:
            return State.RUNNING
        if consumer.unanswered:
            return State.WAITING
        return State.STARTING if self._received_at is None else State.IDLE

    def _made(self, consumer: Consumer, now: float, overdue_at: float | None) -> Status:
        return Status(
            taken_at=now,
            state=self._state(consumer),
            jobs=self.jobs,
            slots=consumer.limits.slots,
            running=tuple(self._running.values()),
            settling=len(consumer.settling),
            recent=tuple(self._recent),
            histories=self._histories,
            idle_since=consumer.idle_since(now),
            idle_timeout_s=consumer.limits.idle_timeout_s,
            received_at=self._received_at,
            fault=self._fault,
            lease_until=consumer.leases.until(),
            overdue_at=overdue_at,
        )


def _in_progress(event: Began, now: float) -> InProgress:
    return InProgress(
        message_id=event.message.id,
        job=event.job,
        run_id=event.run_id,
        attempt=event.message.receive_count,
        log_stream=event.log_stream,
        began_at=now,
        start_delay_s=event.start_delay_s,
    )


def _past(event: Finished, now: float) -> Past:
    report = event.report
    return Past(
        job=report.job,
        run_id=report.run_id,
        outcome=event.outcome,
        attempt=event.message.receive_count,
        ended_at=now,
        duration_s=report.duration_s,
        exit_code=report.exit_code,
        signal=report.signal,
        reason=report.reason,
        settled=report.settled,
        back_in_s=event.back_in_s,
        log_stream=report.log_stream,
        last_lines="" if event.outcome is Outcome.SUCCEEDED else report.last_lines,
    )


def _after(before: History | None, past: Past) -> History:
    bars = before.bars if before else ()
    if past.duration_s is not None:
        bars = (*bars, (past.outcome, past.duration_s))[-BARS_AT_MOST:]
    succeeded_at = before.succeeded_at if before else None
    return History(past, bars, past.ended_at if past.outcome is Outcome.SUCCEEDED else succeeded_at)
