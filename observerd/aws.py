"""The door to AWS: one session, and clients whose every call has a deadline.

Sessions are not safe to share between threads, clients are: so clients are made one at a time, each when it
is needed. The first one, which asks for the message that this machine was started for, comes from botocore:
boto3 brings its S3 transfer manager, a quarter of the time until then. The others come from boto3, on the
same session.
"""

import gzip
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError
from botocore.loaders import JSONFileLoader
from botocore.parsers import ResponseParserError

from observerd import __version__

if TYPE_CHECKING:
    from boto3.session import Session
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sqs import SQSClient

CONNECT_S = 3
# A long poll of 20 s, and time for its answer to travel.
POLL_READ_S = 30
CALL_READ_S = 10
# Attempts of one call, the first included; waits between them are botocore's.
CALL_ATTEMPTS = 3
# FilterLogEvents may be called five times a second in an account and region (CloudWatch Logs quotas).
PATIENT_ATTEMPTS = 6

_REGION_IN_HOST = re.compile(r"(?:^|\.)sqs(?:-fips)?\.([a-z0-9-]+)\.(?:vpce\.)?amazonaws\.com(?:\.cn)?$")


# Of what a proxy says in AWS's place.
_TEXT_AT_MOST = 300

# Error codes that ask us to slow down, or to have other rights (each service has its own spelling).
_THROTTLED = ("Throttl", "RequestLimitExceeded", "OverLimit", "TooManyRequests", "ProvisionedThroughput")
_DENIED = (
    "AccessDenied",
    "Unauthorized",
    "InvalidClientTokenId",
    "ExpiredToken",
    "UnrecognizedClient",
    "AuthorizationError",
)

# What to do about it, by how the codes begin.
_HINTS = {
    ("NoCredentials",): " (set AWS_PROFILE, or log in: aws sso login)",
    (
        "ExpiredToken",
        "UnauthorizedSSOToken",
        "SSOTokenLoad",
        "TokenRetrieval",
    ): " (log in again: aws sso login)",
    (
        "InvalidClientTokenId",
        "UnrecognizedClient",
        "SignatureDoesNotMatch",
    ): " (are these the account's keys?)",
}

# How a call to AWS may fare: what label values there are.
OUTCOMES = ("ok", "throttled", "denied", "refused", "server_error", "unreachable")


class Unusable(Exception):
    """What is set for AWS is no use: no region, no such profile, an endpoint that is no URL. One line."""


class Unanswered(Exception):
    """AWS refused or did not answer. The text is one line.

    code is AWS's, or the name of what was raised; denied: for want of a permission, or of credentials.
    """

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text + next((hint for codes, hint in _HINTS.items() if code.startswith(codes)), ""))
        self.code = code
        self.denied = any(each in code for each in (*_DENIED, "NoCredentials"))


def ask(method: Callable[..., Any], **request: Any) -> Any:
    """The answer of one call of a client's. Raises Unanswered."""
    try:
        return method(**request)
    except ClientError as error:
        told = error.response.get("Error", {})
        code, text = str(told.get("Code", "")), " ".join(str(told.get("Message", "")).split())
        raise Unanswered(f"{error.operation_name}: {text or code}", code) from error
    except Exception as error:
        raise Unanswered(text_of(error), type(error).__name__) from error


def text_of(error: Exception) -> str:
    """What a call of a client's has raised, in one line."""
    text = " ".join(str(error).split())[:_TEXT_AT_MOST]
    # A proxy, or whatever it is, has answered in AWS's place, and botocore's parsers have stumbled over it.
    is_stumble = isinstance(
        error, (ResponseParserError, LookupError, AttributeError, TypeError, UnicodeError)
    )
    return f"the answer makes no sense: {text}" if is_stumble else text


