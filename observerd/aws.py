"""The door to AWS: one session, and clients whose every call has a deadline.

Sessions are not safe to share between threads, clients are. So clients are made on the main thread.
"""

import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config as BotoConfig

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sqs import SQSClient

CONNECT_S = 3
# A long poll of 20 s, and time for its answer to travel.
POLL_READ_S = 30
CALL_READ_S = 10
# Attempts of one call, the first included; waits between them are botocore's.
CALL_ATTEMPTS = 3

_REGION_IN_HOST = re.compile(r"(?:^|\.)sqs(?:-fips)?\.([a-z0-9-]+)\.(?:vpce\.)?amazonaws\.com(?:\.cn)?$")


class NoRegion(Exception):
    """The region is not known. The text is one line: what to set."""


class Clients:
    """Makes clients for the queue's region and endpoint. Raises NoRegion."""

    def __init__(self, queue_url: str, region: str | None) -> None:
        self._queue_url = queue_url
        # botocore reads AWS_DEFAULT_REGION by itself; the other name is what everybody else sets.
        known = region or region_of(queue_url) or os.environ.get("AWS_REGION")
        self._session = boto3.session.Session(region_name=known)
        if self._session.region_name is None:
            raise NoRegion("region: not known (set it in the configuration, or AWS_REGION)")
        self.region = self._session.region_name

    def poller(self) -> "SQSClient":
        """For ReceiveMessage alone. One attempt a call: the consumer decides when to try again."""
        return self._sqs(read_s=POLL_READ_S, attempts=1, connections=1)

    def settler(self, slots: int) -> "SQSClient":
        """For delete, release and dead-letter calls from the threads of that many jobs."""
        return self._sqs(read_s=CALL_READ_S, attempts=CALL_ATTEMPTS, connections=slots + 1)

    def extender(self, visibility_timeout_s: float) -> "SQSClient":
        """For heartbeats: a call that hangs must end while there is time for the next."""
        read_s = max(1.0, min(5.0, visibility_timeout_s / 12))
        return self._sqs(read_s=read_s, attempts=1, connections=1)

    def logs(self) -> "CloudWatchLogsClient":
        config = _config(CALL_READ_S, CALL_ATTEMPTS, connections=16)
        return self._session.client("logs", config=config)

    def auto_scaling(self) -> "AutoScalingClient":
        # The last call of a life: what it does not do in a quarter of a minute, the hook's timeout does.
        config = _config(5.0, 2, connections=2)
        return self._session.client("autoscaling", config=config)

    def _sqs(self, *, read_s: float, attempts: int, connections: int) -> "SQSClient":
        config = _config(read_s, attempts, connections)
        return self._session.client(
            "sqs", config=config, endpoint_url=endpoint_of(self._queue_url, os.environ)
        )


def region_of(queue_url: str) -> str | None:
    """The region that the queue's host name tells, or None."""
    found = _REGION_IN_HOST.search(urlsplit(queue_url).hostname or "")
    return found[1] if found else None


def endpoint_of(queue_url: str, environ: Any) -> str | None:
    """Where to send SQS calls; None: where botocore thinks.

    An emulator's or a VPC endpoint's queue URL is taken at its word. AWS_ENDPOINT_URL outweighs it.
    """
    url = urlsplit(queue_url)
    host = url.hostname or ""
    told = environ.get("AWS_ENDPOINT_URL_SQS") or environ.get("AWS_ENDPOINT_URL")
    public = re.search(r"amazonaws\.com(\.cn)?$", host) and ".vpce." not in host
    return None if told or public else f"{url.scheme}://{url.netloc}"


def _config(read_s: float, attempts: int, connections: int) -> BotoConfig:
    return BotoConfig(
        connect_timeout=CONNECT_S,
        read_timeout=read_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=connections,
        # Without it an idle connection is cut silently by NAT gateways, and the next call hangs.
        tcp_keepalive=True,
    )
