"""The status as JSON, version 1. docs/monitoring.md documents it; the page is made of it, too.

Times of day are ISO 8601 in UTC, durations seconds. What is not known is null and never left out.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from observerd import __version__
from observerd.console import log_stream_url
from observerd.core.events import Outcome
from observerd.core.job import Job
from observerd.core.request import instant_text
from observerd.status import History, InProgress, Past, Status


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while the daemon runs. started_at is Unix time."""

    host: str
    pid: int
    queue: str
    region: str
    executor: str
    log_group: str | None
    started_at: float
    shows_output: bool = True


def report(status: Status, about: About, now: float, wall: float) -> dict[str, Any]:
    """What there is to say at one moment: now by clock.now(), wall in Unix time."""
    clock = _Clock(now, wall)
    running = Counter(run.job for run in status.running)
    return {
        "version": __version__,
        "host": about.host,
        "pid": about.pid,
        "queue": about.queue,
        "region": about.region,
        "executor": about.executor,
        "log_group": about.log_group,
        "started_at": instant_text(about.started_at),
        "at": instant_text(wall),
        "state": status.state.value,
        "ready": status.is_ready,
        "healthy": status.is_healthy(now),
        "fault": status.fault,
        "slots": {"total": status.slots, "busy": len(status.running), "settling": status.settling},
        "idle": _idle(status, clock),
        "running": [_in_progress(each, status, about, clock) for each in status.running],
        "jobs": [_job(status.jobs[name], running[name], status, clock) for name in sorted(status.jobs)],
        "recent": [_past(each, status, about, clock) for each in status.recent],
    }


class _Clock:
    """Turns moments of clock.now() into times of day and ages."""

    def __init__(self, now: float, wall: float) -> None:
        self._now = now
        self._wall = wall

    def instant(self, at: float | None) -> str | None:
        return None if at is None else instant_text(self._wall - self._now + at)

    def age_s(self, at: float) -> float:
        return round(max(0.0, self._now - at), 3)


def _idle(status: Status, clock: _Clock) -> dict[str, Any]:
    since, timeout_s = status.idle_since, status.idle_timeout_s
    leaves_at = None if since is None or timeout_s is None else since + timeout_s
    return {
        "since": clock.instant(since),
        "for_s": None if since is None else clock.age_s(since),
        "timeout_s": timeout_s,
        "leaves_at": clock.instant(leaves_at),
    }


def _in_progress(run: InProgress, status: Status, about: About, clock: _Clock) -> dict[str, Any]:
    job = status.jobs.get(run.job)
    return {
        "job": run.job,
        "run_id": run.run_id,
        "message_id": run.message_id,
        "attempt": run.attempt,
        "attempts": job.attempts if job else None,
        "started_at": clock.instant(run.began_at),
        "duration_s": clock.age_s(run.began_at),
        "usual_s": _usual_s(status.histories.get(run.job)),
        "timeout_s": job.timeout_s if job else None,
        "start_delay_s": round(run.start_delay_s, 3),
        "log_stream": run.log_stream,
        "log_url": _log_url(run.log_stream, about),
    }


def _job(job: Job, running: int, status: Status, clock: _Clock) -> dict[str, Any]:
    history = status.histories.get(job.name)
    last = history.last if history else None
    return {
        "name": job.name,
        "description": job.description,
        "user": job.user,
        "timeout_s": job.timeout_s,
        "attempts": job.attempts,
        "running": running,
        "last_outcome": last.outcome.value if last else None,
        "last_ended_at": clock.instant(last.ended_at) if last else None,
        "last_duration_s": _rounded(last.duration_s) if last else None,
        "last_succeeded_at": clock.instant(history.succeeded_at) if history else None,
        "usual_s": _usual_s(history),
        "next": "running" if running else _next(last, job, clock),
        "bars": [
            {"outcome": outcome.value, "duration_s": _rounded(duration_s)}
            for outcome, duration_s in (history.bars if history else ())
        ],
    }


def _past(run: Past, status: Status, about: About, clock: _Clock) -> dict[str, Any]:
    return {
        "job": run.job,
        "run_id": run.run_id,
        "outcome": run.outcome.value,
        "attempt": run.attempt,
        "exit_code": run.exit_code,
        "signal": run.signal,
        "reason": run.reason,
        "settled": run.settled,
        "next": _next(run, status.jobs.get(run.job or ""), clock),
        "ended_at": clock.instant(run.ended_at),
        "duration_s": _rounded(run.duration_s),
        "log_stream": run.log_stream,
        "log_url": _log_url(run.log_stream, about),
        "last_lines": run.last_lines if about.shows_output else "",
    }


def _next(last: Past | None, job: Job | None, clock: _Clock) -> str:
    """What becomes of it now, in a few words for people."""
    if last is None:
        return "has not run here"
    if last.settled.startswith("dead-lettered"):
        return "in the dead-letter queue: a person must look"
    if last.back_in_s is not None:
        return _back(last, job, clock)
    if last.outcome is Outcome.SUCCEEDED:
        return "waits for its schedule" if last.settled == "deleted" else "not deleted: comes again"
    if last.outcome is Outcome.MISSED:
        return "skipped: waits for its schedule"
    return "comes back when its visibility timeout is over"


def _back(last: Past, job: Job | None, clock: _Clock) -> str:
    tries = f", attempt {last.attempt + 1} of {job.attempts}" if job and last.attempt < job.attempts else ""
    left_s = round((last.back_in_s or 0.0) - clock.age_s(last.ended_at))
    return f"again in {left_s} s{tries}" if left_s > 0 else f"back in the queue{tries}"


def _usual_s(history: History | None) -> float | None:
    """The median of what succeeded here."""
    bars = history.bars if history else ()
    return _median(sorted(took_s for outcome, took_s in bars if outcome is Outcome.SUCCEEDED))


def _median(durations: Sequence[float]) -> float | None:
    return round(durations[len(durations) // 2], 3) if durations else None


def _log_url(stream: str | None, about: About) -> str | None:
    return log_stream_url(about.region, about.log_group, stream) if stream and about.log_group else None


def _rounded(duration_s: float | None) -> float | None:
    return None if duration_s is None else round(duration_s, 3)
