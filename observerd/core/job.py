"""What a job is: the command and the rules that the machine image gives to a name."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

# A name becomes part of log stream names and unit names, so it may hold nothing
# that means something to a path, a shell or a format string.
JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")

# SQS takes a message back 12 hours after it was received, however often it was extended
# (SQS Developer Guide, "visibility timeout"). The quarter hour is for grace, log flush and delete.
VISIBILITY_LIMIT_S = 43_200.0
TIMEOUT_LIMIT_S = VISIBILITY_LIMIT_S - 900.0

# Also the longest that a backed-off message keeps its instance waiting: beyond that, waking anew is cheaper.
BACKOFF_CAP_S = 900.0

# What the ladder of a stop gives a job beyond its own grace before it goes on to KILL.
GRACE_MARGIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """One entry of jobs.d. Times are in seconds."""

    name: str
    command: tuple[str, ...]
    user: str | None = None
    working_directory: str = "/"
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    timeout_s: float = 3_600.0
    grace_s: float = 30.0
    attempts: int = 3
    backoff_s: float = 60.0
    max_lateness_s: float | None = None
    success_exit_codes: frozenset[int] = frozenset({0})
    no_retry_exit_codes: frozenset[int] = frozenset({64, 65, 78})
    nice: int = 0
    description: str = ""
    ping_url: str | None = None
    # What follows is kept by the systemd executor alone.
    memory_max: int | None = None
    """Bytes."""
    tasks_max: int | None = None
    cpu_quota: str | None = None
    """Of one CPU, as "50%"."""
    cpu_weight: int | None = None
    io_weight: int | None = None
    sandbox: bool = True
    metadata_access: bool = False
    """Whether it may ask the instance metadata service, which gives out the instance's role."""


def time_to_end_s(jobs: Iterable[Job]) -> float:
    """What a told job may take to end: the longest grace of any, and a little."""
    return max((job.grace_s for job in jobs), default=0.0) + GRACE_MARGIN_S
