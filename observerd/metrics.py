"""Every metric, declared once, and the place they are served from."""

import platform
from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)

from observerd import __version__
from observerd.core.events import Outcome

# A message may name any job; only names that are defined here become label values.
UNKNOWN_JOB = "_unknown"

_DURATIONS = (1, 5, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200)
_DELAYS = (5, 15, 30, 60, 90, 120, 180, 300, 600, 900, 1_800, 3_600)


class Metrics:
    """All of observerd's series, in a registry of their own."""

    def __init__(self, job_names: Iterable[str], slots: int) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._jobs = frozenset(job_names)
        self.build = self._gauge("build_info", "What is running.", "version", "python")
        self.build.labels(__version__, platform.python_version()).set(1)
        self.runs = self._counter("job_runs", "Deliveries that ended, by outcome.", "job_name", "outcome")
        self.running = self._gauge("job_running", "Runs in progress.", "job_name")
        self.duration = self._histogram("job_duration_seconds", "Wall time of a run.", _DURATIONS)
        self.start_delay = self._histogram(
            "job_start_delay_seconds", "From the scheduled time to the delivery.", _DELAYS
        )
        self.dropped_lines = self._counter(
            "job_output_dropped_lines", "Output lines not delivered to CloudWatch Logs.", "job_name"
        )
        self.slots = self._gauge("job_slots", "How many runs there is room for.")
        self.slots.set(slots)
        self.busy = self._gauge("job_slots_busy", "How many runs there are.")
        self.requests = self._counter("sqs_requests", "Requests to SQS, retries included.", "operation")
        self.receives = self._counter("sqs_receives", "ReceiveMessage calls, by result.", "result")
        self.messages = self._counter("sqs_messages", "Messages, by what became of them.", "result")
        self.extensions = self._counter("visibility_extensions", "Lease extensions, by result.", "result")
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._start_at_zero()

    def job(self, name: str | None) -> str:
        """The label value for a job's name, which a stranger may have chosen."""
        return name if name in self._jobs else UNKNOWN_JOB

    def serve(self, listen: str) -> int:
        """Answer GET /metrics on "host:port" from a thread of its own. The port. Raises OSError."""
        host, _, port = listen.rpartition(":")
        server, _ = start_http_server(int(port), host.strip("[]"), self.registry)
        return int(server.server_port)

    def _start_at_zero(self) -> None:
        # A series that first appears with its first failure has no increase() to alert on.
        for name in (*self._jobs, UNKNOWN_JOB):
            self.running.labels(name)
            self.dropped_lines.labels(name)
            for outcome in Outcome:
                self.runs.labels(name, outcome.value)
        for result in ("message", "empty", "error"):
            self.receives.labels(result)
        for result in ("deleted", "released", "dead_lettered", "left"):
            self.messages.labels(result)
        for result in ("ok", "error", "refused"):
            self.extensions.labels(result)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"observerd_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"observerd_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[int, ...]) -> Histogram:
        return Histogram(f"observerd_{name}", text, ("job_name",), registry=self.registry, buckets=buckets)
