"""One thread a message: from received to settled, in a straight line."""

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from observerd import clock
from observerd.bell import Bell
from observerd.core.backoff import backoff_s
from observerd.core.events import Began, Cause, Event, Finished, Message, Outcome, Report, Settling
from observerd.core.evidence import evidence, fitted
from observerd.core.job import Job
from observerd.core.run import Ended, Refusal, Run, outcome_of, plan, reason_of
from observerd.core.settlement import Act, Settlement, kept_back, settlement
from observerd.executors import Executor
from observerd.joblog import Delivery, JobLogs
from observerd.sqs import HandleRefused, NoDeadLetterQueue, Queue, SqsFault

log = logging.getLogger(__name__)

# Between two tries to delete, while the lease is held.
DELETE_RETRY_S, DELETE_RETRY_CAP_S = 0.5, 10.0
# A suspension: more than two clocks, read one after the other by a thread that waits its turn, differ by.
ASLEEP_S = 1.0


@dataclass(frozen=True, slots=True)
class _Told:
    """What SQS has been told, and what that means for the message."""

    words: str
    deleted: bool = False
    back_in_s: float | None = None


class Runner:
    """Lives the lives of messages. live and discard are safe to call from many threads at once."""

    def __init__(
        self,
        queue: Queue,
        executor: Executor,
        logs: JobLogs,
        jobs: Mapping[str, Job],
        tell: Callable[[Event], None],
    ) -> None:
        self._queue = queue
        self._executor = executor
        self._logs = logs
        self.jobs = jobs
        """What messages may name. Replaced as a whole, by the main thread."""
        self._tell = tell

    def live(self, message: Message, bell: Bell) -> Finished:
        """Carry message to its settlement. Never raises: an error of ours is an outcome too."""
        try:
            planned = plan(message, self.jobs)
            if isinstance(planned, Refusal):
                return self._refuse(message, planned, bell)
            return self._run(planned, bell)
        except Exception as error:
            log.exception("run crashed", extra={"message_id": message.id})
            report = Report(reason=f"observerd's own error: {type(error).__name__}: {error}")
            return self._settle(message, Outcome.CRASHED, None, report, bell)

    def hold(self, for_s: float) -> None:
        """See Executor.hold."""
        self._executor.hold(for_s)

    def discard(self, message: Message, bell: Bell) -> Finished:
        """Delete a message whose job has already succeeded here."""
        report = Report(reason="its run had succeeded here before; only the delete had failed")
        return self._settle(message, Outcome.SUCCEEDED, None, report, bell)

    def _refuse(self, message: Message, refusal: Refusal, bell: Bell) -> Finished:
        request = refusal.request
        report = Report(
            job=request.job if request else None,
            run_id=request.run_id if request else None,
            scheduled_at=request.scheduled_at if request else None,
            reason=refusal.reason,
        )
        return self._settle(message, refusal.outcome, refusal.job, report, bell)

    def _run(self, run: Run, bell: Bell) -> Finished:
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
        output = self._logs.open(run.log_stream)
        try:
            # On a machine that is short of time this thread may get its turn when others have the message.
            ended = Ended(cause=bell.cause) if bell.cause else self._executor.run(run, output.write, bell)
        finally:
            self._tell(Settling(run.message))
            # While the lease is still held: the log of a deleted message must not be lost with this machine.
            delivery = output.close()
        if outcome_of(ended, run.job) is not Outcome.SUCCEEDED and _is_lost(bell):
            # Others may have the message by now: it is not ours to give back.
            ended = replace(ended, cause=Cause.LEASE_LOST)
        outcome = outcome_of(ended, run.job)
        report = _report(run, ended, outcome, delivery, output.tail())
        return self._settle(run.message, outcome, run.job, report, bell)

    def _settle(
        self, message: Message, outcome: Outcome, job: Job | None, report: Report, bell: Bell
    ) -> Finished:
        decided = settlement(outcome, job, message.receive_count, report.exit_code, random.random())  # noqa: S311 jitter
        if decided.act is Act.DEAD_LETTER:
            told = self._dead_letter(message, outcome, report, bell)
        elif decided.act is Act.DELETE:
            told = self._delete(message, bell)
        else:
            told = self._release(message, decided)
        return Finished(message, outcome, told.deleted, told.back_in_s, replace(report, settled=told.words))

    def _dead_letter(self, message: Message, outcome: Outcome, report: Report, bell: Bell) -> _Told:
        try:
            self._queue.dead_letter(message, fitted(message, evidence(outcome, message, report)))
        except (NoDeadLetterQueue, SqsFault) as fault:
            # Kept where it is rather than deleted without a trace.
            log.error("message not dead-lettered", extra={"message_id": message.id, "fault": str(fault)})  # noqa: TRY400 one line
            return self._release(message, kept_back(message.receive_count, random.random()))  # noqa: S311 jitter
        told = self._delete(message, bell)
        return replace(told, words=f"dead-lettered, {told.words}")

    def _delete(self, message: Message, bell: Bell) -> _Told:
        """Try for as long as the lease is held and nobody tells us to end."""
        failures = 0
        while bell.cause is None or not failures:
            try:
                self._queue.delete(message)
            except HandleRefused as fault:
                return _Told(f"delete refused: {fault}")
            except SqsFault as fault:
                failures += 1
                log.warning("message not deleted yet", extra={"message_id": message.id, "fault": str(fault)})
                bell.wait(backoff_s(DELETE_RETRY_S, failures, DELETE_RETRY_CAP_S, random.random()))  # noqa: S311 jitter
            else:
                return _Told("deleted", deleted=True)
        return _Told("not deleted")

    def _release(self, message: Message, decided: Settlement) -> _Told:
        if decided.act is Act.LEAVE:
            return _Told("left alone")
        try:
            self._queue.release(message, decided.delay_s)
        except (HandleRefused, SqsFault) as fault:
            # It comes back by itself when its visibility timeout is over.
            log.warning("message not released", extra={"message_id": message.id, "fault": str(fault)})
            return _Told("left alone", back_in_s=self._queue.visibility_timeout_s)
        return _Told(f"back in {decided.delay_s} s", back_in_s=decided.delay_s)


def _is_lost(bell: Bell) -> bool:
    """Whether the lease is. A job may fail, and its log be closed, as soon as its machine is awake: the main
    thread, which keeps the leases, has looked at them within two looks."""
    if bell.cause is None and clock.asleep_s() - bell.asleep_s >= ASLEEP_S:
        bell.wait(2 * clock.LOOK_S)
    return bell.cause is Cause.LEASE_LOST


def _report(run: Run, ended: Ended, outcome: Outcome, delivery: Delivery, last_lines: str) -> Report:
    return Report(
        job=run.job.name,
        run_id=run.request.run_id,
        scheduled_at=run.request.scheduled_at,
        log_stream=run.log_stream,
        reason=None if outcome is Outcome.SUCCEEDED else reason_of(ended, run.job),
        exit_code=ended.exit_code,
        signal=ended.signal,
        duration_s=ended.duration_s,
        cpu_s=ended.cpu_s,
        max_rss_bytes=ended.max_rss_bytes,
        leaked=ended.leaked,
        lines=delivery.lines,
        lines_to_journal=delivery.to_journal,
        lines_dropped=delivery.dropped,
        last_lines=last_lines,
    )
