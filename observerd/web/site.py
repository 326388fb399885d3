"""Which address answers what. Only GET and HEAD; nothing here changes anything."""

import base64
import hashlib
import json
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import SplitResult, urlsplit

from observerd import clock
from observerd.metrics import Metrics
from observerd.status import Board
from observerd.web.page import SCRIPT, STYLE, page
from observerd.web.report import About, report
from observerd.web.server import Answer, Request

_TEXT = {"Content-Type": "text/plain; charset=utf-8"}


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# The page brings its own style and script; whatever else a job's name or output might become is not run.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_hash(STYLE)}",
        f"script-src {_hash(SCRIPT)}",
        "img-src data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_EVERYWHERE = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Site:
    """Answers requests out of what the main thread has published."""

    def __init__(self, metrics: Metrics, board: Board, about: About, hosts: frozenset[str]) -> None:
        self._metrics = metrics
        self._board = board
        self._about = about
        self._hosts = hosts | {"localhost", socket.gethostname().lower(), socket.getfqdn().lower()}
        self._pages: dict[str, Callable[[Request], Answer]] = {
            "/": self._page,
            "/metrics": self._written_metrics,
            "/healthz": self._health,
            "/readyz": self._readiness,
            "/api/v1/status": self._status,
        }

    def answer(self, request: Request) -> Answer:
        answer = self._routed(request)
        return Answer(answer.status, answer.body, {**_TEXT, **_EVERYWHERE, **answer.headers})

    def _routed(self, request: Request) -> Answer:
        if not all(self._is_ours(host) for host in request.headers.get_all("host", ["localhost"])):
            # A page elsewhere whose name was made to lead here (DNS rebinding) must not read what is here.
            text = "This name is not known here. Add it to metrics_hosts, or ask by the IP address."
            return _text(HTTPStatus.MISDIRECTED_REQUEST, text)
        if request.method not in ("GET", "HEAD"):
            refusal = _text(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and HEAD.")
            return Answer(refusal.status, refusal.body, {"Allow": "GET, HEAD"})
        find = self._pages.get(_split(request.target).path)
        if find is None:
            return _text(HTTPStatus.NOT_FOUND, f"Nothing here. There is: {' '.join(self._pages)}")
        return find(request)

    def _is_ours(self, host: str) -> bool:
        name = _split(f"//{host}").hostname or ""
        return name in self._hosts or _is_address(name)

    def _page(self, _: Request) -> Answer:
        body = page(self._report()).encode()
        return Answer(HTTPStatus.OK, body, {"Content-Type": "text/html; charset=utf-8"})

    def _written_metrics(self, request: Request) -> Answer:
        accept, encoding = (request.headers.get(name, "") for name in ("accept", "accept-encoding"))
        body, headers = self._metrics.written(accept, encoding)
        return Answer(HTTPStatus.OK, body, {**headers, "Vary": "Accept, Accept-Encoding"})

    def _health(self, _: Request) -> Answer:
        if self._board.status.is_healthy(clock.now()):
            return _text(HTTPStatus.OK, "ok")
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, "stuck: nothing has happened for longer than it may")

    def _readiness(self, _: Request) -> Answer:
        status = self._board.status
        code = HTTPStatus.OK if status.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return _text(code, status.state.value)

    def _status(self, _: Request) -> Answer:
        body = json.dumps(self._report(), ensure_ascii=False, indent=1).encode() + b"\n"
        return Answer(HTTPStatus.OK, body, {"Content-Type": "application/json"})

    def _report(self) -> dict[str, object]:
        return report(self._board.status, self._about, clock.now(), time.time())


def _text(status: HTTPStatus, text: str) -> Answer:
    return Answer(status, f"{text}\n".encode())


def _split(url: str) -> SplitResult:
    """The empty URL's parts where it is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _is_address(name: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, name)
        except (OSError, ValueError):
            continue
        return True
    return False
