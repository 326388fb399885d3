"""One run of a job: what its process is told, and what its end means."""

from collections.abc import Mapping
from dataclasses import dataclass

from observerd.core.events import Cause, Message, Outcome
from observerd.core.evidence import RETRIED
from observerd.core.job import Job
from observerd.core.request import BadMessage, Request, instant_text, read_request
from observerd.core.settlement import is_missed
from observerd.core.units import size_text

# One argument or variable may be 128 KiB to execve(2) (MAX_ARG_STRLEN), and all of them share a space that
# is smaller on some systems. Standard input carries every payload whole.
PAYLOAD_VARIABLE_LIMIT = 16_384

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Run:
    job: Job
    request: Request
    message: Message

    @property
    def log_stream(self) -> str:
        """{job}/{scheduled time}/{run id}-{attempt}; CloudWatch allows no colon in it."""
        instant = instant_text(self.request.scheduled_at).replace(":", "-")
        return f"{self.job.name}/{instant}/{self.request.run_id}-{self.message.receive_count}"

    @property
    def start_delay_s(self) -> float:
        return self.message.received_at - self.request.scheduled_at


@dataclass(frozen=True, slots=True)
class Refusal:
    """The message does not become a run."""

    outcome: Outcome
    reason: str
    request: Request | None = None
    job: Job | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job's process ended. Exactly one of exit_code, signal and fault is given; none where it was told
    to end before there was one."""

    exit_code: int | None = None
    signal: int | None = None
    fault: str | None = None
    """Why it could not be started."""
    cause: Cause | None = None
    """Why it was told to end while it still ran, if it was."""
    timed_out: bool = False
    out_of_memory: bool = False
    leaked: bool = False
    duration_s: float = 0.0
    cpu_s: float | None = None
    max_rss_bytes: int | None = None
    """None where the kernel's figure tells of the daemon that forked it, not of the job. Of a unit it is the
    peak that memory_max limits, page cache included."""


def plan(message: Message, jobs: Mapping[str, Job]) -> Run | Refusal:
    """The run that message asks for, or why there is none."""
    try:
        request = read_request(message)
    except BadMessage as fault:
        return Refusal(Outcome.REJECTED, str(fault))
    job = jobs.get(request.job)
    if job is None:
        return Refusal(Outcome.REJECTED, f"no job {request.job!r} is defined on this machine", request)
    limits_s = (job.max_lateness_s, request.max_lateness_s)
    if RETRIED not in message.attributes and is_missed(request.scheduled_at, message.received_at, limits_s):
        late_s = round(message.received_at - request.scheduled_at)
        return Refusal(
            Outcome.MISSED, f"{late_s} s after its scheduled time, later than allowed", request, job
        )
    return Run(job, request, message)


def environment(run: Run, common: Mapping[str, str]) -> dict[str, str]:
    """The job's whole environment but for what belongs to its account (HOME, USER, LOGNAME, SHELL).

    common comes first, then the job's own entries; OBSERVERD_* cannot be overridden.
    """
    ends_at = run.message.received_at + run.job.timeout_s
    own = {
        "OBSERVERD_JOB": run.job.name,
        "OBSERVERD_RUN_ID": run.request.run_id,
        "OBSERVERD_SCHEDULED_TIME": instant_text(run.request.scheduled_at),
        "OBSERVERD_ATTEMPT": str(run.message.receive_count),
        "OBSERVERD_MESSAGE_ID": run.message.id,
        "OBSERVERD_DEADLINE": instant_text(ends_at),
        "OBSERVERD_LOG_STREAM": run.log_stream,
    }
    if run.request.schedule:
        own["OBSERVERD_SCHEDULE"] = run.request.schedule
    if 0 < len(run.request.payload.encode()) <= PAYLOAD_VARIABLE_LIMIT and "\0" not in run.request.payload:
        own["OBSERVERD_PAYLOAD"] = run.request.payload
    return {"PATH": DEFAULT_PATH, "LANG": "C.UTF-8", **common, **run.job.environment, **own}


def outcome_of(ended: Ended, job: Job) -> Outcome:
    """What a process's end means for its message.

    A job that was told to end has not succeeded, even if it exits with 0: many programs take TERM for a
    polite request, tidy up and report success with half of the work done.
    """
    if ended.cause is not None:
        return Outcome.LOST if ended.cause is Cause.LEASE_LOST else Outcome.INTERRUPTED
    if ended.timed_out:
        return Outcome.TIMED_OUT
    if ended.exit_code in job.success_exit_codes:
        return Outcome.SUCCEEDED
    return Outcome.OUT_OF_MEMORY if ended.out_of_memory else Outcome.FAILED


def reason_of(ended: Ended, job: Job) -> str:
    """One line for people: why a run did not succeed."""
    if ended.fault is not None:
        return ended.fault
    if ended.cause is Cause.LEASE_LOST:
        return "its lease on the message was lost, so it was ended before another worker could start it"
    if ended.cause is Cause.STOP:
        return "ended because this worker is stopping"
    if ended.cause is Cause.OUTSIDE:
        return "its unit was stopped, and not by observerd"
    if ended.timed_out:
        return f"still running after its timeout of {job.timeout_s:g} s"
    if ended.out_of_memory:
        limit = f"its memory_max of {size_text(job.memory_max)}" if job.memory_max else "what there was"
        return f"out of memory: it needed more than {limit}"
    if ended.signal is not None:
        hint = " (perhaps the kernel, out of memory)" if ended.signal == 9 else ""  # noqa: PLR2004 SIGKILL
        return f"killed by signal {ended.signal}{hint}"
    return f"exit code {ended.exit_code}"
