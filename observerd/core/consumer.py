"""Decides what observerd does next. What affects that decision is here, in lease.py and in membership.py.

Theory of operation. on(event, now) is told of one thing that happened and answers with orders; wake_at()
says when it wants to be told TimeUp. It keeps these promises, whatever happens in whatever order:

* Every message received is running here, or has been ordered released, or is a second delivery of one that
  runs here. A second delivery is neither started nor released: releasing it would show the first to others.
* SQS does not say when a lease began: at some moment of the poll. It counts from the poll's order, so that
  after a standstill nothing is started, or released, that others have been given meanwhile.
* At most `slots` jobs run. A poll asks for no more than the free slots, so no message waits behind another.
  A job that has ended frees its slot before SQS is told of it; at most `slots` messages wait for that.
* One poll is on its way at a time, and none is ordered after a stop. A poll is never aborted: SQS would
  hide what it was about to answer for the whole visibility timeout. What arrives late is released.
* Leaving for idleness is decided between two polls, so no message can be on its way to us.
* A stop ends by time alone: each rung of the ladder RUNNING, DRAINING, TERMINATING, KILLING has a deadline.
* The job of a lost lease is told to end before anyone else can be given its message.

The way out. Idle, the consumer counts what is visible. If that is nothing it orders GiveUp, and goes on
polling: alive and not leaving, it serves. What is visible and not to be had waits for a running message of
its FIFO group; if this worker left, an alarm would start another for it, over and over. Once the instance is
terminating it takes one full last look, started after that moment. The producer sends a message and then
reads the desired capacity, the worker lowers it and then receives; whatever the interleaving, one of them
sees the other. docs/scaling.md has the argument, and what ends an instance besides.

Not here: what a message says (request.py), what SQS is told in the end (settlement.py). Times are seconds
of one monotonic clock; the wall clock may be stepped at will.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from math import inf

from observerd.core.backoff import backoff_s
from observerd.core.events import (
    Began,
    Cause,
    Count,
    Counted,
    CrewDied,
    Discard,
    DrainRequested,
    End,
    Event,
    Exit,
    Extend,
    Extended,
    Finished,
    GaveUp,
    Held,
    Ignore,
    Message,
    Order,
    Outcome,
    Poll,
    Protected,
    RebalanceRecommended,
    Received,
    ReceiveFailed,
    ReceiveFault,
    Release,
    Released,
    Reload,
    Reloaded,
    ReloadFailed,
    ReloadRequested,
    Settling,
    Shrink,
    SpotNoticed,
    Start,
    StopRequested,
    TargetState,
    TargetStateChanged,
    TimeUp,
)
from observerd.core.job import Job, time_to_end_s
from observerd.core.lease import Leases
from observerd.core.membership import Membership

# The longest that SQS waits for a first message (SQS API Reference, ReceiveMessage).
LONG_POLL_S = 20
# Long polling begins at one second: no false empty answer, and the daemon is soon known to be ready.
FIRST_POLL_S = 1
# Receives that fail are tried again after half a second at first, a minute at most.
RETRY_S, RETRY_CAP_S = 0.5, 60.0
# A poll costs a millisecond of CPU time. Where all slots together end a job in less than this, one for each
# would take a sixth of a processor: such jobs are asked for together, so far apart.
SHORT_S, APART_S = 0.006, 0.02
# So long an idle worker stays for what is visible and not to be had. It spares the group a start every few
# minutes; who is one of several, and none too many, leaves after it.
STAY_S = 1_800.0
# After KILL nothing but the kernel is waited for.
KILL_WAIT_S = 10.0
# So long before EC2 takes a Spot instance back, nothing runs on it any more: messages are given back by then.
SPOT_MARGIN_S = 20.0

# Those of the crew whose death means that a poll, or an attempt to give up, is never answered.
RECEIVER, LEAVER = "receiver", "leaver"

# Why it leaves of its own accord, and on request.
IDLE, ON_REQUEST = "idle", "drain requested"

# sysexits.h
EX_OK, EX_ABANDONED, EX_SOFTWARE, EX_TEMPFAIL, EX_CONFIG = 0, 1, 70, 75, 78


class Phase(IntEnum):
    RUNNING = 0
    DRAINING = 1
    TERMINATING = 2
    KILLING = 3
    STOPPED = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """What the consumer is bound by. Times are in seconds."""

    slots: int = 1
    receive_at_most: int = 10
    """10 is the most that SQS gives at once. On a FIFO queue 1, because a batch would hold several messages
    of one group, and they must run one after the other."""
    visibility_timeout_s: float = 120.0
    idle_timeout_s: float | None = 120.0
    """None: never leave for idleness."""
    drain_timeout_s: float = 3_600.0
    grace_s: float = 35.0
    """What a told job may take to end: the longest grace of any job, and a little."""
    max_uptime_s: float | None = None
    """Older than this, it leaves as soon as it has nothing to do."""
    gives_up: bool = False
    """Whether leaving for idleness means giving the instance up first."""
    hooked: bool = False
    """Whether a lifecycle hook keeps an instance that was given up alive until it is done."""
    protects: bool = False
    """Whether to have the instance protected from scale-in."""
    once: bool = False
    """Take one message, or find none, and leave."""


class Consumer:
    """See the head of this file."""

    def __init__(self, limits: Limits, now: float, jitter: float = 0.0) -> None:
        self.limits = limits
        self.phase = Phase.RUNNING
        self.running: dict[str, Message] = {}
        """Every message that is held, by id."""
        self.settling: set[str] = set()
        """Those of them whose job has ended."""
        self.polling = False
        self.releasing = False
        self.leases = Leases(limits.visibility_timeout_s)
        self._member = Membership(now, jitter, protects=limits.protects)
        self._jitter = jitter
        self._status, self._reason = EX_OK, "drained"
        self._deadline = now
        self._polls_answered = 0
        self._polled_at = self._answered_at = now
        self._asked_for = 0
        self._was_full = False
        self._was_short = True
        self._taken_at: dict[str, float] = {}
        self._receive_failures = 0
        self._retry_at = now
        self._idle_since: float | None = None
        self._busy_until = now
        self._undeleted: set[str] = set()
        self._told_to_stop: set[str] = set()
        self._was_told_to_leave = False
        self._old_at = inf if limits.max_uptime_s is None else now + limits.max_uptime_s
        self._replaced = False
        self._was_answered = False
        self._counting = False
        self._counted_at = now
        self._looking_last = False
        self._looked = self._looked_last = False
        self._taken = 0

    def on(self, event: Event, now: float) -> list[Order]:
        """What is to be done now that event has happened."""
        if self.phase is Phase.STOPPED:
            return []
        return [*self._told(event, now), *self._keep_leases(now), *self._member.due(now), *self._next(now)]

    def wake_at(self) -> float | None:
        """When to send TimeUp if nothing else happens before; None: never."""
        return min((at for at in self._moments() if at is not None and at < inf), default=None)

    def idle_since(self, now: float) -> float | None:
        """Since when there has been nothing to do.

        None while there is, while SQS does not answer, and while a message is to come back here.
        """
        if self._idle_since is None:
            return None
        since = max(self._idle_since, self._busy_until)
        return None if now < since else since

    @property
    def busy(self) -> int:
        """How many slots are taken."""
        return len(self.running) - len(self.settling)

    @property
    def unanswered(self) -> bool:
        """Whether the last receive failed."""
        return self._receive_failures > 0

    @property
    def given_up(self) -> bool:
        """Whether this instance is being terminated because we asked for it."""
        return self._member.given_up

    @property
    def ending(self) -> bool:
        """Whether this instance is being terminated, by whomever: its lifecycle hook is to be completed."""
        return self._member.ending

    @property
    def parked(self) -> bool:
        """Whether the group has the instance out of service, so that no message is taken."""
        return self._member.parked

    # ---- what an event changes

    def _told(self, event: Event, now: float) -> Iterator[Order]:
        match event:
            case Received(messages):
                yield from self._received(messages, now)
            case ReceiveFailed(fault):
                self._receive_failed(fault, now)
            case Settling() | Finished():
                self._ended(event, now)
            case Extended(asked_at, kept, refused, unanswered):
                self.leases.answered(kept, asked_at)
                self.leases.unanswered(unanswered, now)
                yield from (End(lost, Cause.LEASE_LOST, 0.0) for lost in self.leases.refuse(refused))
            case StopRequested(reason):
                yield from self._told_to_leave(reason, now)
            case CrewDied(name):
                alive = name != RECEIVER  # No answer will come from a dead one.
                self.polling, self.releasing = self.polling and alive, self.releasing and alive
                self._member.asking = self._member.asking and name != LEAVER
                self._replaced = self._replaced and name != LEAVER
                yield from self._stop(f"{name} died", EX_SOFTWARE, now)
            case Released():
                self.releasing = False
            case ReloadRequested():
                yield Reload()
            case Reloaded(jobs):
                self._reloaded(jobs)
            case _:
                yield from self._told_of_the_instance(event, now)

    def _reloaded(self, jobs: Mapping[str, Job]) -> None:
        # Never less than before: a job that runs keeps the grace that it began with.
        grace_s = max(self.limits.grace_s, time_to_end_s(jobs.values()))
        self.limits = replace(self.limits, grace_s=grace_s)

    def _told_of_the_instance(self, event: Event, now: float) -> Iterator[Order]:
        match event:
            case TargetStateChanged(state):
                yield from self._brought_to(state, now)
            case SpotNoticed(action, gone_in_s):
                yield from self._taken_back(action, gone_in_s, now)
            case RebalanceRecommended():
                self._old_at = now
            case DrainRequested(reason):
                self._wind_down(reason, EX_OK, now)
                self._replaced = self.limits.gives_up
                self._member.ask_anew(now)
            case Counted(waiting):
                yield from self._counted(waiting, now)
            case GaveUp():
                self._member.gave_up(event, now)
            case Protected():
                self._member.was_protected(event, now)
            case Held() | Began() | TimeUp() | ReloadFailed():
                pass

    def _received(self, messages: tuple[Message, ...], now: float) -> Iterator[Order]:
        self.polling = False
        self._polls_answered += 1
        self._receive_failures = 0
        self._answered(now)
        self._looked = self._looked or self._looking_last
        self._looked_last = self._looking_last and not messages
        if self._idle_since is None and not self.running:
            self._idle_since = now
        late, taken = [], self._taken
        for each in messages:
            # Looked up anew for each: one answer may hold the same message twice.
            if each.id in self.running:
                yield Ignore(each)
            elif self.leases.is_stale(self._polled_at, now):
                self._wait_for_what_is_hidden(now)
                yield Ignore(each, stale=True)
            elif self.phase is Phase.RUNNING and not self._member.parked:
                yield self._take(each, now)
            else:
                late.append(each)
        if late:
            self.releasing = True
            yield Release(tuple(late))
        self._answered_at, self._was_full = now, self._taken - taken == self._asked_for

    def _take(self, message: Message, now: float) -> Order:
        self._idle_since = None
        self.running[message.id] = message
        self._taken_at[message.id] = now
        self.leases.take(message, self._polled_at, now)
        self._taken += 1
        return Discard(message) if message.id in self._undeleted else Start(message)

    def _receive_failed(self, fault: ReceiveFault, now: float) -> None:
        self.polling = False
        self._answered(now)
        self._receive_failures += 1
        self._idle_since = None  # An outage is not idleness.
        if fault is ReceiveFault.UNREACHABLE:
            # SQS may have handed a message to an answer that nobody got.
            self._wait_for_what_is_hidden(now)
        self._retry_at = now + backoff_s(RETRY_S, self._receive_failures, RETRY_CAP_S, self._jitter)
        if fault in (ReceiveFault.QUEUE_MISSING, ReceiveFault.DENIED):
            self._wind_down(fault.value, EX_CONFIG, now)

    def _wait_for_what_is_hidden(self, now: float) -> None:
        """It comes back by itself, and nobody would be woken for it."""
        self._busy_until = max(self._busy_until, now + self.limits.visibility_timeout_s)

    def _ended(self, event: Settling | Finished, now: float) -> None:
        """The job has; Finished says that SQS has been told, too."""
        if isinstance(event, Settling):
            self.settling.add(event.message.id)
            lasted_s = now - self._taken_at[event.message.id]
            self._was_short = lasted_s < SHORT_S * self.limits.slots
        else:
            self._finished(event, now)

    def _finished(self, event: Finished, now: float) -> None:
        del self.running[event.message.id]
        self.settling.discard(event.message.id)
        self.leases.drop(event.message.id)
        del self._taken_at[event.message.id]
        self._undeleted.discard(event.message.id)
        self._told_to_stop.discard(event.message.id)
        if event.outcome is Outcome.SUCCEEDED and not event.deleted:
            self._undeleted.add(event.message.id)
        if event.back_in_s is not None:
            # Nobody may be awake when it comes back, unless we are.
            self._busy_until = max(self._busy_until, now + event.back_in_s)

    def _answered(self, now: float) -> None:
        if not self._was_answered:
            self._was_answered = True
            self._member.serves(now)

    def _brought_to(self, state: TargetState, now: float) -> Iterator[Order]:
        was_parked = self._member.parked
        self._member.is_brought_to(state, now)
        if was_parked or self._member.parked:
            self._idle_since = None  # Out of service is not idle.
        if self._member.terminated:
            self._wind_down("terminated by the group", EX_OK, now)
        if state is TargetState.WARMED and self._member.parked:
            # What runs here began before the state was known, and stops with the instance at any moment.
            yield from self._end_running()

    def _taken_back(self, action: str, gone_in_s: float, now: float) -> Iterator[Order]:
        """EC2 waits for nobody: what is not given back by then comes back by its visibility timeout only."""
        self._wind_down(f"spot {action}", EX_OK, now)
        if self.phase is Phase.KILLING:
            return
        latest = now + max(0.0, gone_in_s - SPOT_MARGIN_S)
        if self.phase is Phase.DRAINING:
            self.phase, self._deadline = Phase.TERMINATING, now + self.limits.grace_s
        self._deadline = min(self._deadline, latest)
        yield from self._end_running()

    # ---- the way down

    def _told_to_leave(self, reason: str, now: float) -> Iterator[Order]:
        """The second request skips a step; the first does not, though a drain or the group came before it."""
        if self._was_told_to_leave:
            yield from self._stop(reason, EX_OK, now)
        else:
            self._was_told_to_leave = True
            self._wind_down(reason, EX_OK, now)

    def _stop(self, reason: str, status: int, now: float) -> Iterator[Order]:
        if self.phase is Phase.RUNNING:
            self._wind_down(reason, status, now)
        else:
            self._status = max(self._status, status)
            # The last rung is left by time or by the last job's end alone: _next sees to both.
            if self.phase is not Phase.KILLING:
                yield from self._escalate(now)

    def _wind_down(self, reason: str, status: int, now: float) -> None:
        if self.phase is Phase.RUNNING:
            self.phase, self._reason = Phase.DRAINING, reason
            self._deadline = now + self.limits.drain_timeout_s
        self._status = max(self._status, status)

    def _escalate(self, now: float) -> list[Order]:
        if self.phase is Phase.KILLING:
            return [self._exit(max(self._status, EX_ABANDONED), "abandoned")]
        self.phase = Phase(self.phase + 1)
        if self.phase is Phase.KILLING:
            self._deadline = now + KILL_WAIT_S
            return [End(each, Cause.STOP, 0.0) for each in self.running.values()]
        self._deadline = now + self.limits.grace_s
        return self._end_running()

    def _end_running(self) -> list[Order]:
        """Tell each job once, with its own grace."""
        untold = [each for each in self.running.values() if each.id not in self._told_to_stop]
        self._told_to_stop.update(each.id for each in untold)
        return [End(each, Cause.STOP, None) for each in untold]

    # ---- what comes next

    def _keep_leases(self, now: float) -> list[Order]:
        expired = self.leases.expiring(now)
        ends: list[Order] = [End(message, Cause.LEASE_LOST, left_s) for message, left_s in expired]
        return [*ends, *(Extend(batch) for batch in self.leases.due(now))]

    def _next(self, now: float) -> list[Order]:
        match self.phase:
            case Phase.STOPPED:
                return []
            case Phase.RUNNING:
                return self._serve(now)
        empty = not self.running and not self.polling and not self.releasing
        # Asked to drain: another instance is wanted as soon as the hook lets this one finish its jobs.
        wanted = self._replaced and not self._member.ending and (empty or self.limits.hooked)
        asks = wanted and self._member.may_give_up(now)
        if empty and not asks and not self._member.asking:
            return [self._refused() if wanted else self._exit(self._status, self._reason)]
        orders = self._escalate(now) if now >= self._deadline else []
        return [*orders, self._member.give_up(Shrink.NEVER)] if asks and self._deadline > now else orders

    def _refused(self) -> Order:
        """Not dead in the water: with this status systemd starts the daemon again, and it serves."""
        return self._exit(max(self._status, EX_TEMPFAIL), "not replaced")

    def _serve(self, now: float) -> list[Order]:
        if self.polling:
            return []
        if self._is_done(now):
            return [self._exit(EX_OK, "done" if self.limits.once else IDLE)]
        return [*self._give_up_when_idle(now), *self._poll(now)]

    def _is_done(self, now: float) -> bool:
        if self.running or self.releasing:
            return False
        if self.limits.once:
            return self._taken > 0 or self._idle_since is not None
        if self.limits.gives_up:
            return self.given_up and (self._saw_all(now) or (self._looked and now >= self._look_until()))
        return self._is_idle(now)

    def _saw_all(self, now: float) -> bool:
        """What failed in the last look comes back after its backoff, and nobody would be woken for it."""
        return self._looked_last and now >= self._busy_until

    def _is_idle(self, now: float) -> bool:
        since = self.idle_since(now)
        if since is None or self.limits.idle_timeout_s is None or self._member.parked:
            return False
        # Counting what waits, and staying for it, begins the idle time anew.
        wait_s = 0.0 if now >= self._old_at else self.limits.idle_timeout_s
        return now - max(since, self._counted_at) >= wait_s

    def _look_until(self) -> float:
        """What was sent before the give-up, the first look has found; who sent later has woken others."""
        return self._member.given_up_at + self.limits.drain_timeout_s

    def _may_give_up(self, now: float) -> bool:
        return self.limits.gives_up and self._member.may_give_up(now) and self._is_idle(now)

    def _give_up_when_idle(self, now: float) -> list[Order]:
        if self._counting or not self._may_give_up(now):
            return []
        if now >= self._old_at:
            return [self._member.give_up(Shrink.IF_ALLOWED)]
        self._counting = True
        return [Count()]

    def _counted(self, waiting: int | None, now: float) -> Iterator[Order]:
        self._counting = False
        since = self.idle_since(now)
        if waiting and since is not None and now - since < STAY_S:
            self._counted_at = now
        elif self.phase is Phase.RUNNING and self._may_give_up(now):
            yield self._member.give_up(Shrink.ALWAYS)

    def _poll(self, now: float) -> list[Order]:
        if not self._wanted() or now < self._poll_at():
            return []
        self.polling = True
        self._polled_at = now
        # A job that runs may hide the next message of its FIFO group, so the last look comes after it.
        self._looking_last = self.given_up and not self.running
        self._asked_for = self._wanted()
        return [Poll(self._asked_for, self._wait_s())]

    def _poll_at(self) -> float:
        """At once; soon after a poll that filled all the room there was, when jobs are short and no more of
        them can be asked for."""
        most = min(self.limits.slots, self.limits.receive_at_most)
        apart_s = APART_S if self._was_full and self._was_short and self._wanted() < most else 0.0
        return max(self._retry_at, self._answered_at + apart_s)

    def _wait_s(self) -> int:
        if not self._polls_answered:
            return FIRST_POLL_S
        if self.given_up:
            return LONG_POLL_S
        # No longer than leaves most of a lease to what arrives at its end.
        most_s = min(LONG_POLL_S, max(FIRST_POLL_S, int(self.limits.visibility_timeout_s / 3)))
        if self.limits.idle_timeout_s is None:
            return most_s
        # An idle timeout shorter than a poll is meant, by tests and by `run --drain`.
        return min(most_s, max(FIRST_POLL_S, int(self.limits.idle_timeout_s)))

    def _wanted(self) -> int:
        """How many messages there is room for."""
        if self._member.parked:
            return 0
        if self.limits.once:
            return 0 if self._taken else 1
        slots = self.limits.slots
        return min(slots - self.busy, 2 * slots - len(self.running), self.limits.receive_at_most)

    def _exit(self, status: int, reason: str) -> Order:
        self.phase = Phase.STOPPED
        return Exit(status, reason)

    def _moments(self) -> Iterator[float | None]:
        if self.phase is Phase.STOPPED:
            return
        yield self.leases.wake_at()
        yield self._member.wake_at()
        if self.phase is not Phase.RUNNING:
            yield self._deadline
            if self._replaced and self.limits.hooked:
                yield self._member.give_up_at()
        elif not self.polling and self._wanted():
            yield self._poll_at()
