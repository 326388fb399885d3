"""Every metric, declared once, and how they are written for Prometheus.

Labels come from closed sets: the jobs that are defined here, and words of ours. Never an id, a command or
what a message says. A series that can be known beforehand is there from the start, at zero: one that first
appears with its first failure has no increase() to alert on.
"""

import gzip
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    pushadd_to_gateway,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from observerd import __version__, clock
from observerd.aws import OUTCOMES
from observerd.core.events import GiveUpAnswer, Outcome, Report
from observerd.status import State, Status

# A message may name any job; only names that are defined here become label values.
UNKNOWN_JOB = "_unknown"

_DURATIONS = (1, 5, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200)
_DELAYS = (5, 15, 30, 60, 90, 120, 180, 300, 600, 900, 1_800, 3_600)
_RECEIVES = (1, 2, 3, 5, 10)
_REQUESTS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 21)
"""Up to a long poll and its journey."""

# As shells count what a signal ended.
SIGNALLED = 128

# What may ask a worker to leave. The rest is "other".
STOP_REASONS = ("signal", "drain", "spot", "terminated", "other")

_NEVER = re.compile(r"q=0(\.0{0,3})?")

# Whom a worker tells of its runs itself, and how that may go.
NOTICE_KINDS = ("notice", "ping")
NOTICE_RESULTS = ("sent", "failed", "dropped")

# The calls that every worker makes; those of its last minute are there when they are made.
_CALLS = (
    ("sqs", "ReceiveMessage"),
    ("sqs", "ChangeMessageVisibilityBatch"),
    ("sqs", "ChangeMessageVisibility"),
    ("sqs", "DeleteMessage"),
    ("sqs", "DeleteMessageBatch"),
    ("sqs", "SendMessage"),
    ("cloudwatch-logs", "PutLogEvents"),
    ("auto-scaling", "TerminateInstanceInAutoScalingGroup"),
)


