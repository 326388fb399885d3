"""One message's life on one worker: runner.py and the executor, in virtual time.

What those decide by the core's functions (plan, outcome_of, settlement, evidence) is decided by them here.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf

from observerd.core.backoff import backoff_s
from observerd.core.events import (
    Attribute,
    Began,
    Cause,
    Event,
    Finished,
    Message,
    Outcome,
    Report,
    Settling,
)
from observerd.core.evidence import evidence, fitted
from observerd.core.job import Job
from observerd.core.run import Ended, Refusal, Run, outcome_of, plan, reason_of
from observerd.core.settlement import Act, Settlement, kept_back, settlement
from observerd.simulation.books import Books
from observerd.simulation.clock import Clock
from observerd.simulation.jobs import Behaviour
from observerd.simulation.queue import Queue, Refused
from observerd.simulation.stack import Stack
from observerd.simulation.wire import Limit, Troubles, Wire

# observerd/aws.py: the settler's client.
SETTLE = Limit(10.0, 3)
# observerd/runner.py
DELETE_RETRY_S, DELETE_RETRY_CAP_S = 0.5, 10.0
# A process is there some milliseconds after it was asked for, and its log is with CloudWatch soon after it.
EXEC_S, FLUSH_S = 0.02, 0.3


@dataclass(slots=True)
class Surroundings:
    """What every life in one world shares."""

    clock: Clock
    books: Books
    stack: Stack
    spot_notice_s: float
    metadata_lag_s: float
    queue: Queue
    draw: random.Random
    jobs: Mapping[str, Job]
    behave: Callable[[Run], Behaviour]
    bury: Callable[[Message, Mapping[str, Attribute]], None]
    """Puts a copy into the dead-letter queue."""
    troubles: Troubles
    gives_up: Callable[[], None]
    """Called when a worker begins to give its instance up."""


class Life:
    """From received to settled. tell gets Began and, unless it is orphaned, Settling and Finished."""

    def __init__(
        self, world: Surroundings, wire: Wire, holder: str, message: Message, tell: Callable[[Event], None]
    ) -> None:
        self.message = message
        self._world = world
        self._wire = wire
        self._holder = holder
        self._tell = tell
        self._cause: Cause | None = None
        self._behaviour: Behaviour | None = None
        self._run: Run | None = None
        self._ends_at = inf
        self._kill_at = inf
        self._timed_out = False
        self._abandoned = False
        self._delete_failures = 0

    # ---- what the worker may do

    def live(self) -> None:
        planned = plan(self.message, self._world.jobs)
        if isinstance(planned, Refusal):
            report = Report(reason=planned.reason)
            self._settle(planned.outcome, planned.job, report)
        else:
            self._world.clock.after(EXEC_S, self._exec, planned)

    def discard(self) -> None:
        self._settle(Outcome.SUCCEEDED, None, Report(reason="its run had succeeded here before"))

    def ring(self, cause: Cause, grace_s: float | None) -> None:
        """As Bell.ring: TERM now, KILL after the grace."""
        self._cause = Cause.LEASE_LOST if Cause.LEASE_LOST in (cause, self._cause) else cause
        if self._run is not None:
            self._told_to_end(self._run.job.grace_s if grace_s is None else grace_s)

    def orphan(self) -> None:
        """The daemon is gone; the process is not yet."""
        self._abandoned = True

    def kill(self) -> None:
        """The process is gone, too."""
        self._abandoned = True
        if self._run is not None:
            self._world.books.ended(self.message.id, self._holder, "killed")
            self._run = None

    # ---- the process

    def _exec(self, run: Run) -> None:
        if self._abandoned:
            return
        self._tell(
            Began(
                run.message,
                run.job.name,
                run.request.run_id,
                run.log_stream,
                run.start_delay_s,
                run.request.scheduled_at,
            )
        )
        self._world.books.started(self.message.id, self._holder)
        self._run, self._behaviour = run, self._world.behave(run)
        self._end_at(self._world.clock.now + self._behaviour.run_s)
        self._world.clock.after(run.job.timeout_s, self._time_out, run)
        if self._cause is not None:
            self._told_to_end(run.job.grace_s)

    def _time_out(self, run: Run) -> None:
        if self._run is run and self._cause is None:
            self._timed_out = True
            self._told_to_end(run.job.grace_s)

    def _told_to_end(self, grace_s: float) -> None:
        assert self._behaviour is not None  # noqa: S101 set with the run
        now = self._world.clock.now
        self._kill_at = min(self._kill_at, now + grace_s)
        tidy_at = inf if self._behaviour.is_deaf else now + self._behaviour.tidy_s
        self._end_at(min(self._ends_at, self._kill_at, tidy_at))

    def _end_at(self, moment: float) -> None:
        if moment < self._ends_at:
            self._ends_at = moment
            self._world.clock.at(moment, self._dies, self._run)

    def _dies(self, run: Run) -> None:
        if self._run is not run or self._world.clock.now < self._ends_at:
            return
        assert self._behaviour is not None  # noqa: S101 set with the run
        self._run = None
        told = self._cause is not None or self._timed_out
        code = None if told else self._behaviour.exit_code
        ended = Ended(code, 15 if told else None, cause=self._cause, timed_out=self._timed_out)
        how = "told to end" if told else ("succeeded" if code == 0 else "failed")
        self._world.books.ended(self.message.id, self._holder, how)
        if not self._abandoned:
            self._tell(Settling(self.message))
        outcome = outcome_of(ended, run.job)
        reason = None if outcome is Outcome.SUCCEEDED else reason_of(ended, run.job)
        report = Report(
            job=run.job.name,
            run_id=run.request.run_id,
            log_stream=run.log_stream,
            reason=reason,
            exit_code=code,
        )
        self._world.clock.after(FLUSH_S, self._settle, outcome, run.job, report)

    # ---- the settlement

    def _settle(self, outcome: Outcome, job: Job | None, report: Report) -> None:
        if self._abandoned:
            return
        jitter = self._world.draw.random()
        decided = settlement(outcome, job, self.message.receive_count, report.exit_code, jitter)
        match decided.act:
            case Act.DEAD_LETTER:
                self._dead_letter(outcome, report)
            case Act.DELETE:
                self._delete(outcome, report)
            case Act.RELEASE:
                self._release(outcome, report, decided)
            case Act.LEAVE:
                self._finish(outcome, report, "left alone")

    def _dead_letter(self, outcome: Outcome, report: Report) -> None:
        facts = fitted(self.message, evidence(outcome, self.message, report))

        def failed(_: Exception) -> None:
            kept = kept_back(self.message.receive_count, self._world.draw.random())
            self._release(outcome, report, kept)

        self._wire.call(
            "dead-letter",
            SETTLE,
            lambda: self._world.bury(self.message, facts),
            lambda _: self._delete(outcome, report),
            failed,
        )

    def _delete(self, outcome: Outcome, report: Report) -> None:
        """Try for as long as the lease is held and nobody tells us to end."""
        if self._abandoned:
            return

        def failed(fault: Exception) -> None:
            if isinstance(fault, Refused) or self._cause is not None:
                self._finish(outcome, report, f"not deleted: {fault}")
                return
            self._delete_failures += 1
            jitter = self._world.draw.random()
            wait_s = backoff_s(DELETE_RETRY_S, self._delete_failures, DELETE_RETRY_CAP_S, jitter)
            self._world.clock.after(wait_s, self._delete, outcome, report)

        self._wire.call(
            "queue",
            SETTLE,
            lambda: self._world.queue.delete(self.message, self._holder),
            lambda _: self._finish(outcome, report, "deleted", deleted=True),
            failed,
        )

    def _release(self, outcome: Outcome, report: Report, decided: Settlement) -> None:
        timeout_s = self._world.stack.visibility_timeout_s
        self._wire.call(
            "queue",
            SETTLE,
            lambda: self._world.queue.change_visibility(self.message, decided.delay_s),
            lambda _: self._finish(
                outcome, report, f"back in {decided.delay_s} s", back_in_s=decided.delay_s
            ),
            lambda _: self._finish(outcome, report, "left alone", back_in_s=timeout_s),
        )

    def _finish(
        self,
        outcome: Outcome,
        report: Report,
        settled: str,
        *,
        deleted: bool = False,
        back_in_s: float | None = None,
    ) -> None:
        if not self._abandoned:
            self._world.clock.note(self._holder, f"{self.message.id} {outcome.value}, {settled}")
            told = replace(report, settled=settled)
            self._tell(Finished(self.message, outcome, deleted, back_in_s, told))
