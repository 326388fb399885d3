"""What a daemon costs that has worked and now waits, with everything loaded that a deployed one needs."""

import time
from collections.abc import Iterator
from pathlib import Path

from bench.daemon import messages, observerd
from bench.logsink import LogSink
from bench.patience import until
from bench.processes import Program
from bench.report import Row, budget
from bench.sqs import Sqs

MEMORY = budget("idle-memory")
CPU = budget("idle-cpu")
JOBS = 200
READY_S = 40.0
# So that what the last jobs leave behind is done.
SETTLE_S = 2.0


def measure(directory: Path, watched_s: float) -> Iterator[Row]:
    """Raises NotMeasured."""
    with Sqs() as sqs, LogSink() as logs:
        argv = observerd(directory, sqs.queue_url, {"noop": ["/bin/echo", "done"]}, log_group="/bench")
        log = directory / "idle.log"
        with Program(argv, log, AWS_ENDPOINT_URL_CLOUDWATCH_LOGS=logs.endpoint) as daemon:
            sqs.offer(messages("noop", JOBS))
            until(sqs.is_drained, READY_S, f"{JOBS} jobs are done")
            time.sleep(SETTLE_S)
            before_s, began_at = daemon.cpu_s(), time.monotonic()
            time.sleep(watched_s)
            share = (daemon.cpu_s() - before_s) / (time.monotonic() - began_at)
            yield Row(f"memory after {JOBS} jobs, resident", daemon.rss_bytes() / 1e6, "MB", budget=MEMORY)
            yield Row(f"CPU over {watched_s:g} s", share * 100, "%", budget=CPU)