class Metrics:
    """All of observerd's series, in a registry of their own."""

    def __init__(self, job_names: Iterable[str], slots: int) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._jobs = frozenset(job_names)
        self._is_stopping = False
        self._declare_process()
        self._declare_runs()
        self._declare_queue()
        self._declare_instance()
        self._declare_aws()
        self.slots.set(slots)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    # ---- what there is

    def _declare_process(self) -> None:
        build = self._gauge("build_info", "What is running.", "version", "python")
        build.labels(__version__, platform.python_version()).set(1)
        self._works_on = self._gauge("config_info", "What it works on.", "queue", "region", "executor")
        self.reloaded_well = self._gauge(
            "config_last_reload_successful", "1 if the last load of the configuration worked, 0 if not."
        )
        self.reloaded_at = self._gauge(
            "config_last_reload_success_timestamp_seconds", "When the configuration was last loaded."
        )
        self.slots = self._gauge("job_slots", "How many runs there is room for.")
        self.busy = self._gauge("job_slots_busy", "How many runs there are.")

    def _declare_runs(self) -> None:
        self.runs = self._counter("job_runs", "Deliveries that ended, by outcome.", "job_name", "outcome")
        self.running = self._gauge("job_running", "Runs in progress.", "job_name")
        self.duration = self._histogram("job_duration_seconds", "Wall time of a run.", _DURATIONS, "job_name")
        self.start_delay = self._histogram(
            "job_start_delay_seconds", "From the scheduled time to the delivery.", _DELAYS, "job_name"
        )
        self.last_run_at = self._gauge(
            "job_last_run_timestamp_seconds", "When a run last ended here.", "job_name"
        )
        self.last_success_at = self._gauge(
            "job_last_success_timestamp_seconds", "When a run last succeeded here.", "job_name"
        )
        self.last_duration = self._gauge(
            "job_last_duration_seconds", "Wall time of the last run.", "job_name"
        )
        self.last_exit_code = self._gauge(
            "job_last_exit_code", "Of the last run that ended by exiting; 128 + n where signal n ended it.",
            "job_name",
        )  # fmt: skip
        self.cpu = self._counter("job_cpu_seconds", "CPU time of the job's processes.", "job_name")
        self.max_rss = self._gauge(
            "job_max_rss_bytes", "The most memory that the last run's largest process held.", "job_name"
        )
        self.output_lines = self._counter(
            "job_output_lines",
            "Lines of output: sent to CloudWatch Logs, written to the journal in its place, or dropped.",
            "job_name",
            "result",
        )
        self.notices = self._counter(
            "notices",
            "Notices to the topic, and pings to monitors, by what became of them.",
            "kind",
            "result",
        )
        self.log_buffer = self._gauge("log_buffer_bytes", "Output that waits to be sent to CloudWatch Logs.")
        self.logs_down = self._gauge("log_delivery_down", "1 while CloudWatch Logs does not take output.")

    def _declare_queue(self) -> None:
        self.receives = self._counter("sqs_receives", "ReceiveMessage calls, by result.", "result")
        self.messages = self._counter("sqs_messages", "Messages, by what became of them.", "result")
        self.receive_counts = self._histogram(
            "sqs_message_receives", "How often a message had been received when it came here.", _RECEIVES
        )
        self.extensions = self._counter("visibility_extensions", "Lease extensions, by result.", "result")

    def _declare_instance(self) -> None:
        self.stops = self._counter("stops", "Requests to drain and leave, by reason.", "reason")
        self.stop_at = self._gauge(
            "stop_requested_timestamp_seconds", "When it was first asked to drain; 0 if it was not."
        )
        self.give_ups = self._counter(
            "give_ups", "Attempts to give this instance up when idle, by answer.", "answer"
        )
        self.protected = self._gauge(
            "instance_protected", "1 while its group may not scale this instance in, 0 while it may."
        )
        self.holds = self._counter(
            "lifecycle_heartbeats", "Extensions of the lifecycle hook, by result.", "result"
        )

    def _declare_aws(self) -> None:
        labels = ("service", "operation")
        self.requests = self._counter(
            "aws_requests", "Requests to AWS, retries included, by outcome.", *labels, "outcome"
        )
        self.request_duration = self._histogram(
            "aws_request_duration_seconds", "From a request to AWS to its answer.", _REQUESTS, *labels
        )

    def start_at_zero(self) -> None:
        """Have every series that can be known beforehand. 15 ms for a hundred jobs, so not on the way to the
        first run; from any thread."""
        for name in (*self._jobs, UNKNOWN_JOB):
            for metric in (self.running, self.duration, self.start_delay, self.cpu):
                metric.labels(name)
            _each(self.runs, (outcome.value for outcome in Outcome), name)
            _each(self.output_lines, ("sent", "journal", "dropped"), name)
        for kind in NOTICE_KINDS:
            _each(self.notices, NOTICE_RESULTS, kind)
        _each(self.receives, ("message", "empty", "error"))
        _each(self.messages, ("deleted", "released", "dead_lettered", "left"))
        _each(self.extensions, ("ok", "error", "refused"))
        _each(self.holds, ("ok", "error"))
        _each(self.give_ups, (answer.value for answer in GiveUpAnswer))
        _each(self.stops, STOP_REASONS)
        for call in _CALLS:
            _each(self.requests, OUTCOMES, *call)

    # ---- what is told

    def know(self, job_names: Iterable[str]) -> None:
        """Other jobs are defined now: their names are label values from here on."""
        self._jobs = frozenset(job_names)
        self.start_at_zero()

    def job(self, name: str | None) -> str:
        """The label value for a job's name, which a stranger may have chosen."""
        return name if name in self._jobs else UNKNOWN_JOB

    def ended(self, job: str, outcome: Outcome, report: Report) -> None:
        """A delivery's life here has ended. job is a label value, as job() gives it."""
        now = time.time()
        self.runs.labels(job, outcome.value).inc()
        if outcome is Outcome.SUCCEEDED:
            self.last_success_at.labels(job).set(now)
        if report.duration_s is None:
            return  # It never became a run.
        self.last_run_at.labels(job).set(now)
        self.duration.labels(job).observe(report.duration_s)
        self.last_duration.labels(job).set(report.duration_s)
        self._count_resources(job, report)

    def _count_resources(self, job: str, report: Report) -> None:
        exit_code = report.exit_code if report.signal is None else SIGNALLED + report.signal
        if exit_code is not None:
            self.last_exit_code.labels(job).set(exit_code)
        self.cpu.labels(job).inc(report.cpu_s or 0.0)
        if report.max_rss_bytes is not None:
            self.max_rss.labels(job).set(report.max_rss_bytes)
        if report.lines:
            self._count_lines(job, report)

    def _count_lines(self, job: str, report: Report) -> None:
        sent = report.lines - report.lines_to_journal - report.lines_dropped
        self.output_lines.labels(job, "sent").inc(sent)
        self.output_lines.labels(job, "journal").inc(report.lines_to_journal)
        self.output_lines.labels(job, "dropped").inc(report.lines_dropped)

    def stop_requested(self, reason: str) -> None:
        """Somebody wants it to drain and leave. reason is one of STOP_REASONS."""
        self.stops.labels(reason).inc()
        if not self._is_stopping:
            self._is_stopping = True
            self.stop_at.set(time.time())

    def loaded(self, *, well: bool) -> None:
        """A load of the configuration, the first or a later one, has worked or has not."""
        self.reloaded_well.set(well)
        if well:
            self.reloaded_at.set(time.time())

    def noticed(self, kind: str, result: str) -> None:
        """A notice was sent, or was not. From any thread."""
        self.notices.labels(kind, result).inc()

    def work_on(self, queue: str, region: str, executor: str) -> None:
        self._works_on.clear()
        self._works_on.labels(queue, region, executor).set(1)

    def watch_logs(self, buffered_bytes: Callable[[], float], is_down: Callable[[], float]) -> None:
        """Ask at every scrape."""
        self.log_buffer.set_function(buffered_bytes)
        self.logs_down.set_function(is_down)

    def aws_answered(self, service: str, operation: str, outcome: str, took_s: float) -> None:
        """One request to AWS has come back. From any thread."""
        self.requests.labels(service, operation, outcome).inc()
        self.request_duration.labels(service, operation).observe(took_s)

    def show(self, status: Callable[[], Status]) -> None:
        """Ask at every scrape what the daemon is doing."""
        self.registry.register(_Shown(status))

    # ---- how it is written

    def written(self, accept: str, accept_encoding: str) -> tuple[bytes, dict[str, str]]:
        """The page and its headers, in the format and encoding that the Accept headers ask for."""
        encode, content_type = choose_encoder(accept)
        page = encode(self.registry)
        if _takes_gzip(accept_encoding):
            # The least effort: it is made for every scrape, beside the jobs.
            return gzip.compress(page, 1), {"Content-Type": content_type, "Content-Encoding": "gzip"}
        return page, {"Content-Type": content_type}

    # ---- what outlives it

    def write_files(self, directory: Path) -> None:
        """Leave what is lasting for node_exporter's textfile collector. Raises OSError."""
        for kind, job, page in self._lasting():
            _replace(directory / f"observerd-{kind}-{job}.prom", generate_latest(page))

    def push(self, url: str, stack: str | None, timeout_s: float) -> None:
        """Leave what is lasting with a push gateway. timeout_s is for each of its answers. Raises OSError."""
        for _, job, page in self._lasting():
            # POST: what an earlier life told and this one cannot, stays. Each job is a group of its own, so
            # that a life with other jobs takes nothing away.
            group = {"job_name": job, **({"stack": stack} if stack else {})}
            pushadd_to_gateway(url, "observerd", page, group, timeout_s)

    def _lasting(self) -> Iterator[tuple[str, str, CollectorRegistry]]:
        """What stays true when the process is gone: of each job that ended here its last run, and its last
        success. Counters would be taken for those of a process that is there."""
        last = (self.last_run_at, self.last_duration, self.last_exit_code, self.max_rss)
        for kind, gauges in (("run", last), ("success", (self.last_success_at,))):
            for job in _job_names(gauges[0]):
                page = CollectorRegistry()
                page.register(_OfJob(gauges, job))
                yield kind, job, page

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"observerd_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"observerd_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"observerd_{name}", text, labels, registry=self.registry, buckets=buckets)


