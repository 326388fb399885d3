"""What the stack's schedules say should have been sent: the only way to see a run that nobody sent."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from observerd.core.request import instant_text, run_id_of
from observerd.core.units import duration_s
from observerd.operations.tale import Story
from observerd.operations.trouble import asked
from observerd.schedules.eventbridge import BadExpression, RateExpression, read_expression, runs

SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"
# Scheduler starts a run within its minute, and Lambda tries the producer three times within three more.
SENT_WITHIN_S = 300.0
# A schedule for each minute of a week.
MOST = 10_080


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule of the stack's group, as far as it says when which job is due."""

    name: str
    job: str
    expression: str
    timezone: str
    enabled: bool
    changed_at: float
    """Unix time. What it said before is not known."""
    max_lateness_s: float | None = None
    has_dead_letters: bool = True

    def due(self, since: float, until: float) -> Iterator[float]:
        """When it was due. A rate tells nothing: it counts from a moment that AWS alone knows."""
        try:
            expression = read_expression(self.expression)
            zone = ZoneInfo(self.timezone)
        except (BadExpression, ValueError, OSError):
            return
        if not self.enabled or isinstance(expression, RateExpression):
            return
        after = datetime.fromtimestamp(max(since, self.changed_at), UTC)
        for count, at in enumerate(runs(expression, zone, after)):
            if at.timestamp() > until or count >= MOST:
                return
            yield at.timestamp()


def schedules(client: Any, group: str, read: Callable[[int], None] = lambda _: None) -> list[Schedule]:
    """The group's schedules that name a job. Raises Trouble."""
    found = []
    for name in _names(client, group):
        schedule = _schedule(asked(client.get_schedule, GroupName=group, Name=name))
        found += [schedule] if schedule else []
        read(len(found))
    return found


def unsent(known: list[Schedule], stories: list[Story], since: float, until: float) -> list[Story]:
    """The runs that were due and that no event tells of."""
    heard = {story.run_id for story in stories}
    missing = []
    for schedule in known:
        for at in schedule.due(since, until - SENT_WITHIN_S):
            run_id = run_id_of(schedule.job, instant_text(at))
            if run_id not in heard:
                heard.add(run_id)
                missing.append(Story(run_id, schedule.job, at))
    return missing


def _names(client: Any, group: str) -> Iterator[str]:
    request = {"GroupName": group}
    while True:
        answer = asked(client.list_schedules, **request)
        yield from (each["Name"] for each in answer["Schedules"])
        if not (token := answer.get("NextToken")):
            return
        request["NextToken"] = token


def _schedule(given: Any) -> Schedule | None:
    try:
        event = json.loads(given["Target"].get("Input", "{}"))
        job = event["job"]
    except (ValueError, KeyError, TypeError):
        return None
    if event.get("scheduled_time") != SCHEDULED_TIME:
        return None
    changed = given.get("LastModificationDate") or given.get("CreationDate")
    return Schedule(
        given["Name"],
        job,
        given["ScheduleExpression"],
        given.get("ScheduleExpressionTimezone") or "UTC",
        given.get("State", "ENABLED") == "ENABLED",
        changed.timestamp() if changed else 0.0,
        _lateness_s(event.get("max_lateness")),
        "DeadLetterConfig" in given["Target"],
    )


def _lateness_s(text: object) -> float | None:
    try:
        return duration_s(text) if isinstance(text, str) else None
    except ValueError:
        return None
