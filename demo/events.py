"""What can happen in the emulated world. Each is told once, as it happens, from whatever thread saw it."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Called:
    """An API of AWS was called, and has answered."""

    service: str
    action: str
    """The API's name for it; "METHOD /path" where the service speaks REST."""
    caller: str
    """The access key it was signed with: YOU, PRODUCER, WORKER or JOB."""
    parameters: dict[str, Any]
    status: int
    answer: Any
    """Where that is JSON."""
    began_at: float
    ended_at: float
    """By time.monotonic() of the emulator."""


@dataclass(frozen=True, slots=True)
class Broke:
    """The emulated world itself has failed. What is left to see of it means nothing."""

    what: str


@dataclass(frozen=True, slots=True)
class CapacityChanged:
    """The group's desired capacity."""

    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Launched:
    instance_id: str
    zone: str


@dataclass(frozen=True, slots=True)
class Booted:
    """The machine's configuration is written, and its daemon has been started."""

    instance_id: str
    pid: int


@dataclass(frozen=True, slots=True)
class Said:
    """A line of the daemon's log."""

    instance_id: str
    message: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Left:
    """The daemon is gone."""

    instance_id: str
    status: int
    """Its exit status; minus the signal's number where a signal ended it."""
    told: bool
    """Whether the machine was switched off before the daemon left by itself."""


Event = Called | Broke | CapacityChanged | Launched | Booted | Said | Left