def _replace(path: Path, content: bytes) -> None:
    """Write it at once and for everybody to read. The directory may be the exporter's: no name in it is
    trusted, lest root writes, or opens to everybody, what a link leads to."""
    file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=".observerd-", delete=False)  # noqa: SIM115 renamed
    try:
        with file:
            file.write(content)
            # Our umask is not the exporter's business.
            os.fchmod(file.fileno(), 0o644)
        Path(file.name).replace(path)
    except OSError:
        Path(file.name).unlink(missing_ok=True)
        raise


def _takes_gzip(accept_encoding: str) -> bool:
    """As RFC 9110 (12.5.3) has it; prometheus_client's own does not hear "gzip;q=0"."""
    for each in accept_encoding.lower().split(","):
        name, *parameters = (part.strip() for part in each.split(";"))
        if name == "gzip":
            return not any(_NEVER.fullmatch(parameter) for parameter in parameters)
    return False


def _each(metric: Counter, values: Iterable[str], *labels: str) -> None:
    for value in values:
        metric.labels(*labels, value)


def _job_names(gauge: Gauge) -> list[str]:
    return [sample.labels["job_name"] for family in gauge.collect() for sample in family.samples]


class _OfJob(Collector):
    """The series of one job alone."""

    def __init__(self, gauges: Iterable[Gauge], job: str) -> None:
        self._gauges = gauges
        self._job = job

    def collect(self) -> Iterator[Metric]:
        for family in (family for gauge in self._gauges for family in gauge.collect()):
            family.samples = [each for each in family.samples if each.labels["job_name"] == self._job]
            yield family


