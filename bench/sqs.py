"""An SQS on loopback that costs little: what is measured is its clients.

It speaks the JSON protocol of botocore, the JavaScript SDK and kombu, and counts their calls. One thread with
an event loop: a call takes some 0.1 ms, of which `bench.ceiling` shows what is left. It keeps no order within
a FIFO queue's group: here every message is a group of its own.
"""

import asyncio
import hashlib
import heapq
import itertools
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

ACCOUNT = "000000000000"
BATCH = 10
START_S = 10.0


@dataclass(eq=False, slots=True)
class Message:
    """id and body; what has become of it."""

    id: str
    body: str
    attributes: dict[str, Any]
    group: str | None
    sent_ms: int
    md5: str
    receives: int = 0
    handle: str = ""
    """Of the last receive; empty while the message is visible or deleted."""
    hidden_until: float = 0.0


class Refused(Exception):
    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(eq=False, slots=True)
class _Poll:
    """A long poll that waits for a message."""

    most: int
    hide_s: float
    answer: Callable[[dict[str, Any]], None]
    is_open: Callable[[], bool]
    timer: asyncio.TimerHandle | None = None


@dataclass(eq=False)
class Sqs:
    """with Sqs() as sqs: one queue. What is public may be used from any thread."""

    name: str = "jobs"
    visibility_s: float = 30.0
    """Of a receive that does not say."""
    delay_s: float = 0.0
    """Added to every call, as a network does."""
    calls: Counter[str] = field(default_factory=Counter)
    """How often each operation was called; those that were refused with a "!"."""
    deleted: int = 0
    offered: int = 0
    receive_at: float | None = None
    """When the first receive arrived, in time.monotonic()."""

    def __post_init__(self) -> None:
        self._visible: deque[Message] = deque()
        self._hidden: dict[str, Message] = {}
        self._ends: list[tuple[float, str]] = []
        self._polls: deque[_Poll] = deque()
        self._ids = itertools.count(1)
        self.connections: set[asyncio.Transport] = set()
        self._operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "DeleteMessage": self._delete,
            "DeleteMessageBatch": lambda request: self._each(self._delete, request),
            "ChangeMessageVisibility": self._change,
            "ChangeMessageVisibilityBatch": lambda request: self._each(self._change, request),
            "SendMessage": self._send,
            "GetQueueAttributes": self._attributes,
            "GetQueueUrl": lambda _: {"QueueUrl": self.queue_url},
            "CreateQueue": lambda _: {"QueueUrl": self.queue_url},
            "ListQueues": lambda _: {"QueueUrls": [self.queue_url]},
        }

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._listener: asyncio.Server = self._in_loop(self._listen)
        self.endpoint = f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"
        self.queue_url = f"{self.endpoint}/{ACCOUNT}/{self.name}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._in_loop(self._hang_up)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def offer(self, messages: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Make messages available: bodies with their attributes."""
        made = [self._made(body, attributes) for body, attributes in messages]
        self.offered += len(made)
        self._loop.call_soon_threadsafe(self._show, made)

    def is_drained(self) -> bool:
        return self.deleted >= self.offered

    def is_empty(self) -> bool:
        """Nothing is visible, and nothing is hidden and would come back."""
        return not self._visible and not self._hidden

    def waiting(self) -> int:
        """How many long polls there are."""
        return len(self._polls)

    # ---- the loop's own thread

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _in_loop(self, make: Callable[[], Any]) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(make(), self._loop)
        return future.result(START_S)

    async def _listen(self) -> asyncio.Server:
        return await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=512)

    async def _hang_up(self) -> None:
        self._listener.close()
        for connection in self.connections:
            connection.abort()
        # They are closed by callbacks of the loop's.
        await asyncio.sleep(0)

    def _made(self, body: str, attributes: dict[str, Any]) -> Message:
        number = next(self._ids)
        group = f"g-{number}" if self.name.endswith(".fifo") else None
        md5 = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
        return Message(f"m-{number}", body, attributes, group, int(time.time() * 1000), md5)

    def _show(self, messages: Iterable[Message]) -> None:
        self._visible.extend(messages)
        while self._visible and self._polls:
            poll = self._polls.popleft()
            if poll.timer is not None:
                poll.timer.cancel()
            # A client that was killed takes no message with it.
            if poll.is_open():
                poll.answer(self._taken(poll.most, poll.hide_s))

    def _taken(self, most: int, hide_s: float) -> dict[str, Any]:
        taken = [self._visible.popleft() for _ in range(min(most, len(self._visible)))]
        return {"Messages": [self._handed_out(message, hide_s) for message in taken]} if taken else {}

    def _handed_out(self, message: Message, hide_s: float) -> dict[str, Any]:
        message.receives += 1
        message.handle = f"{message.id}-{message.receives}"
        self._hide(message, hide_s)
        system = {
            "ApproximateReceiveCount": str(message.receives),
            "SentTimestamp": str(message.sent_ms),
            "ApproximateFirstReceiveTimestamp": str(message.sent_ms),
            "SenderId": ACCOUNT,
        }
        if message.group:
            system["MessageGroupId"] = message.group
        shown = {
            "MessageId": message.id,
            "ReceiptHandle": message.handle,
            "Body": message.body,
            "MD5OfBody": message.md5,
            "Attributes": system,
        }
        return shown | ({"MessageAttributes": message.attributes} if message.attributes else {})

    def _hide(self, message: Message, seconds: float) -> None:
        message.hidden_until = self._loop.time() + seconds
        self._hidden[message.handle] = message
        heapq.heappush(self._ends, (message.hidden_until, message.handle))
        if self._ends[0][1] == message.handle:
            self._loop.call_at(message.hidden_until, self._unhide)

    def _unhide(self) -> None:
        back = []
        while self._ends and self._ends[0][0] <= self._loop.time():
            _, handle = heapq.heappop(self._ends)
            message = self._hidden.get(handle)
            if message is not None and message.hidden_until <= self._loop.time():
                del self._hidden[handle]
                back.append(message)
        if self._ends:
            self._loop.call_at(self._ends[0][0], self._unhide)
        if back:
            self._show(back)

    # ---- operations

    def called(
        self, operation: str, request: dict[str, Any], connection: "_Connection"
    ) -> dict[str, Any] | None:
        """The answer; None if it comes later. Raises Refused."""
        self.calls[operation] += 1
        if operation == "ReceiveMessage":
            return self._receive(request, connection)
        act = self._operations.get(operation)
        if act is None:
            self.calls[f"{operation}!"] += 1
            raise Refused("InvalidAction", f"{operation} is not known here")
        return act(request)

    def _receive(self, request: dict[str, Any], connection: "_Connection") -> dict[str, Any] | None:
        if self.receive_at is None:
            self.receive_at = time.monotonic()
        most, wait_s = request.get("MaxNumberOfMessages", 1), request.get("WaitTimeSeconds", 0)
        hide_s = request.get("VisibilityTimeout", self.visibility_s)
        if self._visible or not wait_s:
            return self._taken(most, hide_s)
        poll = _Poll(most, hide_s, connection.answer, connection.is_open)
        poll.timer = self._loop.call_later(wait_s, self._end_poll, poll)
        self._polls.append(poll)
        return None

    def _end_poll(self, poll: _Poll) -> None:
        if poll in self._polls:
            self._polls.remove(poll)
            poll.answer({})

    def forget(self, connection: "_Connection") -> None:
        """Its client is gone: nobody waits there."""
        for poll in [poll for poll in self._polls if poll.answer == connection.answer]:
            self._polls.remove(poll)

    def _delete(self, request: dict[str, Any]) -> dict[str, Any]:
        # As a standard queue has it, a handle that is no longer a message's deletes nothing; no error.
        if self._hidden.pop(request["ReceiptHandle"], None) is not None:
            self.deleted += 1
        return {}

    def _change(self, request: dict[str, Any]) -> dict[str, Any]:
        message = self._hidden.get(request["ReceiptHandle"])
        if message is None:
            raise Refused("MessageNotInflight", "The message is not in flight.")
        self._hide(message, request["VisibilityTimeout"])
        if not request["VisibilityTimeout"]:
            self._unhide()
        return {}

    def _send(self, request: dict[str, Any]) -> dict[str, Any]:
        message = self._made(request["MessageBody"], request.get("MessageAttributes", {}))
        self.offered += 1
        self._show([message])
        return {"MessageId": message.id, "MD5OfMessageBody": message.md5}

    def _each(
        self, act: Callable[[dict[str, Any]], dict[str, Any]], request: dict[str, Any]
    ) -> dict[str, Any]:
        entries = request["Entries"]
        if not 1 <= len(entries) <= BATCH:
            raise Refused("TooManyEntriesInBatchRequest", f"One to {BATCH} entries.")
        done: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        for entry in entries:
            try:
                act(entry)
                done.append({"Id": entry["Id"]})
            except Refused as fault:
                told = {"Id": entry["Id"], "Code": fault.code, "Message": str(fault), "SenderFault": True}
                failed.append(told)
        return {"Successful": done, "Failed": failed}

    def _attributes(self, _: dict[str, Any]) -> dict[str, Any]:
        shown = {
            "QueueArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{self.name}",
            "VisibilityTimeout": str(int(self.visibility_s)),
            "ApproximateNumberOfMessages": str(len(self._visible)),
            "ApproximateNumberOfMessagesNotVisible": str(len(self._hidden)),
            "ApproximateNumberOfMessagesDelayed": "0",
        }
        return {"Attributes": shown}


