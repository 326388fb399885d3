"""A CloudWatch Logs on loopback that takes everything."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


class LogSink:
    """with LogSink() as logs: a CloudWatch Logs that takes everything, and counts lines with a text."""

    def __init__(self, text: str = '"timestamp":') -> None:
        self._text = text.encode()
        self.lines = 0

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._took))
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

    def _took(self, body: bytes) -> None:
        with self._lock:
            self.lines += body.count(self._text)


def _handler(took: Callable[[bytes], None]) -> type[BaseHTTPRequestHandler]:
    class TakesAll(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without it the last small packet of an answer waits for the client's delayed ACK: 40 ms.
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            took(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response_only(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    return TakesAll
