"""CloudWatch: a point a minute, which may come late, and the alarms that read the newest ones there are."""

from collections.abc import Callable
from dataclasses import dataclass, field

from observerd.simulation.clock import Clock
from observerd.simulation.stack import Alarm, Point

MINUTE_S = 60.0
# How many more periods than asked for CloudWatch looks back where points are missing (CloudWatch guide,
# "How alarms treat missing data": five for an alarm over three).
FURTHER_PERIODS = 2


@dataclass(slots=True)
class Metrics:
    """The points of the queue and of the group; minutes nobody recorded were minutes of nothing."""

    points: dict[int, tuple[Point, float]] = field(default_factory=dict)
    """By minute: the point, and when CloudWatch has the queue's half of it."""

    def put(self, minute: int, point: Point, queue_known_at: float) -> None:
        self.points[minute] = (point, queue_known_at)
        self.points.pop(minute - 120, None)

    def seen(self, minute: int, now: float) -> Point:
        """The point of that minute as CloudWatch knows it now."""
        point, known_at = self.points.get(minute, (NOTHING, 0.0))
        return point if known_at <= now else Point(None, None, point.desired, point.in_service)


NOTHING = Point(0.0, 0.0, 0.0, 0.0)


@dataclass(slots=True)
class Watch:
    """One alarm at work. action is called every minute while it is red, as Auto Scaling actions are."""

    clock: Clock
    alarm: Alarm
    action: Callable[[], None]
    is_red: bool = False

    def evaluate(self, metrics: Metrics, minute: int) -> None:
        """With the points up to the minute before."""
        red = self._rings(metrics, minute)
        if red != self.is_red:
            self.is_red = red
            self.clock.note("alarm", f"{self.alarm.name} is {'red' if red else 'green'}")
        if red:
            self.action()

    def _rings(self, metrics: Metrics, minute: int) -> bool:
        breaching = 0
        for earlier in range(1, 1 + self.alarm.periods + FURTHER_PERIODS):
            value = self.alarm.value(metrics.seen(minute - earlier, self.clock.now))
            if value is None:
                continue
            if not self.alarm.breaches(value):
                return False
            breaching += 1
            if breaching == self.alarm.periods:
                return True
        return False