class _Connection(asyncio.Protocol):
    """One client's connection: HTTP/1.1, one call at a time."""

    def __init__(self, sqs: Sqs) -> None:
        self._sqs = sqs
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._sqs.connections.add(transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._sqs.connections.discard(self._transport)
        self._sqs.forget(self)

    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        headers = _headers(head)
        length = int(headers.get(b"content-length", 0))
        if len(rest) < length:
            if headers.get(b"expect"):
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        self._buffer = rest[length:]
        operation = headers.get(b"x-amz-target", b"?").rpartition(b".")[2].decode()
        if self._sqs.delay_s:
            asyncio.get_running_loop().call_later(self._sqs.delay_s, self._act, operation, rest[:length])
        else:
            self._act(operation, rest[:length])

    def _act(self, operation: str, body: bytes) -> None:
        try:
            answer = self._sqs.called(operation, json.loads(body or b"{}"), self)
        except Refused as fault:
            self._write(
                b"400 Bad Request", {"__type": f"com.amazonaws.sqs#{fault.code}", "message": str(fault)}
            )
            return
        if answer is not None:
            self.answer(answer)

    def answer(self, answer: dict[str, Any]) -> None:
        self._write(b"200 OK", answer)

    def _write(self, status: bytes, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self._transport.write(
            b"HTTP/1.1 %b\r\nDate: %b\r\nContent-Type: application/x-amz-json-1.0\r\n"
            b"x-amzn-RequestId: 00000000\r\nContent-Length: %d\r\n\r\n%b" % (status, _date(), len(body), body)
        )


def _headers(head: bytes) -> dict[bytes, bytes]:
    lines = head.split(b"\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}


_last: tuple[int, bytes] = (0, b"")


def _date() -> bytes:
    """The Date of an answer: made once a second."""
    global _last  # noqa: PLW0603 a cache of one
    now = int(time.time())
    if now != _last[0]:
        _last = now, time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now)).encode()
    return _last[1]
