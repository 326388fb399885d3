"""What SQS is told when a message's life here ends. The whole policy is the table in settlement()."""

from dataclasses import dataclass
from enum import Enum

from observerd.core.backoff import backoff_s
from observerd.core.events import Outcome
from observerd.core.job import BACKOFF_CAP_S, Job


class Act(Enum):
    DELETE = "delete"
    RELEASE = "release"
    DEAD_LETTER = "dead_letter"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Settlement:
    act: Act
    delay_s: int = 0
    """Seconds until SQS shows a released message again."""


DELETE = Settlement(Act.DELETE)
DEAD_LETTER = Settlement(Act.DEAD_LETTER)
LEAVE = Settlement(Act.LEAVE)
AT_ONCE = Settlement(Act.RELEASE)


def settlement(
    outcome: Outcome, job: Job | None, receive_count: int, exit_code: int | None, jitter: float
) -> Settlement:
    """What SQS is told after outcome. job is None where the message never became a run."""
    match outcome:
        case Outcome.SUCCEEDED | Outcome.MISSED:
            return DELETE
        case Outcome.INTERRUPTED:
            return AT_ONCE
        case Outcome.LOST | Outcome.DUPLICATE:
            return LEAVE
        case Outcome.REJECTED:
            return DEAD_LETTER
        case Outcome.CRASHED:
            # Ours, not the job's: it costs no attempt. The queue's own redrive ends it if it stays.
            return _release(60.0, receive_count, jitter)
    if job is None or exit_code in job.no_retry_exit_codes or receive_count >= job.attempts:
        return DEAD_LETTER
    return _release(job.backoff_s, receive_count, jitter)


def kept_back(receive_count: int, jitter: float) -> Settlement:
    """In place of a dead-letter queue that is missing or does not answer: the message stays in its queue."""
    return _release(60.0, receive_count, jitter)


def is_missed(scheduled_at: float, received_at: float, limits_s: tuple[float | None, ...]) -> bool:
    """Whether a run is later than the strictest of its limits allows; None is no limit."""
    given = [limit_s for limit_s in limits_s if limit_s is not None]
    return bool(given) and received_at - scheduled_at > min(given)


def _release(base_s: float, receive_count: int, jitter: float) -> Settlement:
    return Settlement(Act.RELEASE, round(backoff_s(base_s, receive_count, BACKOFF_CAP_S, jitter)))
