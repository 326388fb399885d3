"""What the machine is told of itself: the EC2 instance metadata service, and a watch on what it says next."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

import ec2_metadata
import urllib3

from observerd.core.events import (
    CrewDied,
    Event,
    RebalanceRecommended,
    SpotNoticed,
    TargetState,
    TargetStateChanged,
)

log = logging.getLogger(__name__)

GROUP_TAG = "aws:autoscaling:groupName"
# As often as EC2's guide to Spot interruption notices asks for.
LOOK_EVERY_S = 5.0
# What a Spot notice leaves at the most. A local clock that is wrong must not make it more.
SPOT_NOTICE_S = 120.0
# One attempt: IMDS is on the machine itself; what it does not answer in a second it will not answer.
_TIMEOUT = urllib3.Timeout(connect=1.0, read=2.0)

# What an answer that is not as it should be makes ec2-metadata raise.
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError)


class NoMetadata(Exception):
    """The instance metadata service did not answer. The text is one line."""


class Metadata(Protocol):
    def instance_id(self) -> str: ...
    def launched_at(self) -> float: ...
    def group(self) -> str | None: ...


class Notices(Protocol):
    """What the watch asks, again and again."""

    def is_spot(self) -> bool: ...
    def target_state(self) -> str | None: ...
    def spot_action(self) -> tuple[str, float] | None: ...
    def rebalance(self) -> str | None: ...


class Imds:
    """The instance metadata service, version 2. Every question raises NoMetadata when it is not answered."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        pool = urllib3.PoolManager(timeout=_TIMEOUT, retries=False)
        self._imds = ec2_metadata.EC2Metadata(pool_manager=pool)
        self._instance_id: str | None = None
        self._turn = threading.Lock()
        if endpoint := environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"):
            base = f"{endpoint.rstrip('/')}/latest/"
            self._imds.service_url = base
            self._imds.dynamic_url = f"{base}dynamic/"
            self._imds.metadata_url = f"{base}meta-data/"

    def instance_id(self) -> str:
        if self._instance_id is None:
            with self._asking():
                self._instance_id = self._imds.instance_id
        return self._instance_id

    def region(self) -> str:
        with self._asking():
            return self._imds.region

    def launched_at(self) -> float:
        """When EC2 launched the instance (Unix time): when it was last started, if it had been stopped."""
        with self._asking():
            told = self._imds.instance_identity_document["pendingTime"]
            return datetime.fromisoformat(told).timestamp()

    def group(self) -> str | None:
        """The group's name from the instance's tags; None: it has no such tag, or IMDS may not tell tags."""
        with self._asking():
            return self._read(f"tags/instance/{GROUP_TAG}")

    def is_spot(self) -> bool:
        """Whether it may be one: an IMDS that does not say is to be asked for notices all the same."""
        with self._asking():
            return self._read("instance-life-cycle") in (None, "spot")

    def target_state(self) -> str | None:
        """The lifecycle state that its Auto Scaling group is bringing it to; None: it is in no group."""
        with self._asking():
            return self._imds.autoscaling_target_lifecycle_state

    def spot_action(self) -> tuple[str, float] | None:
        """What EC2 is going to do to this Spot instance, and when (Unix time)."""
        with self._asking():
            action = self._imds.spot_instance_action
            return None if action is None else (action.action, action.time.timestamp())

    def rebalance(self) -> str | None:
        """The recommendation as it is, if there is one."""
        with self._asking():
            return self._read("events/recommendations/rebalance")

    def _read(self, path: str) -> str | None:
        # ec2-metadata has no property for it; this is what its properties are made of.
        answer = self._imds._get_url(f"{self._imds.metadata_url}{path}", allow_404=True)  # noqa: SLF001
        return None if answer.status == 404 else answer.data.decode()  # noqa: PLR2004 HTTP's

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with self._turn:
            try:
                yield
            except (urllib3.exceptions.HTTPError, OSError, *_UNREADABLE) as error:
                # The token may be what is wrong: after hibernation it is another boot's. Taken from under
                # another thread's question it would break that, so they take turns.
                self._imds.clear_all()
                raise NoMetadata(f"instance metadata: {' '.join(str(error).split())}") from error


class Watch:
    """Looks at the metadata every few seconds and tells what is new. A dead IMDS delays nothing else."""

    def __init__(self, notices: Notices, wall_clock: Callable[[], float] = time.time) -> None:
        self._notices = notices
        self._wall_clock = wall_clock
        self._is_spot: bool | None = None
        self._state: str | None = None
        self._action: tuple[str, float] | None = None
        self._recommendation: str | None = None
        self._silent = False

    def run(self, tell: Callable[[Event], None], pause: Callable[[float], object] = time.sleep) -> None:
        """Look, tell, pause, for ever."""
        try:
            while True:
                for event in self.look():
                    tell(event)
                pause(LOOK_EVERY_S)
        except Exception as error:  # noqa: BLE001 the crew's last word
            tell(CrewDied("watch", f"{type(error).__name__}: {error}"))

    def look(self) -> list[Event]:
        """What is new since the last look, the most urgent first."""
        news: list[Event] = []
        fault: NoMetadata | None = None
        for question in (self._spot_notice, self._target_state, self._rebalance):
            # One that is not answered, or not readably, hides no other.
            try:
                news += question()
            except NoMetadata as no_answer:
                fault = fault or no_answer
        self._say_whether_it_answers(fault)
        return news

    def _say_whether_it_answers(self, fault: NoMetadata | None) -> None:
        if fault is not None and not self._silent:
            log.warning("instance metadata does not answer", extra={"fault": str(fault)})
        if fault is None and self._silent:
            log.warning("instance metadata answers again")
        self._silent = fault is not None

    def _may_be_taken_back(self) -> bool:
        if self._is_spot is None:
            self._is_spot = self._notices.is_spot()
        return self._is_spot

    def _spot_notice(self) -> Iterator[Event]:
        if not self._may_be_taken_back():
            return
        action, self._action = self._action, self._notices.spot_action()
        if self._action is not None and self._action != action:
            what, at = self._action
            yield SpotNoticed(what, min(SPOT_NOTICE_S, max(0.0, at - self._wall_clock())))

    def _target_state(self) -> Iterator[Event]:
        state, self._state = self._state, self._notices.target_state()
        if self._state != state and (known := target_state(self._state)):
            yield TargetStateChanged(known)

    def _rebalance(self) -> Iterator[Event]:
        if not self._may_be_taken_back():
            return
        told, self._recommendation = self._recommendation, self._notices.rebalance()
        if self._recommendation is not None and self._recommendation != told:
            yield RebalanceRecommended()


def target_state(text: str | None) -> TargetState | None:
    """The word for what `autoscaling/target-lifecycle-state` says; None: nothing that concerns us."""
    text = (text or "").strip()
    # Warmed:Stopped, Warmed:Hibernated, Warmed:Running, Warmed:Terminated: in a warm pool all the same to us.
    name = "Warmed" if text.startswith("Warmed:") else text
    return next((state for state in TargetState if state.value == name), None)
