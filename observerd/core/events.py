"""The words: what can happen (past tense), what can be ordered (imperative), and what both speak of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from observerd.core.job import Job


class Attribute(NamedTuple):
    """A message attribute: the sender's data type ("String", "Number.int", "Binary", ...) and value."""

    data_type: str
    value: str | bytes


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery by SQS. The same message delivered again has the same id and another receipt handle."""

    id: str
    receipt_handle: str
    body: str
    attributes: Mapping[str, Attribute] = field(default_factory=lambda: MappingProxyType({}))
    """As the sender wrote them."""
    group_id: str | None = None
    receive_count: int = 1
    sent_at: float = 0.0
    """Unix time by the clock of SQS."""
    received_at: float = 0.0
    """Unix time by the clock of SQS: what lateness is judged by, so that a wrong local clock drops no run."""


class Outcome(Enum):
    """How a delivery fared. The values are metric labels and appear in evidence and logs."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timeout"
    OUT_OF_MEMORY = "oom"
    REJECTED = "rejected"
    MISSED = "missed"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    DUPLICATE = "duplicate"
    CRASHED = "crashed"
    """An error of observerd's own, not of the job's."""


class Cause(Enum):
    """Why a running job is told to end."""

    STOP = "stop"
    LEASE_LOST = "lease_lost"
    OUTSIDE = "outside"
    """Not by us: somebody stopped its unit, or this machine is going down."""


class ReceiveFault(Enum):
    """Why a receive failed: what will pass by itself, and what needs a person."""

    UNREACHABLE = "unreachable"
    THROTTLED = "throttled"
    QUEUE_MISSING = "queue_missing"
    DENIED = "denied"


class GiveUpAnswer(Enum):
    """What became of the attempt to give this instance up."""

    TERMINATING = "terminating"
    KEPT = "kept"
    """The group needs this instance (MinSize): stay in service."""
    DENIED = "denied"
    """Giving up is not allowed to us: stay in service, and let a person mend it."""
    FAILED = "failed"
    """Throttled, another scaling activity is under way, or no answer: ask again."""


class Shrink(Enum):
    """What becomes of the group's desired capacity when this instance is given up."""

    ALWAYS = "always"
    """It is lowered, or the instance stays: there is no work."""
    IF_ALLOWED = "if_allowed"
    """It is lowered, unless that would break the group's minimum: then the group starts another instance."""
    NEVER = "never"
    """The group starts another instance in place of this one: there may be work."""


class ProtectAnswer(Enum):
    """What became of the attempt to protect this instance from scale-in."""

    PROTECTED = "protected"
    NOT_YET = "not_yet"
    """The instance is not in service yet: ask again soon."""
    NEEDLESS = "needless"
    """It is in no group."""
    FAILED = "failed"


class TargetState(Enum):
    """The lifecycle state that the group is bringing this instance to, as instance metadata tells it."""

    IN_SERVICE = "InService"
    STANDBY = "Standby"
    DETACHED = "Detached"
    TERMINATED = "Terminated"
    WARMED = "Warmed"
    """In, or on the way to, a warm pool: stopped, hibernated or running."""


# ---- what can happen


@dataclass(frozen=True, slots=True)
class Received:
    """A poll came back, with messages or with none."""

    messages: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiveFailed:
    fault: ReceiveFault
    detail: str


@dataclass(frozen=True, slots=True)
class Began:
    """A job's process is about to be started."""

    message: Message
    job: str
    run_id: str
    log_stream: str
    start_delay_s: float
    """From the scheduled time to the delivery, by the clock of SQS."""
    scheduled_at: float
    """Unix time."""


@dataclass(frozen=True, slots=True)
class Report:
    """What there is to say of a message's life here, for people. Times in seconds."""

    job: str | None = None
    run_id: str | None = None
    scheduled_at: float | None = None
    """Unix time, where the message could be read."""
    log_stream: str | None = None
    reason: str | None = None
    """One line: why it did not succeed."""
    exit_code: int | None = None
    signal: int | None = None
    settled: str = ""
    """What SQS was told, in a word or a few."""
    duration_s: float | None = None
    cpu_s: float | None = None
    max_rss_bytes: int | None = None
    """None where it is not known: see Ended."""
    leaked: bool = False
    """A process of the job's escaped its session and held the output open."""
    lines: int = 0
    lines_to_journal: int = 0
    """Those that CloudWatch Logs did not take."""
    lines_dropped: int = 0
    last_lines: str = ""
    """The end of its output: 20 lines and 4 KiB at most."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A message's life here ended; its slot is free."""

    message: Message
    outcome: Outcome
    deleted: bool = False
    back_in_s: float | None = None
    """Seconds until SQS shows the message again, where it was given back."""
    report: Report = field(default_factory=Report)


