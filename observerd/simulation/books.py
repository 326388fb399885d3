"""The world's own books, and the promises that are held against them. They never ask a worker anything."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from observerd.core.events import Attribute, Message
from observerd.core.evidence import PREFIX
from observerd.core.request import instant_text, run_id_of
from observerd.simulation.clock import Clock
from observerd.simulation.crontab import Schedule


class Broken(Exception):
    """A promise was broken. name is one of PROMISES, the text says what happened."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{PROMISES[name]}: {text}")
        self.name = name


PROMISES = {
    "lost": "no run is lost",
    "deleted": "no message is deleted without success or evidence",
    "twice": "no run, and no job whose runs may not overlap, runs twice at once",
    "dropped": "a worker that leaves by itself leaves no message in its hands",
    "outlives": "no instance outlives its work by more than the idle time and the leak bound",
    "unattended": "no message waits with nobody awake beyond the Wake alarm's bound",
    "relied": "no message is left to the Wake alarm when its producer saw a worker wanted",
    "oscillates": "the desired capacity is never lowered over what waits or runs",
    "killed": "scaling in ends no instance that works or takes work",
    "vain": "instances are not started in vain over and over",
}
# So many in an hour may leave without having been given a message: trouble makes some.
IN_VAIN_AT_MOST, IN_VAIN_WITHIN_S = 8, 3_600.0


@dataclass(slots=True)
class Attempt:
    """One process of a run's job."""

    holder: str
    began_at: float
    ended_at: float | None = None
    how: str = "running"
    """succeeded, failed, told to end, or killed (from under its worker)."""


@dataclass(slots=True)
class Run:
    """One run as the world knows it."""

    run_id: str
    job: str
    scheduled_at: float
    overlaps: bool = False
    by_hand: bool = False
    """Whether a person sent it, which depends on the design: it is held to the promises, but not counted."""
    message_ids: set[str] = field(default_factory=set)
    attempts: list[Attempt] = field(default_factory=list)
    ended_as: str | None = None
    """The last word on it: one of ENDINGS."""

    @property
    def alone(self) -> str:
        """Of what shares this, one process may run at a time."""
        return self.run_id if self.overlaps else self.job

    @property
    def delay_s(self) -> float | None:
        """From the scheduled time to the first process; None: it was never started."""
        return self.attempts[0].began_at - self.scheduled_at if self.attempts else None

    @property
    def successes(self) -> int:
        return self.count("succeeded")

    def count(self, how: str) -> int:
        return sum(each.how == how for each in self.attempts)


ENDINGS = ("succeeded", "dead-lettered", "missed", "undelivered", "lost")


