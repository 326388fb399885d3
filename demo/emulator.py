"""The emulated AWS, as a process of its own: `python -m demo.emulator`, started by cloud.py.

moto is most of it. In front of moto stands what it lacks: instance metadata (IMDSv2) for each instance, the
lifecycle actions of Auto Scaling, and a journal of every call, one JSON object a line on standard output.
The first line is {"port": N}. It ends when its standard input does, so it cannot outlive whoever started it.
"""

import argparse
import io
import json
import logging
import os
import re
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from moto.autoscaling.models import autoscaling_backends
from moto.cloudformation import models as _cloudformation  # noqa: F401 read now, not in the first call
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/")
# As on EC2 ("Use the Instance Metadata Service to access instance metadata", EC2 User Guide).
TOKEN_HEADER, TTL_HEADER = "X-aws-ec2-metadata-token", "X-aws-ec2-metadata-token-ttl-seconds"
CREDENTIALS_LAST_S = 6 * 3600
HOOK_CALLS = ("CompleteLifecycleAction", "RecordLifecycleActionHeartbeat")
NOT_FOUND = 404


class Answer(NamedTuple):
    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def code(self) -> int:
        return int(self.status.split()[0])


def plain(code: int, text: str = "", kind: str = "text/plain") -> Answer:
    # WSGI wants a phrase after the code (PEP 3333); nobody reads it.
    return Answer(f"{code} -", [("Content-Type", kind)], text.encode())


class Call(NamedTuple):
    """One call of an AWS API as it came in."""

    service: str
    action: str
    caller: str
    parameters: dict[str, Any]


class Front:
    """The WSGI application: answers what moto cannot, passes on the rest, and keeps the journal."""

    def __init__(self, region: str, long_poll_s: int | None, tell: Callable[[dict[str, Any]], None]) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._metadata = Metadata(region)
        self._long_poll_s = long_poll_s
        self._tell = tell
        self._completed: set[str] = set()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        answer = self._metadata.answer(environ) if path.startswith("/imds/") else self._call(environ)
        start_response(answer.status, answer.headers)
        return [answer.body]

    def _call(self, environ: Environ) -> Answer:
        began_at = time.monotonic()
        call = read_call(environ)
        if call.action == "ReceiveMessage" and self._long_poll_s is not None:
            self._shorten_poll(environ, call.parameters)
        emulated_here = call.action in HOOK_CALLS
        answer = self._lifecycle_action(call) if emulated_here else through(self._moto, environ)
        times = {"began_at": began_at, "ended_at": time.monotonic()}
        self._tell({**call._asdict(), "status": answer.code, "answer": json_of(answer), **times})
        return answer

    def _shorten_poll(self, environ: Environ, parameters: dict[str, Any]) -> None:
        wait_s = min(int(parameters.get("WaitTimeSeconds", 20)), self._long_poll_s or 0)
        replace_body(environ, json.dumps({**parameters, "WaitTimeSeconds": wait_s}).encode())

    def _lifecycle_action(self, call: Call) -> Answer:
        instance = call.parameters.get("InstanceId", "")
        # moto takes an instance out of its group at once: what has left waits until its hook is completed.
        if instance in self._completed or not self._metadata.has_left(instance):
            return xml_fault(f"No active Lifecycle Action found with instance ID {instance}")
        if call.action == "CompleteLifecycleAction":
            self._completed.add(instance)
        return xml(f"<{call.action}Response><{call.action}Result/></{call.action}Response>")