class _Shown(Collector):
    """What the main thread has published of itself."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return (
            _family("state", "1 for what the daemon is doing, 0 for everything else.", "state"),
            _family("ready", "1 while messages are taken."),
            _family("healthy", "1 while the main thread and its poll get on."),
            _family("last_receive_timestamp_seconds", "When SQS last answered a receive; absent before."),
            _family(
                "idle_since_timestamp_seconds",
                "Since when there is nothing to do; absent while there is, or its run is to be retried.",
            ),
            _family("idle_timeout_seconds", "Idle for so long, it leaves; absent where it never does."),
            _family(
                "visibility_margin_seconds",
                "Time until SQS would show the first of the messages held here to others; absent while none"
                " is held.",
            ),
        )

    def collect(self) -> Iterator[GaugeMetricFamily]:
        status, now = self._status(), clock.now()
        wall_offset_s = time.time() - now
        state, *others = self.describe()
        for each in State:
            state.add_metric([each.value], status.state is each)
        yield state
        values = (
            status.is_ready,
            status.is_healthy(now),
            _shifted(status.received_at, wall_offset_s),
            _shifted(status.idle_since, wall_offset_s),
            status.idle_timeout_s,
            _shifted(status.lease_until, -now),
        )
        for family, value in zip(others, values, strict=True):
            if value is not None:
                family.add_metric([], value)
            yield family


def _family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"observerd_{name}", text, labels=labels)


def _shifted(moment: float | None, by_s: float) -> float | None:
    return None if moment is None else moment + by_s
