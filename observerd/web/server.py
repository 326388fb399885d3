"""Takes connections, and bounds what they may cost: threads, memory, time.

One request a connection, each on a short-lived thread of its own, and at most PLACES of them: when all are
taken the oldest connection is closed, so that slow clients can keep nobody out for long. Heads are read whole
under one deadline before anything looks at them, and answers are made one at a time, so that a flood of
requests competes with the jobs for one thread's share of the interpreter.
"""

import contextlib
import io
import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

log = logging.getLogger(__name__)

PLACES = 8
HEAD_BYTES = 16 * 1024
HEAD_S = 5.0
"""From the connection to the last byte of the request's head, TLS's handshake included."""
SEND_S = 10.0
LINGER_S = 1.0
# Without descriptors there is nothing to accept with; the jobs need the next ones more.
EXHAUSTED_S = 0.5


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    headers: "Message[str, str]"


@dataclass(frozen=True, slots=True)
class Answer:
    status: HTTPStatus
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    certificate: str
    key: str
    client_ca: str | None


class Server:
    """Listens from its making on. Raises OSError where it cannot, or cannot read the certificates."""

    def __init__(self, listen: str, tls: TlsFiles | None, answer: Callable[[Request], Answer]) -> None:
        self._tls = Tls(tls) if tls else None
        self._answer = answer
        self._answering = threading.Lock()
        self._places = threading.Semaphore(PLACES)
        self._lock = threading.Lock()
        self._open: dict[socket.socket, None] = {}
        self._listener = _listener(listen)
        threading.Thread(target=self._serve, name="web", daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                time.sleep(EXHAUSTED_S)
                continue
            with contextlib.suppress(OSError):  # Gone before its turn came.
                self._admit(self._tls.wrapped(connection) if self._tls else connection)

    def _admit(self, connection: socket.socket) -> None:
        if not self._places.acquire(blocking=False):
            self._close_oldest()
            self._places.acquire()
        with self._lock:
            self._open[connection] = None
        try:
            threading.Thread(target=self._converse, args=(connection,), name="web", daemon=True).start()
        except RuntimeError:
            self._let_go(connection)  # No thread to be had. The client asks again; a job could not.

    def _close_oldest(self) -> None:
        with self._lock:
            oldest = next(iter(self._open), None)
            if oldest is not None:
                # The socket's own: TLS's would take the session from under the thread that reads it.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(oldest, socket.SHUT_RDWR)

    def _let_go(self, connection: socket.socket) -> None:
        with self._lock:
            del self._open[connection]
        connection.close()
        self._places.release()

    def _converse(self, connection: socket.socket) -> None:
        try:
            deadline = time.monotonic() + HEAD_S
            connection.settimeout(HEAD_S)
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
            answer, has_body = self._answer_to(_head(connection, deadline))
            connection.settimeout(SEND_S)
            connection.sendall(_written(answer, has_body=has_body))
            _linger(connection)
        except (OSError, EOFError):
            pass  # Gone, too slow, or not speaking TLS: their loss.
        except Exception:
            log.exception("request not answered")
        finally:
            self._let_go(connection)

    def _answer_to(self, head: bytes) -> tuple[Answer, bool]:
        parsed = _Parsed(head)
        if parsed.refused is not None:
            return Answer(parsed.refused, f"{parsed.refused.phrase}\n".encode()), True
        request = Request(parsed.command, parsed.path, parsed.headers)
        with self._answering:
            return self._answer(request), request.method != "HEAD"


class Tls:
    """A context that follows its files: certificates are renewed while the daemon runs."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._stamps = self._stamped()
        self._context = self._loaded()

    def wrapped(self, connection: socket.socket) -> ssl.SSLSocket:
        """Without the handshake, which may take a hostile client's time."""
        return self._current().wrap_socket(connection, server_side=True, do_handshake_on_connect=False)

    def _current(self) -> ssl.SSLContext:
        with self._lock:
            try:
                stamps = self._stamped()
                if stamps != self._stamps:
                    self._stamps = stamps
                    self._context = self._loaded()
            except OSError as error:
                log.error("certificates not loaded, the old ones stay", extra={"fault": str(error)})  # noqa: TRY400 one line
            return self._context

    def _stamped(self) -> list[int]:
        paths = (self._files.certificate, self._files.key, self._files.client_ca)
        return [os.stat(path).st_mtime_ns for path in paths if path]  # noqa: PTH116 the paths stay strings for ssl

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._files.certificate, self._files.key)
        if self._files.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self._files.client_ca)
        return context


class _Parsed(BaseHTTPRequestHandler):
    """The standard library's parser, given a head that has been read already."""

    def __init__(self, head: bytes) -> None:
        self.rfile = io.BufferedReader(io.BytesIO(head))
        self.wfile = io.BytesIO()  # Where a "100 Continue" goes.
        self.refused: HTTPStatus | None = None
        self.raw_requestline = self.rfile.readline(HEAD_BYTES)
        if len(head) > HEAD_BYTES:
            self.refused = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        elif not self.parse_request() and self.refused is None:
            self.refused = HTTPStatus.BAD_REQUEST

    def send_error(self, code: int, *_: Any) -> None:
        self.refused = HTTPStatus(code)


def _listener(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    address = host.strip("[]")
    family, *_ = socket.getaddrinfo(address, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server((address, int(port)), family=family, backlog=64)


def _head(connection: socket.socket, deadline: float) -> bytes:
    """Up to the empty line, or a little more than the limit. Raises OSError, and EOFError at an early end."""
    head = b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head and len(head) <= HEAD_BYTES:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        received = connection.recv(4096)
        if not received:
            raise EOFError
        head += received
    return head


def _written(answer: Answer, *, has_body: bool) -> bytes:
    headers = {**answer.headers, "Content-Length": str(len(answer.body)), "Connection": "close"}
    lines = [f"HTTP/1.1 {answer.status.value} {answer.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head + answer.body if has_body else head


def _linger(connection: socket.socket) -> None:
    """Let the client read the answer: closing on what it still sends would reset the connection under it."""
    deadline = time.monotonic() + LINGER_S
    if isinstance(connection, ssl.SSLSocket):
        return  # TLS ends with its own farewell, and nobody sends bodies to metrics.
    connection.shutdown(socket.SHUT_WR)
    while (left_s := deadline - time.monotonic()) > 0:
        connection.settimeout(left_s)
        if not connection.recv(65_536):
            return