class Metadata:
    """The instance metadata service, version 2, of every instance: /imds/<instance id>/latest/…"""

    def __init__(self, region: str) -> None:
        self._region = region
        self._tokens: set[str] = set()
        self._known: dict[str, dict[str, str]] = {}

    def answer(self, environ: Environ) -> Answer:
        _, _, instance_id, _, *rest = environ["PATH_INFO"].split("/")
        path = "/".join(rest)
        if path == "api/token":
            return self._token(environ)
        if header(environ, TOKEN_HEADER) not in self._tokens:
            return plain(401)
        texts = self._texts(instance_id)
        return plain(200, texts[path]) if path in texts else plain(NOT_FOUND)

    def has_left(self, instance_id: str) -> bool:
        """Whether it exists and is in no group any more; all instances here are launched by one."""
        backend = ec2_backends[DEFAULT_ACCOUNT_ID][self._region]
        exists = backend.get_instance_by_id(instance_id) is not None
        return exists and self._target_state(instance_id) == "Terminated"

    def _token(self, environ: Environ) -> Answer:
        ttl = header(environ, TTL_HEADER)
        if environ["REQUEST_METHOD"] != "PUT" or not ttl.isdigit() or not 1 <= int(ttl) <= 21_600:  # noqa: PLR2004 the TTL's bounds
            return plain(400)
        token = uuid.uuid4().hex
        self._tokens.add(token)
        return Answer("200 -", [("Content-Type", "text/plain"), (TTL_HEADER, ttl)], token.encode())

    def _texts(self, instance_id: str) -> dict[str, str]:
        """Every path that has an answer. spot/… and events/… have none: nothing is announced."""
        # Once read: moto takes the group's tag from an instance that has still to wait for its hook.
        if instance_id not in self._known:
            self._known[instance_id] = self._read(instance_id)
        state = {"meta-data/autoscaling/target-lifecycle-state": self._target_state(instance_id)}
        keys = {"meta-data/iam/security-credentials/worker": json.dumps(_credentials("WORKER"))}
        return self._known[instance_id] | state | keys

    def _read(self, instance_id: str) -> dict[str, str]:
        instance = ec2_backends[DEFAULT_ACCOUNT_ID][self._region].get_instance(instance_id)
        tags = {each["key"]: each["value"] for each in instance.get_tags()}
        zone = str(instance.placement.zone)
        return {
            "meta-data/instance-id": instance_id,
            "meta-data/instance-life-cycle": "on-demand",
            "meta-data/ami-id": str(instance.image_id),
            "meta-data/instance-type": str(instance.instance_type),
            "meta-data/placement/availability-zone": zone,
            "meta-data/placement/region": self._region,
            "meta-data/tags/instance": "\n".join(tags),
            "meta-data/tags/instance/": "\n".join(tags),
            **{f"meta-data/tags/instance/{key}": value for key, value in tags.items()},
            "meta-data/iam/security-credentials/": "worker",
        }

    def _target_state(self, instance_id: str) -> str:
        groups = autoscaling_backends[DEFAULT_ACCOUNT_ID][self._region].autoscaling_groups.values()
        members = {state.instance.id for group in groups for state in group.instance_states}
        return "InService" if instance_id in members else "Terminated"


def _credentials(caller: str) -> dict[str, str]:
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + CREDENTIALS_LAST_S))
    keys = {"AccessKeyId": caller, "SecretAccessKey": "emulated", "Token": "emulated"}
    return {"Code": "Success", "Type": "AWS-HMAC", "Expiration": until, "LastUpdated": until, **keys}


def read_call(environ: Environ) -> Call:
    """Which API call a request is. The caller is the access key it was signed with."""
    found = CREDENTIAL.search(header(environ, "Authorization"))
    caller, service = (found[1], found[2]) if found else ("", "")
    action, parameters = _action(environ)
    return Call(service, action, caller, parameters)


def _action(environ: Environ) -> tuple[str, dict[str, Any]]:
    kind = environ.get("CONTENT_TYPE", "")
    if target := header(environ, "X-Amz-Target"):
        return target.rpartition(".")[2], json.loads(body_of(environ) or b"{}")
    if kind.startswith("application/x-www-form-urlencoded"):
        form = dict(parse_qsl(body_of(environ).decode()))
        return form.pop("Action", ""), form
    return f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}", {}


def body_of(environ: Environ) -> bytes:
    """The request's body, left in place for the next who reads it."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    replace_body(environ, body)
    return body


def replace_body(environ: Environ, body: bytes) -> None:
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))


def header(environ: Environ, name: str) -> str:
    return str(environ.get("HTTP_" + name.upper().replace("-", "_"), ""))


def through(application: Any, environ: Environ) -> Answer:
    """The whole answer of a WSGI application."""
    started: list[Any] = []
    chunks = application(environ, lambda status, headers, _=None: started.extend((status, headers)))
    body = b"".join(chunks)
    return Answer(started[0], list(started[1]), body)


def json_of(answer: Answer) -> Any:
    kinds = {name.lower(): value for name, value in answer.headers}
    return json.loads(answer.body or b"null") if "json" in kinds.get("content-type", "") else None


def xml(inner: str, code: int = 200) -> Answer:
    return plain(code, inner, "text/xml")


def xml_fault(message: str) -> Answer:
    fault = f"<Type>Sender</Type><Code>ValidationError</Code><Message>{message}</Message>"
    return xml(f"<ErrorResponse><Error>{fault}</Error></ErrorResponse>", 400)


def journal() -> Callable[[dict[str, Any]], None]:
    """Writes one JSON object a line to standard output, from any thread."""
    lock = threading.Lock()

    def tell(facts: dict[str, Any]) -> None:
        with lock:
            sys.stdout.write(json.dumps(facts, default=str) + "\n")
            sys.stdout.flush()

    return tell


def end_with_input() -> None:
    """Ends this process, whatever its other threads do, once nobody holds the other end of the pipe."""
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--region", required=True)
    parser.add_argument("--long-poll-s", type=int)
    arguments = parser.parse_args()
    # A terminal's Ctrl-C is for the one who started us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_input, daemon=True).start()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    tell = journal()
    front = Front(arguments.region, arguments.long_poll_s, tell)
    server = make_server("127.0.0.1", 0, front, threaded=True, request_handler=MotoRequestHandler)
    tell({"port": server.server_port})
    server.serve_forever()


if __name__ == "__main__":
    main()
