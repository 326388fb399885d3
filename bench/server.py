"""The AWS that all contenders share, on loopback and in this process: the tests' SQS, and a sink for logs.

A public emulator's own ceiling would hide what is measured (moto receives 36 messages a second).
"""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from types import TracebackType
from typing import Any, Self


class Server:
    """with Server() as server: a standard queue, or a FIFO queue, that counts its calls."""

    def __init__(self, *, fifo: bool = False) -> None:
        # By name, because the tests are not typed.
        suffix = ".fifo" if fifo else ""
        self._fifo = fifo
        self._name = f"jobs{suffix}"
        self._sqs: Any = import_module("tests.fake_sqs").FakeSqs(self._name, f"dead{suffix}")
        self.offered = 0

    def __enter__(self) -> Self:
        self._sqs.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sqs.__exit__(kind, error, trace)

    @property
    def endpoint(self) -> str:
        return str(self._sqs.endpoint)

    @property
    def queue_url(self) -> str:
        return str(self._sqs.url(self._name))

    def offer(self, job: str, count: int) -> None:
        """Make so many messages available. On a FIFO queue each is a group of its own."""
        body = json.dumps({"v": 1, "job": job})
        for number in range(self.offered, self.offered + count):
            self._sqs.send(body, name=self._name, group=f"g-{number}" if self._fifo else None)
        self.offered += count

    def is_drained(self) -> bool:
        return len(self._sqs.queues[self._name].deleted) >= self.offered

    def waiting(self) -> int:
        """How many long polls there are."""
        return int(self._sqs.waiting)

    def calls(self) -> Counter[str]:
        """How often each operation was called."""
        return Counter(list(self._sqs.calls))


class LogSink:
    """with LogSink() as logs: a CloudWatch Logs that takes everything."""

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _TakesAll)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _TakesAll(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without it the last small packet of an answer waits for the client's delayed ACK: 40 ms.
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response_only(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""
