"""The Prometheus series: what there is, how it is written, and that docs/metrics.md tells of all of it.

Run as a program, this writes the table of docs/metrics.md.
"""

import gzip
import subprocess
import time
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed_openmetrics

from observerd import clock
from observerd.aws import Clients
from observerd.core.events import Outcome, Report
from observerd.metrics import UNKNOWN_JOB, Metrics
from observerd.sqs import Queue, SqsFault
from observerd.status import State, Status

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


@pytest.fixture
def metrics():
    return shown_metrics()


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(f"observerd_{name}", labels)


def written(metrics):
    return metrics.written("", "")[0].decode()


def ended(outcome=Outcome.SUCCEEDED, **facts):
    return "feed", outcome, Report(job="feed", duration_s=2.0, **facts)


# ---- what there is


def test_every_known_series_is_there_from_the_start(metrics):
    for outcome in Outcome:
        assert 0 == value(metrics, "job_runs_total", job_name="feed", outcome=outcome.value)
        assert 0 == value(metrics, "job_runs_total", job_name=UNKNOWN_JOB, outcome=outcome.value)
    assert 0 == value(metrics, "job_duration_seconds_count", job_name="feed")
    labels = {"service": "sqs", "operation": "ReceiveMessage", "outcome": "throttled"}
    assert 0 == value(metrics, "aws_requests_total", **labels)


def test_the_process_and_its_python_are_told_too(metrics):
    page = metrics.written("", "")[0].decode()

    for name in ("process_resident_memory_bytes", "python_info", "python_gc_collections_total"):
        assert f"\n{name}" in page


def test_a_job_that_never_ran_has_no_last_run(metrics):
    """Zero would be 1970, and every alert on age would ring."""
    assert value(metrics, "job_last_success_timestamp_seconds", job_name="feed") is None


def test_a_strangers_name_is_no_label(metrics):
    assert UNKNOWN_JOB == metrics.job("stranger") == metrics.job(None)


def test_jobs_of_a_later_configuration_are_known_by_name(metrics):
    metrics.know(["feed", "later"])

    assert "later" == metrics.job("later")
    assert 0 == value(metrics, "job_running", job_name="later")


def test_a_failure_moves_the_last_run_and_not_the_last_success(metrics):
    metrics.ended(*ended(exit_code=0))
    before = value(metrics, "job_last_success_timestamp_seconds", job_name="feed")
    metrics.ended(*ended(Outcome.FAILED, exit_code=3))

    assert before == value(metrics, "job_last_success_timestamp_seconds", job_name="feed")
    assert before < value(metrics, "job_last_run_timestamp_seconds", job_name="feed")
    assert 3 == value(metrics, "job_last_exit_code", job_name="feed")


def test_a_signal_is_told_as_shells_do(metrics):
    metrics.ended(*ended(Outcome.OUT_OF_MEMORY, signal=9))

    assert 137 == value(metrics, "job_last_exit_code", job_name="feed")


def test_each_line_of_output_is_counted_for_where_it_went(metrics):
    metrics.ended(*ended(lines=10, lines_to_journal=3, lines_dropped=2))

    counted = [value(metrics, "job_output_lines_total", job_name="feed", result=where)
               for where in ("sent", "journal", "dropped")]  # fmt: skip
    assert [5, 3, 2] == counted


def test_only_the_first_request_to_stop_dates_the_drain(metrics):
    metrics.stop_requested("signal")
    first = value(metrics, "stop_requested_timestamp_seconds")
    metrics.stop_requested("other")

    assert first == value(metrics, "stop_requested_timestamp_seconds") > 0
    assert (
        1 == value(metrics, "stops_total", reason="signal") == value(metrics, "stops_total", reason="other")
    )


def test_a_failed_reload_keeps_the_time_of_the_last_good_one(metrics):
    metrics.loaded(well=True)
    at = value(metrics, "config_last_reload_success_timestamp_seconds")
    metrics.loaded(well=False)

    assert 0 == value(metrics, "config_last_reload_successful")
    assert at == value(metrics, "config_last_reload_success_timestamp_seconds") > 0


def test_exactly_one_state_is_true(metrics):
    told = {state: value(metrics, "state", state=state.value) for state in State}

    assert {state: float(state is State.IDLE) for state in State} == told


def test_what_is_not_so_is_absent_and_not_zero(metrics):
    assert value(metrics, "visibility_margin_seconds") is None
    assert value(metrics, "last_receive_timestamp_seconds") is None


def test_moments_are_told_in_unix_time(metrics):
    assert time.time() - 5 == pytest.approx(value(metrics, "idle_since_timestamp_seconds"), abs=60)


# ---- calls to AWS


