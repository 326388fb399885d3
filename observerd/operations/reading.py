"""Reads the events of runs back from CloudWatch Logs: the workers' and the producer's, in order of time."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from observerd.aws import Unanswered, ask
from observerd.operations.place import Place
from observerd.operations.trouble import Trouble, asked, trouble_of
from observerd.record import STREAM_PREFIX

# The events of one worker travel for a few seconds, and a wrong clock stamps them.
SLACK_S = 300.0
# Log groups keep their events for at least so long (PutRetentionPolicy).
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One event. at is Unix time."""

    at: float
    event: str
    facts: Mapping[str, Any]

    def text(self, key: str) -> str | None:
        value = self.facts.get(key)
        return None if value is None else str(value)

    def number(self, key: str) -> float | None:
        value = self.facts.get(key)
        return float(value) if isinstance(value, int | float) else None


class Events:
    """The events of one place. client is boto3's for CloudWatch Logs; read is told how many came so far."""

    def __init__(self, client: Any, place: Place, read: Callable[[int], None] = lambda _: None) -> None:
        self._client = client
        self._place = place
        self._read = read
        self._count = 0

    def of_runs(self, condition: str, since: float, until: float | None = None) -> list[Seen]:
        """All of them that meet the condition, in no order. Raises Trouble.

        condition is what stands in the braces of a filter pattern (CloudWatch Logs User Guide).
        """
        return [*self.of_workers(condition, since, until), *self.of_producer(condition, since, until)]

    def of_workers(self, condition: str, since: float, until: float | None = None) -> list[Seen]:
        where = {"logGroupName": self._place.logs(), "logStreamNamePrefix": STREAM_PREFIX}
        return list(self._found(where, condition, since, until))

    def of_worker(self, worker: str, condition: str, since: float) -> list[Seen]:
        where = {"logGroupName": self._place.logs(), "logStreamNames": [STREAM_PREFIX + worker]}
        return list(self._found(where, condition, since, None))

    def of_producer(self, condition: str, since: float, until: float | None = None) -> list[Seen]:
        if self._place.producer_logs is None:
            return []
        return list(self._found({"logGroupName": self._place.producer_logs}, condition, since, until))

    def faults_of_producer(self, since: float, until: float) -> list[str]:
        """What it failed at, in Lambda's words, oldest first. Raises Trouble."""
        if self._place.producer_logs is None:
            return []
        where = {"logGroupName": self._place.producer_logs}
        lines = self._lines(where, '($.level = "ERROR") || ($.record.status = "timeout")', since, until)
        told = sorted((each["timestamp"], _fault(each["message"])) for each in lines)
        return [fault for at, fault in told if fault and since <= at / 1000 <= until]

    def _found(
        self, where: Mapping[str, Any], condition: str, since: float, until: float | None
    ) -> Iterator[Seen]:
        for line in self._lines(where, condition, since, until):
            if (seen := _seen(line)) is not None:
                yield seen

    def _lines(
        self, where: Mapping[str, Any], condition: str, since: float, until: float | None
    ) -> Iterator[Any]:
        request = {
            **where,
            "filterPattern": f"{{ {condition} }}",
            "startTime": max(0, int((since - SLACK_S) * 1000)),
        }
        if until is not None:
            request["endTime"] = int((until + SLACK_S) * 1000)
        while True:
            answer = self._ask(request)
            for each in answer.get("events", ()):
                self._count += 1
                yield each
            self._read(self._count)
            # A page may be empty and not the last one (API Reference, FilterLogEvents).
            if (token := answer.get("nextToken")) in (None, request.get("nextToken")):
                return
            request["nextToken"] = token

    def _ask(self, request: Mapping[str, Any]) -> Any:
        try:
            return ask(self._client.filter_log_events, **request)
        except Unanswered as fault:
            if fault.code == "ResourceNotFoundException":
                # A group without a stream of that name: nothing has happened in it.
                return {} if "stream" in str(fault) else self._no_group(request["logGroupName"])
            raise trouble_of(fault) from None

    def _no_group(self, group: str) -> Any:
        raise Trouble(f"there is no log group {group} (another --region, or another --stack?)")


def kept_since(client: Any, group: str, now: float) -> float:
    """From when on a log group still has its events (Unix time). Raises Trouble."""
    answer = asked(client.describe_log_groups, logGroupNamePrefix=group)
    found: Any = next((each for each in answer["logGroups"] if each["logGroupName"] == group), {})
    days = found.get("retentionInDays")
    return max(float(found.get("creationTime", 0)) / 1000, now - days * DAY_S if days else 0.0)


def _fault(line: str) -> str:
    """What a line of Lambda's JSON log says of a failure; nothing where it is another."""
    try:
        told = json.loads(line)
        if told.get("level") == "ERROR":
            return f"{told.get('errorType', 'error')}: {told.get('errorMessage') or told.get('message')}"
        return "it took too long" if told.get("record", {}).get("status") == "timeout" else ""
    except (ValueError, AttributeError):
        return ""


def _seen(given: Mapping[str, Any]) -> Seen | None:
    """The event of a log line; None for a line that is none, such as what Lambda says of itself."""
    try:
        facts = json.loads(given["message"])
        at = instant(facts["at"]) if "at" in facts else given["timestamp"] / 1000
        return Seen(at, facts["event"], facts)
    except (ValueError, KeyError, TypeError):
        return None


def instant(text: str) -> float:
    """Unix time of an ISO 8601 text. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def instant_ms(at: float) -> str:
    """Unix time as "2026-11-23T18:00:00.123Z"."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
