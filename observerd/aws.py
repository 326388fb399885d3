"""The door to AWS: one session, and clients whose every call has a deadline.

Sessions are not safe to share between threads, clients are: so clients are made one at a time, each when it
is needed. The first one, which asks for the message that this machine was started for, comes from botocore:
boto3 brings its S3 transfer manager, a quarter of the time until then. The others come from boto3, on the
same session.
"""

import os
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError

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


class NoRegion(Exception):
    """The region is not known. The text is one line: what to set."""


class Unanswered(Exception):
    """AWS refused or did not answer. The text is one line.

    code is AWS's, or the name of what was raised; denied: for want of a permission.
    """

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code
        self.denied = code.startswith(("AccessDenied", "UnauthorizedOperation", "AuthorizationError"))


def ask(method: Callable[..., Any], **request: Any) -> Any:
    """The answer of one call of a client's. Raises Unanswered."""
    try:
        return method(**request)
    except ClientError as error:
        told = error.response.get("Error", {})
        code, text = str(told.get("Code", "")), " ".join(str(told.get("Message", "")).split())
        raise Unanswered(f"{error.operation_name}: {text or code}", code) from error
    except BotoCoreError as error:
        raise Unanswered(" ".join(str(error).split()), type(error).__name__) from error


class Account:
    """Makes clients for a person's commands. Raises NoRegion."""

    def __init__(self, region: str | None) -> None:
        self._core = botocore.session.get_session()
        known = region or os.environ.get("AWS_REGION") or self._core.get_config_variable("region")
        if not known:
            raise NoRegion("region: not known (give --region, or set AWS_REGION)")
        self.region: str = known

    def client(self, service: str, endpoint: str | None = None) -> Any:
        """A client of the service. Its calls are tried again for half a minute or so."""
        config = _config(CALL_READ_S, PATIENT_ATTEMPTS, connections=4)
        return self._core.create_client(
            service, region_name=self.region, endpoint_url=endpoint, config=config
        )


class Clients:
    """Makes clients for the queue's region and endpoint. Raises NoRegion.

    on_request is called with the operation's name ("ReceiveMessage") when a request to SQS, a retry included,
    is made up and about to be sent; on the thread that sends it.
    """

    def __init__(
        self, queue_url: str, region: str | None, on_request: Callable[[str], None] = lambda _: None
    ) -> None:
        self._making = threading.Lock()
        self._endpoint = endpoint_of(queue_url, os.environ)
        self._core = botocore.session.get_session()
        self._core.register("before-send.sqs", lambda **sent: _tell(on_request, sent))
        # botocore reads AWS_DEFAULT_REGION by itself; the other name is what everybody else sets.
        known = region or region_of(queue_url) or os.environ.get("AWS_REGION")
        self.region: str = known or self._core.get_config_variable("region")
        if not self.region:
            raise NoRegion("region: not known (set it in the configuration, or AWS_REGION)")

    def poller(self) -> "SQSClient":
        """For ReceiveMessage alone. One attempt a call: the consumer decides when to try again."""
        config = _config(POLL_READ_S, attempts=1, connections=1)
        client = self._core.create_client(
            "sqs", region_name=self.region, endpoint_url=self._endpoint, config=config
        )
        return cast("SQSClient", client)

    def settler(self, slots: int) -> "SQSClient":
        """For delete, release and dead-letter calls from the threads of that many jobs."""
        return self._sqs(_config(CALL_READ_S, CALL_ATTEMPTS, connections=slots + 1))

    def extender(self, visibility_timeout_s: float) -> "SQSClient":
        """For heartbeats: a call that hangs must end while there is time for the next."""
        read_s = max(1.0, min(5.0, visibility_timeout_s / 12))
        return self._sqs(_config(read_s, attempts=1, connections=1))

    def logs(self) -> "CloudWatchLogsClient":
        """For output, from the threads of many streams, which try again by themselves."""
        with self._making:
            return self._session().client("logs", config=_config(5.0, attempts=1, connections=16))

    def auto_scaling(self) -> "AutoScalingClient":
        """For the last calls of a life: what takes longer, the lifecycle hook's timeout does."""
        with self._making:
            return self._session().client("autoscaling", config=_config(5.0, 2, connections=2))

    def _sqs(self, config: BotoConfig) -> "SQSClient":
        with self._making:
            return self._session().client("sqs", config=config, endpoint_url=self._endpoint)

    def _session(self) -> "Session":
        from boto3.session import Session  # noqa: PLC0415 as the head of this file says

        return Session(botocore_session=self._core, region_name=self.region)


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


def _tell(on_request: Callable[[str], None], sent: Mapping[str, Any]) -> None:
    """Returns nothing: botocore would take it for the answer."""
    on_request(sent["event_name"].rsplit(".", 1)[1])


def _config(read_s: float, attempts: int, connections: int) -> BotoConfig:
    return BotoConfig(
        connect_timeout=CONNECT_S,
        read_timeout=read_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=connections,
        # Without it an idle connection is cut silently by NAT gateways, and the next call hangs.
        tcp_keepalive=True,
    )