class Heard:
    def __init__(self):
        self.sent_calls, self.answers = [], []

    def sent(self, *call):
        self.sent_calls.append(call)

    def answered(self, service, operation, outcome, took_s):
        self.answers.append((service, operation, outcome))
        assert took_s > 0


def received(sqs, heard):
    clients = Clients(sqs.url(), "us-east-1", heard)
    queue = Queue(sqs.url(), 120.0, clients.poller(), None)
    try:
        queue.receive(1, 0)
    except SqsFault:
        return heard.answers
    return heard.answers


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (None, "ok"),
        ({"kind": "error", "code": "ThrottlingException", "status": 400}, "throttled"),
        ({"kind": "error", "code": "AccessDeniedException", "status": 403}, "denied"),
        ({"kind": "error", "code": "AWS.SimpleQueueService.NonExistentQueue", "status": 400}, "refused"),
        ({"kind": "error", "code": "ServiceUnavailable", "status": 503}, "server_error"),
        ({"kind": "reset"}, "unreachable"),
    ],
)
def test_every_call_to_aws_is_timed_with_its_outcome(fault, outcome, sqs):
    if fault:
        sqs.fail("*", **fault)

    assert [("sqs", "ReceiveMessage", outcome)] == received(sqs, Heard())


def test_a_call_is_told_of_before_it_is_answered(sqs):
    heard = Heard()
    received(sqs, heard)

    assert [("sqs", "ReceiveMessage")] == heard.sent_calls


# ---- how it is written


def test_it_is_written_as_the_asker_reads(metrics):
    plain, headers = metrics.written("", "")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"# EOF" not in plain

    open_metrics, headers = metrics.written(OPENMETRICS, "gzip")
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert "gzip" == headers["Content-Encoding"]
    families = list(parsed_openmetrics(gzip.decompress(open_metrics).decode()))
    assert "observerd_job_runs" in {family.name for family in families}


@pytest.mark.parametrize(
    ("accept_encoding", "takes"),
    [
        ("gzip", True), ("br, GZIP;q=0.5", True), ("gzip;q=1.0", True), ("gzip;q=0.001", True), ("", False),
        ("gzip;q=0", False), ("br, gzip; q=0.000", False), ("identity", False), (";q=,", False),
    ],
)  # fmt: skip
def test_it_is_compressed_for_those_who_take_that(accept_encoding, takes, metrics):
    assert takes == ("Content-Encoding" in metrics.written("", accept_encoding)[1])


def test_promtools_linter_finds_nothing(metrics):
    metrics.ended(*ended(exit_code=0, max_rss_bytes=1))
    metrics.aws_answered("sqs", "ReceiveMessage", "ok", 0.1)
    metrics.work_on("jobs", "us-east-1", "direct")

    answer = subprocess.run(
        ("promtool", "check", "metrics"), input=written(metrics), text=True, capture_output=True, check=False
    )

    # What the standard collectors call theirs is theirs.
    ours = [line for line in (answer.stdout + answer.stderr).splitlines() if "observerd" in line]
    assert [] == ours
    assert answer.returncode == 0, answer.stderr


def test_promtools_linter_is_heard():
    bad = "# HELP observerd_x_total X\n# TYPE observerd_x_total gauge\nobserverd_x_total 1\n"
    answer = subprocess.run(
        ("promtool", "check", "metrics"), input=bad, text=True, capture_output=True, check=False
    )

    assert answer.returncode != 0


def test_the_page_of_metrics_tells_of_each(metrics):
    assert PAGE.read_text() == with_table(PAGE.read_text(), metrics), "run: python -m tests.test_metrics"


def with_table(page, metrics):
    head, _, rest = page.partition("| Metric |")
    rows = ["| Metric | Type | Labels | What it tells |", "| --- | --- | --- | --- |", *_rows(metrics), ""]
    return head + "\n".join(rows) + rest[rest.index("<!-- end of the table -->") :]


def _rows(metrics):
    """A row for each series of ours in the registry; whatever registered it."""
    for collector in metrics.registry._collector_to_names:
        for family in getattr(collector, "describe", collector.collect)():
            if family.name.startswith("observerd_"):
                name = family.name + ("_total" if family.type == "counter" else "")
                labels = getattr(collector, "_labelnames", None) or getattr(family, "_labelnames", ())
                shown = ", ".join(f"`{label}`" for label in labels)
                yield f"| `{name}` | {family.type} | {shown} | {family.documentation} |"


def shown_metrics():
    made = Metrics(["feed"], 2)
    made.show(lambda: Status(clock.now(), State.IDLE, idle_since=clock.now() - 5))
    made.start_at_zero()
    return made


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(), shown_metrics()))