class Account:
    """Makes clients for a person's commands. Raises Unusable."""

    def __init__(self, region: str | None, observer: "Observer | None" = None) -> None:
        with _setting_up():
            self._core = _session()
            known = region or os.environ.get("AWS_REGION") or self._core.get_config_variable("region")
        if not known:
            raise Unusable("region: not known (give --region, or set AWS_REGION)")
        _watch(self._core, observer or _Unobserved())
        self.region: str = known
        self._clients: dict[tuple[str, str | None], Any] = {}

    def client(self, service: str, endpoint: str | None = None) -> Any:
        """A client of the service, the same each time. Its calls are tried again for a minute or so."""
        if (service, endpoint) not in self._clients:
            config = _config(CALL_READ_S, PATIENT_ATTEMPTS, connections=4)
            with _setting_up():
                self._clients[service, endpoint] = self._core.create_client(
                    service, region_name=self.region, endpoint_url=endpoint, config=config
                )
        return self._clients[service, endpoint]


class Observer(Protocol):
    """Hears of every request to AWS, retries included, on the thread that makes it."""

    def sent(self, service: str, operation: str) -> None:
        """One is about to go out: ("sqs", "ReceiveMessage")."""

    def answered(self, service: str, operation: str, outcome: str, took_s: float) -> None:
        """It has come back, or has failed; outcome is one of OUTCOMES."""


class _Unobserved:
    def sent(self, service: str, operation: str) -> None: ...

    def answered(self, service: str, operation: str, outcome: str, took_s: float) -> None: ...


class Clients:
    """Makes clients for the queue's region and endpoint. Raises Unusable."""

    def __init__(self, queue_url: str, region: str | None, observer: Observer | None = None) -> None:
        self._making = threading.Lock()
        self._endpoint = endpoint_of(queue_url, os.environ)
        with _setting_up():
            self._core = _session()
        _watch(self._core, observer or _Unobserved())
        # botocore reads AWS_DEFAULT_REGION by itself; the other name is what everybody else sets.
        known = region or region_of(queue_url) or os.environ.get("AWS_REGION")
        with _setting_up():
            self.region: str = known or self._core.get_config_variable("region")
        if not self.region:
            raise Unusable("region: not known (set it in the configuration, or AWS_REGION)")

    def poller(self) -> "SQSClient":
        """For ReceiveMessage alone. One attempt a call: the consumer decides when to try again."""
        config = _config(POLL_READ_S, attempts=1, connections=1)
        with _setting_up():
            client = self._core.create_client(
                "sqs", region_name=self.region, endpoint_url=self._endpoint, config=config
            )
        return cast("SQSClient", client)

    def settler(self, threads: int) -> "SQSClient":
        """For delete, release and dead-letter calls from that many messages' threads."""
        return self._sqs(_config(CALL_READ_S, CALL_ATTEMPTS, connections=threads + 1))

    def extender(self, visibility_timeout_s: float) -> "SQSClient":
        """For heartbeats: a call that hangs must end while there is time for the next."""
        read_s = max(1.0, min(5.0, visibility_timeout_s / 12))
        return self._sqs(_config(read_s, attempts=1, connections=1))

    def logs(self) -> "CloudWatchLogsClient":
        """For output, from the threads of many streams, which try again by themselves."""
        with self._making:
            return self._session().client("logs", config=_config(5.0, attempts=1, connections=16))

    def topic(self) -> Any:
        """For notices, from one thread."""
        with self._making:
            return self._session().client("sns", config=_config(5.0, CALL_ATTEMPTS, connections=1))

    def auto_scaling(self) -> "AutoScalingClient":
        """For the group's calls. One attempt each: to terminate twice may shrink the group twice."""
        with self._making:
            return self._session().client("autoscaling", config=_config(5.0, attempts=1, connections=2))

    def _sqs(self, config: BotoConfig) -> "SQSClient":
        with self._making, _setting_up():
            return self._session().client("sqs", config=config, endpoint_url=self._endpoint)

    def _session(self) -> "Session":
        from boto3.session import Session  # noqa: PLC0415 as the head of this file says

        return Session(botocore_session=self._core, region_name=self.region)


