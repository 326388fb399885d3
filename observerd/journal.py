"""Writes down what happened: the log line, the metrics and the line in `systemctl status`, in one place."""

import logging
from typing import Any

from observerd.core.events import (
    Began,
    Cause,
    Counted,
    CrewDied,
    DrainRequested,
    End,
    Event,
    Exit,
    Extended,
    Finished,
    GaveUp,
    GiveUp,
    GiveUpAnswer,
    Held,
    Ignore,
    Message,
    Order,
    Outcome,
    ProtectAnswer,
    Protected,
    RebalanceRecommended,
    Received,
    ReceiveFailed,
    Release,
    Reloaded,
    ReloadFailed,
    Settling,
    SpotNoticed,
    StopRequested,
    TargetState,
    TargetStateChanged,
)
from observerd.metrics import Metrics

log = logging.getLogger("observerd")

# INFO is what an operator would tell a colleague, WARNING asks for attention later, ERROR now.
_LEVELS = {
    Outcome.SUCCEEDED: logging.INFO,
    Outcome.INTERRUPTED: logging.INFO,
    Outcome.FAILED: logging.WARNING,
    Outcome.TIMED_OUT: logging.WARNING,
    Outcome.OUT_OF_MEMORY: logging.WARNING,
}


class Journal:
    """Told of every event and every order, on the main thread."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._outage_at: float | None = None
        self._failures = 0
        self._unanswered = False
        self._gave_up_before: GiveUpAnswer | None = None
        self._protected_before: ProtectAnswer | None = None
        self._jobs: dict[str, str] = {}
        self._busy: set[str] = set()

    def event(self, event: Event, now: float) -> None:
        match event:
            case Received(messages):
                self._received(messages, now)
            case ReceiveFailed():
                self._receive_failed(event, now)
            case Began():
                self._began(event)
            case Settling() | Finished():
                self._ended(event)
            case Extended():
                self._extended(event)
            case StopRequested(reason):
                self._metrics.stop_requested("signal" if reason.startswith("SIG") else "other")
                log.info("stop requested", extra={"reason": reason})
            case CrewDied(name, error):
                log.critical("crew thread died", extra={"thread_name": name, "error": error})
            case Reloaded():
                self._reloaded(event)
            case ReloadFailed(faults):
                self._metrics.loaded(well=False)
                facts = {"fault": faults[0], "more_faults": len(faults) - 1 or None}
                log.error("configuration not reloaded, the one before stays", extra=facts)
            case _:
                self._instance_event(event)

    def _reloaded(self, event: Reloaded) -> None:
        self._metrics.know(event.jobs)
        self._metrics.loaded(well=True)
        log.info("configuration reloaded", extra={"jobs": len(event.jobs)})
        for warning in event.warnings:
            log.warning("configuration", extra={"warning": warning})
        if event.not_applied:
            log.warning("changed, and waits for a restart", extra={"keys": ",".join(event.not_applied)})

    def _instance_event(self, event: Event) -> None:
        match event:
            case Counted(waiting) if waiting:
                log.info("idle, and stays for what waits behind running jobs", extra={"waiting": waiting})
            case GaveUp() | Held():
                self._leaving(event)
            case Protected():
                self._protected(event)
            case TargetStateChanged(state):
                log.info("lifecycle state", extra={"target": state.value})
                if state is TargetState.TERMINATED and self._gave_up_before is not GiveUpAnswer.TERMINATING:
                    self._metrics.stop_requested("terminated")
            case SpotNoticed(action, gone_in_s):
                log.warning("Spot instance taken back", extra={"action": action, "gone_in_s": gone_in_s})
                self._metrics.stop_requested("spot")
            case RebalanceRecommended():
                log.warning("Spot instance at risk, leaving at the first idle moment")
            case DrainRequested(reason):
                log.info(reason)
                self._metrics.stop_requested("drain")

    def order(self, order: Order) -> None:
        match order:
            case Ignore(message, stale=True):
                text = "message left alone, as its lease may be over by now"
                log.warning(text, extra={"message_id": message.id})
            case Ignore(message):
                log.warning("duplicate delivery left alone", extra={"message_id": message.id})
                self._metrics.runs.labels(self._job(message.id), Outcome.DUPLICATE.value).inc()
            case Release(messages):
                for message in messages:
                    log.info("late message released", extra={"message_id": message.id})
                    self._metrics.messages.labels("released").inc()
            case End(message, cause, grace_s):
                level = logging.ERROR if cause is Cause.LEASE_LOST else logging.INFO
                facts = {"message_id": message.id, "cause": cause.value, "kill_in_s": grace_s}
                log.log(level, "ending job", extra=facts)
            case GiveUp(shrink):
                log.info("giving this instance up", extra={"shrink": shrink.value})
            case Exit(status, reason):
                log.info("leaving", extra={"reason": reason, "exit_status": status})

    def _received(self, messages: tuple[Message, ...], now: float) -> None:
        self._metrics.receives.labels("message" if messages else "empty").inc()
        for each in messages:
            self._metrics.receive_counts.observe(each.receive_count)
        if self._outage_at is not None:
            facts = {"outage_s": now - self._outage_at, "failures": self._failures}
            log.warning("receiving works again", extra=facts)
            self._outage_at, self._failures = None, 0

    def _receive_failed(self, event: ReceiveFailed, now: float) -> None:
        self._metrics.receives.labels("error").inc()
        self._failures += 1
        if self._outage_at is None:
            self._outage_at = now
            log.warning("receiving failed", extra={"fault": event.fault.value, "detail": event.detail})

    def _began(self, event: Began) -> None:
        job = self._metrics.job(event.job)
        self._jobs[event.message.id] = job
        self._busy.add(event.message.id)
        self._metrics.running.labels(job).inc()
        self._metrics.busy.inc()
        self._metrics.start_delay.labels(job).observe(max(0.0, event.start_delay_s))
        facts = {
            "job": event.job,
            "run_id": event.run_id,
            "attempt": event.message.receive_count,
            "start_delay_s": event.start_delay_s,
            "message_id": event.message.id,
            "log_stream": event.log_stream,
        }
        log.info("run started", extra=facts)

    def _ended(self, event: Settling | Finished) -> None:
        message_id = event.message.id
        if message_id in self._busy:
            self._busy.discard(message_id)
            self._metrics.running.labels(self._jobs[message_id]).dec()
            self._metrics.busy.dec()
        if isinstance(event, Finished):
            self._finished(event)

    def _finished(self, event: Finished) -> None:
        self._jobs.pop(event.message.id, None)
        job = self._metrics.job(event.report.job)
        self._metrics.ended(job, event.outcome, event.report)
        self._metrics.messages.labels(_fate(event)).inc()
        log.log(_level(event), "run ended", extra=_facts(event))

    def _extended(self, event: Extended) -> None:
        self._metrics.extensions.labels("ok").inc(len(event.kept))
        self._metrics.extensions.labels("error").inc(len(event.unanswered))
        self._metrics.extensions.labels("refused").inc(len(event.refused))
        if event.unanswered and not self._unanswered:
            log.warning("leases not extended", extra={"messages": len(event.unanswered)})
        if event.kept and self._unanswered:
            log.warning("leases extended again")
        self._unanswered = bool(event.unanswered)

    def _leaving(self, event: GaveUp | Held) -> None:
        if isinstance(event, GaveUp):
            self._gave_up(event)
            return
        self._metrics.holds.labels("error" if event.fault else "ok").inc()
        if event.fault:
            log.warning("lifecycle hook not extended", extra={"fault": event.fault})

    def _gave_up(self, event: GaveUp) -> None:
        self._metrics.give_ups.labels(event.answer.value).inc()
        facts = {"answer": event.answer.value, "detail": event.detail}
        if event.answer is GiveUpAnswer.TERMINATING:
            log.info("instance given up, taking a last look", extra=facts)
        elif event.answer is GiveUpAnswer.FAILED or event.answer is not self._gave_up_before:
            # What is denied goes on costing money until a person allows it.
            level = logging.ERROR if event.answer is GiveUpAnswer.DENIED else logging.WARNING
            log.log(level, "instance not given up, staying in service", extra=facts)
        self._gave_up_before = event.answer

    def _protected(self, event: Protected) -> None:
        facts = {"answer": event.answer.value, "detail": event.detail}
        if event.answer is ProtectAnswer.PROTECTED:
            log.info("protected from scale-in", extra=facts)
        elif event.answer is ProtectAnswer.FAILED and event.answer is not self._protected_before:
            log.error("not protected from scale-in: its group may end it under a job", extra=facts)
        self._protected_before = event.answer
        self._metrics.protected.set(event.answer is ProtectAnswer.PROTECTED)

    def _job(self, message_id: str) -> str:
        return self._jobs.get(message_id, self._metrics.job(None))


def _level(event: Finished) -> int:
    if event.report.settled.startswith("dead-lettered"):
        return logging.ERROR
    if event.outcome is Outcome.SUCCEEDED and not event.deleted:
        return logging.WARNING
    return _LEVELS.get(event.outcome, logging.ERROR)


def _fate(event: Finished) -> str:
    if event.report.settled.startswith("dead-lettered"):
        return "dead_lettered"
    if event.deleted:
        return "deleted"
    return "left" if event.back_in_s is None else "released"


def _facts(event: Finished) -> dict[str, Any]:
    report = event.report
    return {
        "job": report.job,
        "run_id": report.run_id,
        "outcome": event.outcome.value,
        "settled": report.settled,
        "reason": report.reason,
        "exit_code": report.exit_code,
        "signal": report.signal,
        "duration_s": report.duration_s,
        "cpu_s": report.cpu_s,
        "max_rss_bytes": report.max_rss_bytes,
        "attempt": event.message.receive_count,
        "lines": report.lines,
        "lines_dropped": report.lines_dropped or None,
        "leaked": report.leaked or None,
        "message_id": event.message.id,
        "log_stream": report.log_stream,
    }
