"""Reads a message: which job, for which instant, with what payload.

Two forms are understood. Version 1 is a JSON object that names a job:

    {"v": 1, "job": "nightly-feed", "scheduled_time": "2026-11-23T18:00:00Z", "schedule": "nightly-feed",
     "max_lateness": "6h", "payload": {"any": "JSON"}}

The other is any body with a message attribute Name: the job is that name, the payload is the body.
A message only ever names a job. Whoever may send messages must not thereby run commands.
"""

import hashlib
import json
import reprlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Never

from observerd.core.events import Message
from observerd.core.job import JOB_NAME
from observerd.core.units import duration_s

NAME_ATTRIBUTE = "Name"
VERSION = 1
KEYS = frozenset({"v", "job", "scheduled_time", "schedule", "max_lateness", "payload"})

# EventBridge Scheduler fires up to a minute early by its own rounding; a day is a mistake in the sender.
FUTURE_LIMIT_S = 86_400.0
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
# It becomes an environment variable: more room than any schedule's name takes (EventBridge: 64).
SCHEDULE_LIMIT = 200


class BadMessage(Exception):
    """The message can never become a run. The text is one line: what is wrong, and where."""


@dataclass(frozen=True, slots=True)
class Request:
    """A run that a message asks for."""

    job: str
    run_id: str
    """16 hex digits derived from job and scheduled time: a retry or a duplicate bears the same."""
    scheduled_at: float
    """Unix time. A message without a scheduled time counts as scheduled when it was sent."""
    payload: str
    """JSON text, or the whole body in the attribute form; empty where the message has none."""
    schedule: str | None = None
    max_lateness_s: float | None = None


def read_request(message: Message) -> Request:
    """The run that message asks for. Raises BadMessage."""
    if NAME_ATTRIBUTE in message.attributes:
        return _named(message)
    return _version_1(message, _object(message.body))


def deduplication_id(job: str, instant: str) -> str:
    """What the producer gives SQS, which drops a second message with it for five minutes."""
    return hashlib.sha256(f"{job}|{instant}".encode()).hexdigest()


def run_id_of(job: str, instant: str) -> str:
    """The deduplication id, shortened: the same instant of the same job is the same run."""
    return deduplication_id(job, instant)[:16]


# A run's two are asked for seven times, from its log stream to its environment.
@lru_cache(maxsize=64)
def instant_text(at: float) -> str:
    """Unix time as "2026-11-23T18:00:00Z"."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _named(message: Message) -> Request:
    job = _job_name(message.attributes[NAME_ATTRIBUTE].value)
    return Request(job, run_id_of(job, message.id), message.sent_at, message.body)


def _version_1(message: Message, body: dict[str, Any]) -> Request:
    if unknown := sorted(set(body) - KEYS):
        key = reprlib.repr(unknown[0])
        raise BadMessage(f"unknown key {key} in the message (known: {', '.join(sorted(KEYS))})")
    version = body.get("v", VERSION)
    if version != VERSION or isinstance(version, bool):
        raise BadMessage(
            f"message version {reprlib.repr(version)} is not known here (this observerd reads v = {VERSION})"
        )
    job = _job_name(body.get("job"))
    scheduled_at = _scheduled_at(body, message)
    instant = message.id if scheduled_at is None else instant_text(scheduled_at)
    return Request(
        job=job,
        run_id=run_id_of(job, instant),
        scheduled_at=message.sent_at if scheduled_at is None else scheduled_at,
        payload=_WRITTEN.encode(body["payload"]) if "payload" in body else "",
        schedule=_schedule(body),
        max_lateness_s=_max_lateness_s(body),
    )


def _object(body: str) -> dict[str, Any]:
    try:
        found = _JSON.decode(body)
        # A lone surrogate escape parses, and so does 1e999, but neither can be written down again.
        _WRITTEN.encode(found).encode()
    except UnicodeEncodeError:
        raise BadMessage("the body holds half of a surrogate pair, which is not text") from None
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"the body is not JSON, and there is no Name attribute: {error}") from None
    if not isinstance(found, dict):
        raise BadMessage(f"the body is a JSON {_kind(found)}, not an object, and there is no Name attribute")
    return found


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


# Made once: json.loads and json.dumps with options make theirs anew at each call, for half of its time.
_JSON = json.JSONDecoder(parse_constant=_no_constant)
_WRITTEN = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def _kind(value: object) -> str:
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def _job_name(value: object) -> str:
    if value is None:
        raise BadMessage("the message names no job (key 'job')")
    if not isinstance(value, str) or not JOB_NAME.fullmatch(value):
        raise BadMessage(
            f"not a job name: {reprlib.repr(value)} (letters, digits, '.', '_' and '-', at most 80)"
        )
    return value


def _text(body: dict[str, Any], key: str) -> str | None:
    value = body.get(key)
    if value is not None and not isinstance(value, str):
        raise BadMessage(f"{key} must be a string, not a JSON {_kind(value)}")
    return value


def _schedule(body: dict[str, Any]) -> str | None:
    text = _text(body, "schedule")
    if text is not None and not (text.isprintable() and len(text) <= SCHEDULE_LIMIT):
        raise BadMessage(
            f"schedule must be printable, at most {SCHEDULE_LIMIT} characters: {reprlib.repr(text)}"
        )
    return text


def _scheduled_at(body: dict[str, Any], message: Message) -> float | None:
    text = _text(body, "scheduled_time")
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadMessage(f"scheduled_time is not an ISO 8601 time: {reprlib.repr(text)}") from None
    if moment.tzinfo is None:
        raise BadMessage(f"scheduled_time has no time zone: {reprlib.repr(text)} (append Z or an offset)")
    if not EARLIEST <= moment.timestamp() <= message.received_at + FUTURE_LIMIT_S:
        raise BadMessage(
            f"scheduled_time is absurd: {reprlib.repr(text)} (before 2000, or more than a day ahead)"
        )
    return moment.timestamp()


def _max_lateness_s(body: dict[str, Any]) -> float | None:
    text = _text(body, "max_lateness")
    try:
        return None if text is None else duration_s(text)
    except ValueError as error:
        raise BadMessage(f"max_lateness is {error}") from None
