"""What our own template and units say, as numbers. tests/simulation/test_stack.py holds the two together."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """One minute of the metrics that alarms read; None: CloudWatch has none."""

    waiting: float | None
    running: float | None
    desired: float
    in_service: float


@dataclass(frozen=True, slots=True)
class Alarm:
    """Red when every one of the newest periods breaches. value answers None for a point it cannot do with."""

    name: str
    value: Callable[[Point], float | None]
    breaches: Callable[[float], bool]
    periods: int


@dataclass(frozen=True, slots=True)
class Stack:
    """Times in seconds."""

    slots: int = 4
    visibility_timeout_s: float = 120.0
    idle_timeout_s: float = 120.0
    drain_timeout_s: float = 900.0
    retention_s: float = 86_400.0
    max_receive_count: int = 10
    max_lateness_s: float = 21_600.0
    max_size: int = 3
    backlog_per_worker: float = 10.0
    hook_timeout_s: float = 600.0
    warm_up_s: float = 180.0
    producer_retries: int = 2
    alarm_metrics: int = 18
    """How many metrics the alarms of observerd.yaml are billed for, with one schedule's Missed."""
    # packaging/systemd/observerd.service
    watchdog_s: float = 60.0
    """Until it is killed: WatchdogSec and TimeoutAbortSec."""
    restart_s: float = 5.0
    starts_at_most: int = 5
    starts_within_s: float = 900.0
    # packaging/systemd/observerd-failed.service
    failed_turns: int = 10
    failed_turn_s: float = 30.0


def wake(point: Point) -> float | None:
    """IF(desired < 1, waiting, 0), with no FILL: a minute that is not there yet must invent no zero."""
    if point.waiting is None:
        return None
    return point.waiting if point.desired < 1 else 0.0


def grow(point: Point, slots: int) -> float | None:
    """IF(desired > 0, IF(running < desired * slots * 0.75, 0, waiting / desired), 0)."""
    if point.waiting is None or point.running is None:
        return None
    is_busy = point.running >= point.desired * slots * 0.75
    return point.waiting / point.desired if point.desired > 0 and is_busy else 0.0


def leak(point: Point) -> float | None:
    """IF(FILL(waiting, 0) + FILL(running, 0) == 0, inservice, 0)."""
    return 0.0 if (point.waiting or 0) + (point.running or 0) else point.in_service


def alarms(stack: Stack) -> tuple[Alarm, ...]:
    """Wake, Grow and Leak."""
    return (
        Alarm("Wake", wake, lambda value: value >= 1, 1),
        Alarm(
            "Grow", lambda point: grow(point, stack.slots), lambda value: value > stack.backlog_per_worker, 3
        ),
        Alarm("Leak", leak, lambda value: value >= 1, 60),
    )
