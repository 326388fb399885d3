"""The words: what can happen (past tense), what can be ordered (imperative), and what both speak of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import ClassVar, NamedTuple

from observerd.core.job import Job


class _Value:
    """Equal where class and content are, and shown by its content.

    dataclass would make these methods anew for each class: a third of the time it takes to make one, and all
    of them are made before the first receive.
    """

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._content() == other._content()

    def __hash__(self) -> int:
        return hash(self._content())

    def __repr__(self) -> str:
        named = zip(self.__match_args__, self._content(), strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in named)})"

    def _content(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__match_args__)


class Attribute(NamedTuple):
    """A message attribute: the sender's data type ("String", "Number.int", "Binary", ...) and value."""

    data_type: str
    value: str | bytes


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Message(_Value):
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


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Received(_Value):
    """A poll came back, with messages or with none."""

    messages: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ReceiveFailed(_Value):
    fault: ReceiveFault
    detail: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Began(_Value):
    """A job's process is about to be started."""

    message: Message
    job: str
    run_id: str
    log_stream: str
    start_delay_s: float
    """From the scheduled time to the delivery, by the clock of SQS."""
    scheduled_at: float
    """Unix time."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Settling(_Value):
    """A job has ended, so its slot is free; SQS is still to be told what becomes of the message."""

    message: Message


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Report(_Value):
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


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Finished(_Value):
    """A message's life here ended."""

    message: Message
    outcome: Outcome
    deleted: bool = False
    back_in_s: float | None = None
    """Seconds until SQS shows the message again, where it was given back."""
    report: Report = field(default_factory=Report)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Extended(_Value):
    """An answer to Extend, by receipt handle: by message id, a late answer could end the next delivery.

    A lease counts anew from asked_at, when the call was made.
    """

    asked_at: float
    kept: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    """SQS takes these no longer: somebody else may have the messages."""
    unanswered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Released(_Value):
    """What Release named has been shown to others, or will be when its visibility timeout is over."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StopRequested(_Value):
    reason: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DrainRequested(_Value):
    """Somebody wants the daemon to finish what runs and this instance to be replaced."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CrewDied(_Value):
    """A thread of ours died of an error of ours. The rest cannot be trusted to go on alone."""

    name: str
    error: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class GaveUp(_Value):
    answer: GiveUpAnswer
    detail: str = ""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Counted(_Value):
    """An answer to Count: about so many messages are visible; None: not known."""

    waiting: int | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Held(_Value):
    """An answer to Hold. fault is one line, or None."""

    fault: str | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Protected(_Value):
    """An answer to Protect."""

    answer: ProtectAnswer
    detail: str = ""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TargetStateChanged(_Value):
    """Also told once at the start, when the state is first known."""

    state: TargetState


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SpotNoticed(_Value):
    """EC2 takes this Spot instance back."""

    action: str
    """terminate, stop or hibernate."""
    gone_in_s: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RebalanceRecommended(_Value):
    """EC2 sees an elevated risk of taking this Spot instance back. It may never happen."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ReloadRequested(_Value):
    """The configuration is to be read again."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Reloaded(_Value):
    """An answer to Reload: these are the jobs that messages may name from here on."""

    jobs: Mapping[str, Job]
    warnings: tuple[str, ...] = ()
    not_applied: tuple[str, ...] = ()
    """Keys that have another value than at the start, and that only a restart applies."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ReloadFailed(_Value):
    """An answer to Reload: faults, one line each, are why everything stays as it is."""

    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TimeUp(_Value):
    """The moment that Consumer.wake_at named has come."""


Event = (
    Received
    | ReceiveFailed
    | Released
    | Began
    | Settling
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


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Poll(_Value):
    """Receive at most so many messages, waiting so long for the first."""

    at_most: int
    wait_s: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Start(_Value):
    message: Message


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Discard(_Value):
    """Delete a message whose job has already succeeded here: only its deletion had failed."""

    message: Message


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Ignore(_Value):
    """Leave alone a second delivery of a message that runs here, or what may be another's by now."""

    message: Message
    stale: bool = False
    """The latter: its answer took so long that the lease may be over."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Release(_Value):
    """Show the messages to others at once."""

    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Extend(_Value):
    """Keep up to ten messages invisible, each for so many seconds from now."""

    leases: tuple[tuple[Message, int], ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class End(_Value):
    """End the message's job: TERM, and KILL after grace_s (None: the job's own grace; 0: at once)."""

    message: Message
    cause: Cause
    grace_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Count(_Value):
    """Ask how many messages are visible, which are those behind a running one of their FIFO group as well."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class GiveUp(_Value):
    """Have the group terminate this instance."""

    shrink: Shrink = Shrink.ALWAYS


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Hold(_Value):
    """Keep the group's lifecycle hook from running out under what still runs here."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Protect(_Value):
    """Keep the group's scaling policies from choosing this instance to be terminated."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Reload(_Value):
    """Read the configuration again."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Exit(_Value):
    status: int
    reason: str


Order = (
    Poll | Start | Discard | Ignore | Release | Extend | End | Count | GiveUp | Hold | Protect | Reload | Exit
)
