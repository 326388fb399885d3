"""`observerd dlq`: what lies in the dead-letter queue and why; to run it again, or to drop it."""

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from observerd.aws import Account, Unanswered, ask, endpoint_of
from observerd.console import log_stream_url
from observerd.core.events import Attribute, Message
from observerd.core.evidence import PREFIX, RETRIED, fitted
from observerd.core.lines import one_line
from observerd.core.request import NAME_ATTRIBUTE, BadMessage, read_request
from observerd.operations import logs
from observerd.operations.place import Place
from observerd.operations.reading import Events
from observerd.operations.runs import span, time_cell
from observerd.operations.screen import Cell, Progress, Screen
from observerd.operations.tale import time_text
from observerd.operations.trouble import Trouble, asked
from observerd.operations.waking import wake
from observerd.sqs import is_fifo, read_message, sent_attribute

EX_USAGE, EX_NOINPUT = 64, 66
# Messages are hidden from others while we look, and shown again at the end or when this is over.
HIDDEN_S = 120
# Enough for thousands of messages, and done while those received first are still ours.
LOOKING_S = 60.0
LEAST_PREFIX = 6
LAST_LINES = 20
UNSEEN = "a FIFO queue shows the first ten of each job, and none while somebody else looks"


@dataclass(frozen=True, slots=True)
class Dead:
    """One message of the dead-letter queue, with the evidence that it bears."""

    message: Message
    run_id: str | None
    job: str | None
    scheduled_at: float | None

    def fact(self, name: str) -> str | None:
        """A piece of evidence by its name, such as "Outcome"."""
        found = self.message.attributes.get(PREFIX + name)
        return str(found.value) if found else None

    @property
    def outcome(self) -> str:
        # What SQS moved here by itself bears no evidence: its workers died over it.
        return self.fact("Outcome") or "crashed"

    @property
    def reason(self) -> str:
        return self.fact("Reason") or "received ten times, and no worker could say what became of it"

    def is_meant(self, text: str) -> bool:
        by_prefix = len(text) >= LEAST_PREFIX and self.message.id.startswith(text)
        return by_prefix or text in (self.message.id, self.run_id, self.job)

    def values(self) -> dict[str, Any]:
        """For --json."""
        evidence = {
            name.removeprefix(PREFIX): each.value
            for name, each in self.message.attributes.items()
            if name.startswith(PREFIX)
        }
        return {
            "message_id": self.message.id,
            "run_id": self.run_id,
            "job": self.job,
            "scheduled_time": time_text(self.scheduled_at),
            "dead_since": time_text(self.message.sent_at),
            "outcome": self.outcome,
            "reason": self.reason,
            "evidence": evidence,
            "body": self.message.body,
        }


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a message that was retried or dropped. fault: what went wrong, in one line."""

    dead: Dead
    words: str
    fault: str | None = None
    sent_as: str | None = None

    def values(self) -> dict[str, Any]:
        return {
            "message_id": self.dead.message.id,
            "run_id": self.dead.run_id,
            "job": self.dead.job,
            "done": self.words,
            "fault": self.fault,
            "sent_as": self.sent_as,
        }


class DeadLetters:
    """The dead-letter queue of a place. Raises Trouble where there is none.

    wait_s is how long a receive waits for more. Short polls, of 0, ask a sample of SQS's servers, and may see
    an empty queue where there is none.
    """

    def __init__(self, account: Account, place: Place, environ: Mapping[str, str], wait_s: int = 1) -> None:
        self._wait_s = wait_s
        self._account = account
        self._place = place
        self._client = account.client("sqs", endpoint_of(place.queue_url, environ))
        self.url = place.dead_letter_queue_url or self._redrive_url()

    def count(self) -> int:
        """About how many messages there are, those that somebody looks at included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = asked(self._client.get_queue_attributes, QueueUrl=self.url, AttributeNames=names)
        return sum(int(attributes.get("Attributes", {}).get(name, 0)) for name in names)

    @contextmanager
    def looked_at(self) -> Iterator[list[Dead]]:
        """The messages that SQS shows, hidden from others until the end. Raises Trouble."""
        found: dict[str, Dead] = {}
        try:
            with Progress("reading the dead-letter queue") as progress:
                deadline = time.monotonic() + LOOKING_S
                while time.monotonic() < deadline and (more := self._receive()):
                    found |= {each.message.id: each for each in more}
                    progress.at(len(found))
            yield sorted(found.values(), key=lambda dead: dead.message.sent_at)
        finally:
            self._show_again([each.message.receipt_handle for each in found.values()])

    def retry(self, dead: Dead) -> Done:
        """Send the message anew, wake the group, and only then delete it here."""
        own = fitted(dead.message, {RETRIED: Attribute("String", "by hand")})
        fifo = {
            # Its run has failed long since: not the duplicate that SQS would take it for.
            "MessageDeduplicationId": uuid.uuid4().hex,
            "MessageGroupId": dead.message.group_id or dead.message.id,
        }
        try:
            answer = ask(
                self._client.send_message,
                QueueUrl=self._place.queue_url,
                MessageBody=dead.message.body,
                MessageAttributes={name: sent_attribute(each) for name, each in own.items()},
                **(fifo if is_fifo(self._place.queue_url) else {}),
            )
        except Unanswered as fault:
            return Done(dead, "left where it is", f"not sent: {fault}")
        words, unwoken = wake(self._account, self._place.group)
        if RETRIED not in own:
            words = f"{words}; its max_lateness counts (no room for another attribute)"
        if kept := self._delete(dead):
            return Done(
                dead, f"sent, {words}", f"still in the dead-letter queue too: {kept}", answer["MessageId"]
            )
        return Done(dead, f"sent, {words}", unwoken, answer["MessageId"])

    def drop(self, dead: Dead) -> Done:
        kept = self._delete(dead)
        return Done(dead, "left where it is", kept) if kept else Done(dead, "dropped")

    def last_lines(self, dead: Dead) -> list[str]:
        """The end of what the run printed: as the message bears it, or else from its log."""
        if text := dead.fact("LastLines"):
            return text.splitlines()
        stream = dead.fact("LogStream") or self._stream_of(dead)
        if stream is None:
            return []
        with suppress(Trouble):
            return logs.last_lines(self._account.client("logs"), self._place.logs(), stream, LAST_LINES)
        return []

    def _stream_of(self, dead: Dead) -> str | None:
        if dead.run_id is None:
            return None
        with suppress(Trouble):
            since = dead.scheduled_at or dead.message.sent_at
            events = Events(self._account.client("logs"), self._place)
            found = events.of_workers(f'($.run_id = "{dead.run_id}") && ($.event = "started")', since)
            # Who answers may not have filtered: another run's lines would be taken for evidence.
            own = [seen for seen in found if seen.text("run_id") == dead.run_id]
            streams = [text for seen in own if (text := seen.text("log_stream"))]
            return streams[-1] if streams else None
        return None

    def _receive(self) -> list[Dead]:
        answer = asked(
            self._client.receive_message,
            QueueUrl=self.url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=HIDDEN_S,
            WaitTimeSeconds=self._wait_s,
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp", "MessageGroupId"],
            MessageAttributeNames=["All"],
        )
        now = time.time()
        return [_dead(read_message(each, now)) for each in answer.get("Messages", ())]

    def _show_again(self, handles: Sequence[str]) -> None:
        for first in range(0, len(handles), 10):
            entries = [
                {"Id": str(place), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                for place, handle in enumerate(handles[first : first + 10])
            ]
            # Those deleted meanwhile are refused, and the others come back by themselves.
            with suppress(Unanswered):
                ask(self._client.change_message_visibility_batch, QueueUrl=self.url, Entries=entries)

    def _delete(self, dead: Dead) -> str | None:
        """What went wrong, or None."""
        try:
            ask(self._client.delete_message, QueueUrl=self.url, ReceiptHandle=dead.message.receipt_handle)
        except Unanswered as fault:
            return str(fault)
        return None

    def _redrive_url(self) -> str:
        answer = asked(
            self._client.get_queue_attributes,
            QueueUrl=self._place.queue_url,
            AttributeNames=["RedrivePolicy"],
        )
        policy = answer.get("Attributes", {}).get("RedrivePolicy")
        if not policy:
            raise Trouble(f"{self._place.queue_url} has no dead-letter queue", EX_NOINPUT)
        name = json.loads(policy)["deadLetterTargetArn"].rsplit(":", 1)[1]
        return f"{self._place.queue_url.rsplit('/', 1)[0]}/{name}"


def meant(found: Sequence[Dead], texts: Sequence[str], *, every: bool) -> list[Dead]:
    """Those that the texts mean, each one message; with every, all that they mean. Raises Trouble."""
    chosen: dict[str, Dead] = {} if texts else {each.message.id: each for each in found if every}
    for text in texts:
        fitting = [each for each in found if each.is_meant(text)]
        if not fitting:
            raise Trouble(f"no dead letter {text!r} (observerd dlq list shows what there is)", EX_NOINPUT)
        if len(fitting) > 1 and not every:
            names = ", ".join(each.message.id for each in fitting[:3])
            raise Trouble(
                f"{text!r} means {len(fitting)} dead letters: {names} … (name one, or --all)", EX_USAGE
            )
        chosen |= {each.message.id: each for each in fitting}
    return list(chosen.values())


def _dead(message: Message) -> Dead:
    told = {name: message.attributes.get(PREFIX + name) for name in ("RunId", "Job")}
    run_id, job = (str(fact.value) if fact else None for fact in told.values())
    try:
        # A time in it was judged when it was received first; now it must only be read.
        request = read_request(message)
    except BadMessage:
        return Dead(message, run_id, job, None)
    # Without a time of its own a message's run is named by the id that it had then.
    has_time = "scheduled_time" in message.body and NAME_ATTRIBUTE not in message.attributes
    known_id = run_id or (request.run_id if has_time else None)
    return Dead(message, known_id, job or request.job, request.scheduled_at if has_time else None)


# ---- what it looks like


def table(found: Sequence[Dead], now: float, screen: Screen) -> str:
    head = ("DEAD FOR", "JOB", "OUTCOME", "DUE (UTC)", "RUN", "WHY")
    return screen.table(head, [_row(each, now) for each in found], shrinks="JOB")


def _row(dead: Dead, now: float) -> tuple[Cell | str, ...]:
    return (
        span(now - dead.message.sent_at),
        dead.job or "-",
        Cell(dead.outcome, "bad"),
        time_cell(dead.scheduled_at),
        dead.run_id or dead.message.id[:8],
        dead.reason,
    )


def sheet(dead: Dead, lines: Sequence[str], place: Place, now: float, screen: Screen) -> str:
    """All that there is to say of one message."""
    stream, stack = dead.fact("LogStream"), f" --stack {place.stack}" if place.stack else ""
    facts = {
        "message": dead.message.id,
        "due": time_text(dead.scheduled_at),
        "dead": f"{time_text(dead.message.sent_at)}, {span(now - dead.message.sent_at)} ago",
        "reason": dead.reason,
        "exit code": dead.fact("ExitCode"),
        "attempt": dead.fact("Attempt"),
        "log": stream,
        "console": log_stream_url(place.region, place.job_logs, stream)
        if stream and place.job_logs
        else None,
        "body": dead.message.body,
    }
    # Whoever may send messages has written all of it.
    job, run_id = one_line(dead.job or "a message that names no job"), one_line(dead.run_id or "-")
    head = f"{screen.paint(job, 'bold')}  run {run_id}  {screen.paint(one_line(dead.outcome), 'bad')}"
    told = [f"  {name:<9}  {one_line(text)}" for name, text in facts.items() if text]
    end = [f"    {one_line(line)}" for line in lines] or ["    (nothing)"]
    retry = f"  retry      observerd dlq retry {dead.message.id[:8]}{stack}"
    return "\n".join([head, *told, retry, "  last lines", *end])


def report(done: Done) -> str:
    """One line of what was done."""
    name = f"{done.dead.job or '-'}  run {done.dead.run_id or '-'}  message {done.dead.message.id[:8]}"
    return one_line(f"{name}: {done.words}" + (f" ({done.fault})" if done.fault else ""))
