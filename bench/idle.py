"""What a daemon costs that has worked and now waits, with everything loaded that a deployed one needs."""

import time
from collections.abc import Iterator
from pathlib import Path

from bench.daemon import observerd
from bench.patience import until
from bench.processes import Program
from bench.report import Budget, Row
from bench.server import LogSink, Server

MEMORY = Budget(60, of="ours")
CPU = Budget(0.2, of="ours")
JOBS = 200
READY_S = 40.0
# So that what the last jobs leave behind is done.
SETTLE_S = 2.0


def measure(directory: Path, watched_s: float) -> Iterator[Row]:
    """Raises NotMeasured."""
    with Server() as server, LogSink() as logs:
        argv = observerd(directory, server.queue_url, {"noop": ["/bin/echo", "done"]}, log_group="/bench")
        log = directory / "idle.log"
        with Program(argv, log, AWS_ENDPOINT_URL_CLOUDWATCH_LOGS=logs.endpoint) as daemon:
            server.offer("noop", JOBS)
            until(server.is_drained, READY_S, f"{JOBS} jobs are done")
            time.sleep(SETTLE_S)
            before_s, began_at = daemon.cpu_s(), time.monotonic()
            time.sleep(watched_s)
            share = (daemon.cpu_s() - before_s) / (time.monotonic() - began_at)
            yield Row(f"memory after {JOBS} jobs, resident", daemon.rss_bytes() / 1e6, "MB", budget=MEMORY)
            yield Row(f"CPU over {watched_s:g} s", share * 100, "%", budget=CPU)
