"""An SQS of our own on loopback, over real HTTP: keeps SQS's promises, and breaks them when told to.

What it keeps: long polls, visibility timeouts, receive counts, receipt handles that end with their lease,
FIFO groups that wait for the message in front, redelivery. What a test may plan: see Fault. The bench
drives it too, because a public emulator's own ceiling hides what is measured.
"""

import hashlib
import itertools
import json
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Bound here, so that a test that steps the local clock does not step that of SQS.
from time import time as wall_clock

ACCOUNT = "000000000000"


class Refused(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


@dataclass
class Fault:
    """What goes wrong with calls of one operation ("*": any), for so many calls (None: until taken out)."""

    operation: str
    kind: str
    """error: CODE (with status), hang, reset, garbage, null, binary, lost (done, the answer is not sent)."""
    code: str = "ServiceUnavailable"
    status: int = 503
    times: int | None = None
    hang_s: float = 60.0


@dataclass
class Held:
    id: str
    body: str
    attributes: dict
    group: str | None
    sent_at: float
    handle: str | None = None
    visible_at: float = 0.0
    received_at: float = 0.0
    receive_count: int = 0


@dataclass
class FakeQueue:
    name: str
    redrive: str | None = None
    messages: list = field(default_factory=list)
    deleted: list = field(default_factory=list)

    @property
    def fifo(self):
        return self.name.endswith(".fifo")


class FakeSqs:
    """with FakeSqs() as sqs: sqs.url("jobs") is a queue's URL."""

    def __init__(self, *names):
        self.queues = {name: FakeQueue(name) for name in names or ("jobs", "dead")}
        self.faults = []
        self.calls = []
        self.callers = set()
        """What callers say they are: their User-Agent."""
        self.clock_offset_s = 0.0
        """What SQS's clock says beyond ours."""
        self.delay_s = 0.0
        """Added to every call, as a network does."""
        self.longest_wait_s = 20.0
        """A long poll that finds nothing is answered after so long: where a test need not sit it out."""
        self.waits = []
        """WaitTimeSeconds of each receive."""
        self.waiting = 0
        """How many long polls are on their way."""
        self._changed = threading.Condition()
        self._ids = itertools.count(1)
        self._stopped = False

    # ---- for tests

    def __enter__(self):
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.port = self._server.server_port
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def url(self, name="jobs"):
        return f"{self.endpoint}/{ACCOUNT}/{name}"

    def send(self, body, name="jobs", attributes=None, group=None, sent_at=None):
        with self._changed:
            number = next(self._ids)
            held = Held(f"m-{number}", body, attributes or {}, group, sent_at or self.now())
            self.queues[name].messages.append(held)
            self._changed.notify_all()
        return held.id

    def send_job(self, job, **fields):
        return self.send(json.dumps({"v": 1, "job": job, **fields}))

    def now(self):
        return wall_clock() + self.clock_offset_s

    def fail(self, operation, kind, **facts):
        fault = Fault(operation, kind, **facts)
        self.faults.append(fault)
        return fault

    def mend(self):
        self.faults.clear()

    def count(self, operation):
        with self._changed:
            return self.calls.count(operation)

    def wait_for(self, condition, timeout_s=30.0):
        """Wait until condition(self), asked after every call and every tenth of a second."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not condition(self):
                left_s = deadline - time.monotonic()
                assert left_s > 0, f"not in {timeout_s} s; calls: {self.calls[-20:]}"
                self._changed.wait(min(0.1, left_s))

    def show_all(self, name="jobs"):
        """Every lease is over."""
        with self._changed:
            for held in self.queues[name].messages:
                held.visible_at = time.monotonic()
            self._changed.notify_all()

    def bodies(self, name="jobs"):
        return [held.body for held in self.queues[name].messages]

    # ---- SQS

    def answer(self, operation, request):
        with self._changed:
            try:
                return getattr(self, f"_{operation}")(request)
            finally:
                self.calls.append(operation)
                self._changed.notify_all()

    def fault_of(self, operation):
        with self._changed:
            for fault in self.faults:
                if fault.operation in ("*", operation) and fault.times != 0:
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None

    def _queue(self, request):
        name = request["QueueUrl"].rsplit("/", 1)[1]
        if name not in self.queues:
            raise Refused("QueueDoesNotExist", "The specified queue does not exist.")
        return self.queues[name]

    def _ReceiveMessage(self, request):  # noqa: N802
        queue = self._queue(request)
        asked_s = request.get("WaitTimeSeconds", 0)
        self.waits.append(asked_s)
        deadline = time.monotonic() + min(asked_s, self.longest_wait_s)
        while True:
            found = self._take(queue, request)
            left_s = deadline - time.monotonic()
            if found or left_s <= 0 or self._stopped:
                return {"Messages": found} if found else {}
            self.waiting += 1
            self._changed.notify_all()
            self._changed.wait(min(left_s, self._next_visible_s(queue)))
            self.waiting -= 1

    def _take(self, queue, request):
        now, found, locked = time.monotonic(), [], set()
        for held in queue.messages:
            visible = held.visible_at <= now
            if (visible or held.handle is None) and held.group not in locked:
                if len(found) < request.get("MaxNumberOfMessages", 1):
                    found.append(self._hand_out(held, now, request.get("VisibilityTimeout", 30)))
            elif held.group is not None:
                locked.add(held.group)
        return found

    def _hand_out(self, held, now, timeout_s):
        held.receive_count += 1
        held.handle = f"{held.id}#{held.receive_count}"
        held.visible_at, held.received_at = now + timeout_s, now
        system = {
            "ApproximateReceiveCount": str(held.receive_count),
            "SentTimestamp": str(int(held.sent_at * 1000)),
        }
        if held.group:
            system["MessageGroupId"] = held.group
        message = {
            "MessageId": held.id,
            "ReceiptHandle": held.handle,
            "Body": held.body,
            "Attributes": system,
        }
        message["MD5OfBody"] = hashlib.md5(held.body.encode()).hexdigest()
        return message | ({"MessageAttributes": held.attributes} if held.attributes else {})

    def _next_visible_s(self, queue):
        now = time.monotonic()
        waits = [held.visible_at - now for held in queue.messages if held.visible_at > now]
        return max(0.001, min(waits, default=60.0))

    def _held(self, queue, handle):
        for held in queue.messages:
            if held.handle == handle and held.visible_at > time.monotonic():
                return held
        raise Refused("ReceiptHandleIsInvalid", f"The input receipt handle {handle!r} is not valid.")

    def _DeleteMessage(self, request):  # noqa: N802
        queue = self._queue(request)
        held = self._held(queue, request["ReceiptHandle"])
        queue.messages.remove(held)
        queue.deleted.append(held)
        return {}

    def _ChangeMessageVisibility(self, request):  # noqa: N802
        held = self._held(self._queue(request), request["ReceiptHandle"])
        now = time.monotonic()
        if now + request["VisibilityTimeout"] > held.received_at + 43_200:
            raise Refused(
                "InvalidParameterValue", "Total VisibilityTimeout is beyond the limit [43200 seconds]"
            )
        held.visible_at = now + request["VisibilityTimeout"]
        return {}

    def _ChangeMessageVisibilityBatch(self, request):  # noqa: N802
        return self._batch(request, self._ChangeMessageVisibility)

    def _DeleteMessageBatch(self, request):  # noqa: N802
        return self._batch(request, self._DeleteMessage)

    def _batch(self, request, one):
        entries, done, failed = request["Entries"], [], []
        if not 1 <= len(entries) <= 10 or len({entry["Id"] for entry in entries}) < len(entries):
            raise Refused("TooManyEntriesInBatchRequest", "One to ten entries, each with an Id of its own.")
        for entry in entries:
            try:
                one({"QueueUrl": request["QueueUrl"], **entry})
                done.append({"Id": entry["Id"]})
            except Refused as refused:
                failed.append(
                    {"Id": entry["Id"], "Code": refused.code, "Message": str(refused), "SenderFault": True}
                )
        return {"Successful": done, "Failed": failed}

    def _SendMessage(self, request):  # noqa: N802
        queue = self._queue(request)
        size = len(request["MessageBody"].encode())
        for name, each in request.get("MessageAttributes", {}).items():
            size += len(name) + len(each["DataType"]) + len(each.get("StringValue", "").encode())
        if size > 1_048_576 or len(request.get("MessageAttributes", {})) > 10:
            raise Refused("InvalidParameterValue", "One or more parameters are invalid.")
        held = Held(
            f"m-{next(self._ids)}",
            request["MessageBody"],
            request.get("MessageAttributes", {}),
            request.get("MessageGroupId"),
            self.now(),
        )
        queue.messages.append(held)
        return {"MessageId": held.id, "MD5OfMessageBody": hashlib.md5(held.body.encode()).hexdigest()}

    def _visible(self, queue):
        now = time.monotonic()
        return sum(held.visible_at <= now for held in queue.messages)

    def _GetQueueAttributes(self, request):  # noqa: N802
        queue = self._queue(request)
        if "ApproximateNumberOfMessages" in request["AttributeNames"]:
            return {"Attributes": {"ApproximateNumberOfMessages": str(self._visible(queue))}}
        if queue.redrive is None:
            return {}
        arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{queue.redrive}"
        policy = {"deadLetterTargetArn": arn, "maxReceiveCount": 10}
        return {"Attributes": {"RedrivePolicy": json.dumps(policy)}}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        """A client that was killed in the middle of a call is what many tests are about."""


def _handler(sqs):  # noqa: C901 one class, closed over its queues
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without it the last small packet of an answer waits for the client's delayed ACK: 40 ms.
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self):
            length = int(self.headers["Content-Length"])
            request = json.loads(self.rfile.read(length))
            operation = self.headers["X-Amz-Target"].rsplit(".", 1)[1]
            sqs.callers.add(self.headers["User-Agent"])
            time.sleep(sqs.delay_s)
            fault = sqs.fault_of(operation)
            if fault is not None and fault.kind != "lost":
                with sqs._changed:
                    sqs.calls.append(f"{operation}!")
                self._misbehave(fault)
                return
            try:
                answer = sqs.answer(operation, request)
            except Refused as refused:
                self._send(400, {"__type": f"com.amazonaws.sqs#{refused.code}", "message": str(refused)})
                return
            if fault is not None:
                self._reset()
                return
            self._send(200, answer)

        def _misbehave(self, fault):
            match fault.kind:
                case "error":
                    self._send(
                        fault.status, {"__type": f"com.amazonaws.sqs#{fault.code}", "message": "planned"}
                    )
                case "hang":
                    with sqs._changed:
                        sqs._changed.wait_for(lambda: sqs._stopped or fault not in sqs.faults, fault.hang_s)
                    self._reset()
                case "reset":
                    self._reset()
                case "garbage":
                    self._write(200, b"<html>Welcome to the hotel's network</html>", "text/html")
                case "null":
                    self._write(200, b"null")
                case "binary":
                    self._write(502, b"\xff\xfe\xfd")
                case "truncated":
                    self.send_response(200)
                    self.send_header("Content-Length", "1000")
                    self.end_headers()
                    self.wfile.write(b'{"Messages": [')
                    self.wfile.flush()
                    self._reset()

        def _reset(self):
            self.close_connection = True
            with suppress(OSError):
                # Linger 0: the peer sees a reset, not an end.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

        def _send(self, status, answer):
            self._write(status, json.dumps(answer).encode())

        def _write(self, status, body, content_type="application/x-amz-json-1.0"):
            self.send_response_only(status)
            self.send_header("Date", formatdate(sqs.now(), usegmt=True))
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, *_):
            pass

    return Handler
