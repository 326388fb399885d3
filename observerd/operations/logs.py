"""`observerd logs`: what a run printed, and what it prints."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from observerd.aws import Account, Unanswered, ask
from observerd.operations.place import Place
from observerd.operations.reading import Events
from observerd.operations.runs import span
from observerd.operations.tale import SILENT_S, Attempt, Story
from observerd.operations.trouble import Trouble, trouble_of

EX_NOINPUT = 66
# Lines come in batches of two seconds (cloudwatch_logs.Pace); asking more often shows nothing sooner.
FOLLOW_S = 2.0
# A run's last lines are sent before its end is told, and CloudWatch takes some seconds to show them.
AFTERTHOUGHT_S = 10.0
_NO_STREAM = (
    "nothing was printed, or it has expired, or it is in the worker's journal (CloudWatch Logs was down)"
)


class NoStream(Trouble):
    """There is no such stream."""


def attempt_of(story: Story, number: int | None) -> Attempt:
    """The attempt of that number, or the last one that printed anything. Raises Trouble."""
    started = [each for each in story.attempts if each.log_stream]
    chosen = [each for each in started if number in (None, each.number)]
    if chosen:
        return chosen[-1]
    there = ", ".join(str(each.number) for each in started) or "none"
    what = "no attempt" if number is None else f"no attempt {number}"
    raise Trouble(f"run {story.run_id}: {what} was started (started: {there})", EX_NOINPUT)


class Line(NamedTuple):
    """at is Unix time."""

    at: float
    text: str


class Tape:
    """One stream, read from its beginning on."""

    def __init__(self, client: Any, group: str, stream: str) -> None:
        self._client = client
        self._request = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}

    def more(self) -> Iterator[Line]:
        """The lines that are there and were not told yet. Raises Trouble."""
        while True:
            answer = _page(self._client, self._request)
            yield from (Line(each["timestamp"] / 1000, each["message"]) for each in answer.get("events", ()))
            # The end is where the token stays the same (API Reference, GetLogEvents).
            before, token = self._request.get("nextToken"), answer.get("nextForwardToken")
            if token in (before, None):
                return
            self._request["nextToken"] = token


def last_lines(client: Any, group: str, stream: str, count: int) -> list[str]:
    """The end of a stream. Raises Trouble."""
    request = {"logGroupName": group, "logStreamName": stream, "limit": count, "startFromHead": False}
    return [each["message"] for each in _page(client, request).get("events", ())]


def follow(
    account: Account,
    place: Place,
    story: Story,
    attempt: Attempt,
    show: Callable[[Line], None],
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.time,
) -> None:
    """Show what the attempt prints until it has ended, and what comes after.

    Raises Trouble, also where the worker has fallen silent: then nobody will tell of an end.
    """
    client = account.client("logs")
    tape, ended = Tape(client, place.logs(), attempt.log_stream or ""), attempt.ended_at is not None
    while True:
        try:
            for line in tape.more():
                show(line)
        except NoStream:
            # It begins with the first line, which may be still to come.
            if ended:
                raise
        if ended:
            return
        sleep(FOLLOW_S)
        _hear(client, place, story, attempt)
        if attempt.ended_at is not None:
            ended = True
            sleep(AFTERTHOUGHT_S)
        elif (silent_s := now() - attempt.last_sign_at) > SILENT_S:
            silent = f"{attempt.host} has said nothing for {span(silent_s)}"
            raise Trouble(f"{silent}: observerd why {story.run_id} tells more")


def _hear(client: Any, place: Place, story: Story, attempt: Attempt) -> None:
    """Take what the worker has told of the attempt since its last sign of life."""
    since, mine = attempt.last_sign_at, (attempt.message_id, attempt.number)
    for seen in Events(client, place).of_worker(attempt.worker, f'$.run_id = "{story.run_id}"', since):
        if (seen.text("message_id"), seen.number("attempt")) == mine:
            attempt.take(seen)


def _page(client: Any, request: dict[str, Any]) -> Any:
    try:
        return ask(client.get_log_events, **request)
    except Unanswered as fault:
        if fault.code == "ResourceNotFoundException":
            raise NoStream(f"no log stream {request['logStreamName']}: {_NO_STREAM}", EX_NOINPUT) from None
        raise trouble_of(fault) from None