class _Models(JSONFileLoader):
    """botocore's descriptions of services and endpoints, as plain dicts.

    Its own loader makes OrderedDicts, from when dicts had no order: 5 MB more for three clients, and a tenth
    of the time to the first one.
    """

    def load_file(self, file_path: str) -> Any:
        """See JSONFileLoader.load_file: None where there is no such file."""
        for suffix, opened in ((".json", open), (".json.gz", gzip.open)):
            with suppress(FileNotFoundError), opened(file_path + suffix, "rb") as file:
                return json.loads(file.read())
        return None


def _session() -> botocore.session.Session:
    session = botocore.session.get_session()
    session.get_component("data_loader").file_loader = _Models()
    return session


@contextmanager
def _setting_up() -> Iterator[None]:
    """Where botocore reads what is set for it. Raises Unusable, and Unanswered where no credentials come."""
    try:
        yield
    except CredentialRetrievalError as error:
        raise Unanswered(text_of(error), type(error).__name__) from error
    except (BotoCoreError, ValueError) as error:
        raise Unusable(text_of(error)) from error


def region_of(queue_url: str) -> str | None:
    """The region that the queue's host name tells, or None."""
    found = _REGION_IN_HOST.search(urlsplit(queue_url).hostname or "")
    return found[1] if found else None


def endpoint_of(queue_url: str, environ: Mapping[str, str]) -> str | None:
    """Where to send SQS calls; None: where botocore thinks.

    An emulator's or a VPC endpoint's queue URL is taken at its word. AWS_ENDPOINT_URL outweighs it.
    """
    url = urlsplit(queue_url)
    host = url.hostname or ""
    told = environ.get("AWS_ENDPOINT_URL_SQS") or environ.get("AWS_ENDPOINT_URL")
    public = host.endswith(("amazonaws.com", "amazonaws.com.cn")) and ".vpce." not in host
    return None if told or public else f"{url.scheme}://{url.netloc}"


def is_ec2(environ: Mapping[str, str]) -> bool:
    """Whether there is an instance to give up. Asks no network: it is called before the first receive."""
    if environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"):
        return True
    with suppress(OSError):
        return Path("/sys/devices/virtual/dmi/id/sys_vendor").read_text().strip() == "Amazon EC2"
    return False


def _watch(session: botocore.session.Session, observer: Observer) -> None:
    """Tell observer of what every client of the session sends and gets.

    One thread makes one request at a time, so the time it was sent is kept by the thread. The hooks return
    nothing: botocore would take it for an answer.
    """
    local = threading.local()

    def before_send(**sent: Any) -> None:
        local.sent_at = perf_counter()
        observer.sent(*sent["event_name"].split(".")[1:])

    def received(**answer: Any) -> None:
        outcome = "unreachable" if answer["exception"] else _outcome(answer["parsed_response"] or {})
        _, service, operation = answer["event_name"].split(".")
        observer.answered(service, operation, outcome, perf_counter() - local.sent_at)

    session.register("before-send", before_send)
    session.register("response-received", received)


def _outcome(answer: Mapping[str, Any]) -> str:
    if "Error" not in answer:
        return "ok"
    code = str(answer["Error"].get("Code", ""))
    if any(each in code for each in _THROTTLED):
        return "throttled"
    if any(each in code for each in _DENIED):
        return "denied"
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return "server_error" if status >= 500 else "refused"  # noqa: PLR2004 as HTTP has it


def _config(read_s: float, attempts: int, connections: int) -> BotoConfig:
    return BotoConfig(
        connect_timeout=CONNECT_S,
        read_timeout=read_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=connections,
        # Said as a whole: botocore would put its own together anew, at a sixth of a call's CPU time.
        user_agent=f"observerd/{__version__}",
        # Without it an idle connection is cut silently by NAT gateways, and the next call hangs.
        tcp_keepalive=True,
    )
