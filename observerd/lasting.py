"""What outlives a worker of its metrics: files for node_exporter, a push gateway. Its last scrape is lost."""

import logging
import threading
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from observerd.metrics import Metrics

log = logging.getLogger(__name__)

# For all of it. It is on the way out: a spot notice leaves two minutes, and logs are still to be flushed.
LEAVE_S = 5.0
ANSWER_S = 2.0


def leave(metrics: Metrics, directory: str | None, push_url: str | None, stack: str | None) -> None:
    """Write and push what is configured. Blocks for LEAVE_S at most, whatever a disk or a gateway does."""
    ways = []
    if directory:
        ways.append(_way(directory, lambda: metrics.write_files(Path(directory))))
    if push_url:
        ways.append(_way(push_url, lambda: metrics.push(push_url, stack, ANSWER_S)))
    for way in ways:
        way.start()
    for way in ways:
        way.join(LEAVE_S / len(ways))
        if way.is_alive():
            log.warning("metrics not left behind", extra={"to": way.name, "fault": "no answer in time"})


def _way(to: str, carry_out: Callable[[], None]) -> threading.Thread:
    def walk() -> None:
        try:
            carry_out()
        except (OSError, HTTPException, ValueError) as error:
            log.warning("metrics not left behind", extra={"to": to, "fault": str(error)})

    return threading.Thread(target=walk, name=to, daemon=True)