@dataclass(slots=True)
class Books:
    clock: Clock
    strict: bool
    """Whether a broken promise ends the history; otherwise it is only counted in the runs."""
    max_lateness_s: float
    runs: dict[str, Run] = field(default_factory=dict)
    running: dict[str, list[str]] = field(default_factory=dict)
    """By Run.alone: who runs it now, which may be a process whose worker has forgotten it."""
    _run_of: dict[str, Run] = field(default_factory=dict)
    _buried: set[str] = field(default_factory=set)
    condemned: set[str] = field(default_factory=set)
    """Instances that ought to have been protected when scaling in chose them."""
    _relied: set[str] = field(default_factory=set)
    _left: set[str] = field(default_factory=set)
    _given: set[str] = field(default_factory=set)
    """Instances that have been given a message."""
    _in_vain: list[float] = field(default_factory=list)
    """When others were gone, of late."""

    # ---- what is told

    def due(self, line: Schedule, instant: str, *, by_hand: bool = False) -> str:
        """The run's id."""
        run_id = run_id_of(line.job, instant)
        self.runs[run_id] = Run(run_id, line.job, self.clock.now, line.overlaps, by_hand)
        return run_id

    def is_due(self, job: str, instant: str) -> bool:
        """Whether there is such a run already."""
        return run_id_of(job, instant) in self.runs

    def sent(self, run_id: str, message_id: str) -> None:
        run = self.runs[run_id]
        run.message_ids.add(message_id)
        self._run_of[message_id] = run
        self._note(run, f"message {message_id} is on the queue")

    def relied(self, run_id: str) -> None:
        """The producer wakes nobody, as it has read that a worker is wanted."""
        self._relied.add(run_id)

    def undelivered(self, run_id: str, *, kept: bool) -> None:
        """The producer has given the event up; kept: into the undelivered queue."""
        where = "the event is in the undelivered queue" if kept else "the event is dropped"
        self._end(self.runs[run_id], "undelivered" if kept else "lost", where)

    def handed_out(self, message_id: str, holder: str) -> None:
        self.clock.note("queue", f"hands {message_id} to {holder}")
        if self.strict and holder in self._left:
            raise Broken("dropped", f"{message_id} is handed to {holder}, which has left")
        self._given.add(holder.partition(".")[0])

    def left(self, holder: str) -> None:
        """A worker has left by itself."""
        self._left.add(holder)

    def gone(self, instance_id: str) -> None:
        """That instance is no more."""
        if instance_id in self._given:
            return
        now = self.clock.now
        self._in_vain = [at for at in self._in_vain if now - at < IN_VAIN_WITHIN_S] + [now]
        if self.strict and len(self._in_vain) > IN_VAIN_AT_MOST:
            raise Broken("vain", f"{instance_id} is the {len(self._in_vain)}th in an hour to find nothing")

    def started(self, message_id: str, holder: str) -> None:
        run = self._run_of[message_id]
        beside = self.running.setdefault(run.alone, [])
        if beside and self.strict:
            raise Broken("twice", f"{run.job} is started on {holder} while it runs on {beside[0]}")
        if self.strict and holder.partition(".")[0] in self.condemned:
            raise Broken("killed", f"{run.job} is started on {holder}, which scaling in has chosen")
        beside.append(holder)
        run.attempts.append(Attempt(holder, self.clock.now))
        self._note(run, f"starts on {holder} for {message_id}")

    def ended(self, message_id: str, holder: str, how: str) -> None:
        """The process of that holder has ended: see Attempt.how."""
        run = self._run_of[message_id]
        self.running[run.alone].remove(holder)
        attempt = next(each for each in run.attempts if each.holder == holder and each.ended_at is None)
        attempt.ended_at, attempt.how = self.clock.now, how
        if run.successes and run.ended_as == "lost":
            run.ended_as = "succeeded"  # It had been deleted before it was run.
        self._note(run, f"{how} on {holder}")

    def buried(self, message: Message, attributes: Mapping[str, Attribute]) -> None:
        """A copy of the message is in the dead-letter queue."""
        if f"{PREFIX}Outcome" not in attributes:
            raise Broken("deleted", f"{message.id} was dead-lettered without evidence")
        self._buried.add(message.id)
        self._note(self._run_of[message.id], f"{message.id} is in the dead-letter queue, with evidence")

    def redriven(self, message_id: str) -> None:
        self._end(self._run_of[message_id], "dead-lettered", f"{message_id} was redriven by the queue")

    def deleted(self, message: Message, holder: str) -> None:
        run = self._run_of[message.id]
        self._end(run, self._verdict(run, message), f"{message.id} is deleted by {holder}")

    def expired(self, message_id: str) -> None:
        run = self._run_of[message_id]
        self._end(run, "lost", f"{message_id} was older than the queue keeps messages")
        if self.strict and run.ended_as == "lost":
            raise Broken("lost", f"{run.job}: {message_id} was older than the queue keeps messages")

    # ---- what is asked

    def close(self) -> None:
        """At the end of a history, when all has had its time."""
        for run in self.runs.values():
            if run.ended_as is None:
                self._end(run, "lost", "nothing has become of it")
                if self.strict:
                    instant = instant_text(run.scheduled_at)
                    raise Broken("lost", f"{run.job} of {instant}: nothing has become of it")

    def run_of(self, message_id: str) -> Run:
        return self._run_of[message_id]

    def relies(self, message_id: str) -> bool:
        """Whether the message's producer has left it to a worker that was wanted already."""
        return self._run_of[message_id].run_id in self._relied

    def works(self, instance_id: str) -> bool:
        """Whether a job runs on that instance."""
        return any(
            each.startswith(f"{instance_id}.") for holders in self.running.values() for each in holders
        )

    # ---- how it is judged

    def _verdict(self, run: Run, message: Message) -> str:
        if run.successes:
            return "succeeded"
        if message.id in self._buried:
            return "dead-lettered"
        if self._late_s(message) > self.max_lateness_s:
            return "missed"
        if self.strict:
            raise Broken("deleted", f"{message.id} of {run.job} is deleted, and nothing has become of it")
        return "lost"

    def _late_s(self, message: Message) -> float:
        return message.received_at - self._run_of[message.id].scheduled_at

    def _end(self, run: Run, how: str, text: str) -> None:
        # A success is the last word: what is deleted after it is a copy.
        if run.ended_as not in ("succeeded", how):
            run.ended_as = how if not run.successes else "succeeded"
        self._note(run, f"{text} ({run.ended_as})")

    def _note(self, run: Run, text: str) -> None:
        self.clock.note(run.job, text)


def body_of(job: str, instant: str, max_lateness_s: float) -> str:
    """The producer's message of version 1."""
    return json.dumps(
        {
            "v": 1,
            "job": job,
            "scheduled_time": instant,
            "schedule": job,
            "max_lateness": f"{max_lateness_s:.0f}s",
        }
    )