@dataclass(frozen=True, slots=True)
class Extended:
    """An answer to Extend, by receipt handle: by message id, a late answer could end the next delivery.

    A lease counts anew from asked_at, when the call was made.
    """

    asked_at: float
    kept: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    """SQS takes these no longer: somebody else may have the messages."""
    unanswered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Released:
    """What Release named has been shown to others, or will be when its visibility timeout is over."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    reason: str


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """Somebody wants the daemon to finish what runs and this instance to be replaced."""

    reason: str


@dataclass(frozen=True, slots=True)
class CrewDied:
    """A thread of ours died of an error of ours. The rest cannot be trusted to go on alone."""

    name: str
    error: str


@dataclass(frozen=True, slots=True)
class GaveUp:
    answer: GiveUpAnswer
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Counted:
    """An answer to Count: about so many messages are visible; None: not known."""

    waiting: int | None


@dataclass(frozen=True, slots=True)
class Held:
    """An answer to Hold. fault is one line, or None."""

    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Protected:
    """An answer to Protect."""

    answer: ProtectAnswer
    detail: str = ""


@dataclass(frozen=True, slots=True)
class TargetStateChanged:
    """Also told once at the start, when the state is first known."""

    state: TargetState


@dataclass(frozen=True, slots=True)
class SpotNoticed:
    """EC2 takes this Spot instance back."""

    action: str
    """terminate, stop or hibernate."""
    gone_in_s: float


@dataclass(frozen=True, slots=True)
class RebalanceRecommended:
    """EC2 sees an elevated risk of taking this Spot instance back. It may never happen."""


@dataclass(frozen=True, slots=True)
class ReloadRequested:
    """The configuration is to be read again."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """An answer to Reload: these are the jobs that messages may name from here on."""

    jobs: Mapping[str, Job]
    warnings: tuple[str, ...] = ()
    not_applied: tuple[str, ...] = ()
    """Keys that have another value than at the start, and that only a restart applies."""


@dataclass(frozen=True, slots=True)
class ReloadFailed:
    """An answer to Reload: faults, one line each, are why everything stays as it is."""

    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TimeUp:
    """The moment that Consumer.wake_at named has come."""


Event = (
    Received
    | ReceiveFailed
    | Released
    | Began
    | Finished
    | Extended
    | StopRequested
    | DrainRequested
    | CrewDied
    | GaveUp
    | Counted
    | Held
    | Protected
    | TargetStateChanged
    | SpotNoticed
    | RebalanceRecommended
    | ReloadRequested
    | Reloaded
    | ReloadFailed
    | TimeUp
)

# ---- what can be ordered


@dataclass(frozen=True, slots=True)
class Poll:
    """Receive at most so many messages, waiting so long for the first."""

    at_most: int
    wait_s: int


@dataclass(frozen=True, slots=True)
class Start:
    message: Message


@dataclass(frozen=True, slots=True)
class Discard:
    """Delete a message whose job has already succeeded here: only its deletion had failed."""

    message: Message


@dataclass(frozen=True, slots=True)
class Ignore:
    """Leave alone a second delivery of a message that runs here, or what may be another's by now."""

    message: Message
    stale: bool = False
    """The latter: its answer took so long that the lease may be over."""


@dataclass(frozen=True, slots=True)
class Release:
    """Show the messages to others at once."""

    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Extend:
    """Keep up to ten messages invisible, each for so many seconds from now."""

    leases: tuple[tuple[Message, int], ...]


@dataclass(frozen=True, slots=True)
class End:
    """End the message's job: TERM, and KILL after grace_s (None: the job's own grace; 0: at once)."""

    message: Message
    cause: Cause
    grace_s: float | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """Ask how many messages are visible, which are those behind a running one of their FIFO group as well."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Have the group terminate this instance."""

    shrink: Shrink = Shrink.ALWAYS


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the group's lifecycle hook from running out under what still runs here."""


@dataclass(frozen=True, slots=True)
class Protect:
    """Keep the group's scaling policies from choosing this instance to be terminated."""


@dataclass(frozen=True, slots=True)
class Reload:
    """Read the configuration again."""


@dataclass(frozen=True, slots=True)
class Exit:
    status: int
    reason: str


Order = (
    Poll | Start | Discard | Ignore | Release | Extend | End | Count | GiveUp | Hold | Protect | Reload | Exit
)
