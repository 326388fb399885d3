"""CloudWatch Logs as far as PutLogEvents goes: it keeps the real one's limits, and fails as it is told."""

import json
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from botocore.exceptions import ClientError

HOUR_MS = 3_600_000
GROUP = "/observerd/jobs"


def refusal(code, status=400):
    response = {
        "Error": {"Code": code, "Message": "so it is"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, "PutLogEvents")


class FakeLogs:
    """Stands in for the boto3 client. Attributes may be changed at any time."""

    def __init__(self, wall=time.time):
        self.wall = wall
        self.streams = {}
        self.calls = defaultdict(int)
        self.fault = None
        """Raised by every call, while it is set."""
        self.faults = []
        """Raised by the next calls, one each."""
        self.rejected = {}
        """The rejectedLogEventsInfo of the next answer."""
        self.lets_through = threading.Event()
        """Until it is set, every call hangs."""
        self.lets_through.set()
        self.creating_s = 0.0
        self.threads = set()

    def create_log_stream(self, **names):
        self._called("create_log_stream", names)
        time.sleep(self.creating_s)
        if names["logStreamName"] in self.streams:
            raise refusal("ResourceAlreadyExistsException")
        self.streams[names["logStreamName"]] = []

    def put_log_events(self, *, logEvents, **names):  # noqa: N803 as boto3 has it
        self._called("put_log_events", names)
        if names["logStreamName"] not in self.streams:
            raise refusal("ResourceNotFoundException")
        self._check(logEvents)
        rejected, self.rejected = self.rejected, {}
        first, last = rejected.get("tooOldLogEventEndIndex", 0), rejected.get("tooNewLogEventStartIndex")
        self.streams[names["logStreamName"]] += [dict(event) for event in logEvents[first:last]]
        return {"rejectedLogEventsInfo": rejected} if rejected else {"nextSequenceToken": "ignored"}

    def lines(self, stream):
        return [event["message"] for event in self.streams.get(stream, [])]

    def _called(self, operation, names):
        self.calls[operation] += 1
        self.threads.add(threading.current_thread())
        assert self.lets_through.wait(60)
        if self.faults:
            raise self.faults.pop(0)
        if self.fault is not None:
            raise self.fault
        if names["logGroupName"] != GROUP:
            raise refusal("ResourceNotFoundException")

    def _check(self, events):
        """API Reference, PutLogEvents."""
        sizes = [len(event["message"].encode()) + 26 for event in events]
        times = [event["timestamp"] for event in events]
        now = self.wall() * 1000
        fine = (
            all(event["message"] for event in events)
            and max(sizes) <= 256 * 1024
            and sum(sizes) <= 1_048_576
            and len(events) <= 10_000
            and times == sorted(times)
            and times[-1] - times[0] <= 24 * HOUR_MS
            and times[-1] <= now + 2 * HOUR_MS
            and times[0] >= now - 24 * HOUR_MS
        )
        if not fine:
            raise refusal("InvalidParameterException")


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        """A client that is gone, or was cut off in the middle of a request, is what tests are about."""


class LogsServer:
    """with LogsServer() as server: server.logs over HTTP, for a process of its own; server.url is where."""

    def __init__(self):
        self.logs = FakeLogs()

    def __enter__(self):
        self._server = _Server(("127.0.0.1", 0), _handler(self.logs))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def _handler(logs):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            answers = {"CreateLogStream": logs.create_log_stream, "PutLogEvents": logs.put_log_events}
            try:
                self._answer(200, answers[operation](**request) or {})
            except ClientError as refused:
                error = refused.response["Error"]
                self._answer(400, {"__type": error["Code"], "message": error["Message"]})

        def _answer(self, status, facts):
            body = json.dumps(facts).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler
