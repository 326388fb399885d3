"""Who is told what of a run, and that no run waits for it."""

import logging
import socket
import threading
import time
from collections import Counter
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from observerd import herald as heralds
from observerd.console import log_stream_url
from observerd.core.events import Began, Finished, Message, Outcome, Received, Report
from observerd.core.job import Job
from observerd.herald import Errands, Herald, Memory, Monitor, Topic
from observerd.notices import Ping, Scene, of_failure, of_recovery, ping_of_end, ping_of_start
from tests.daemon import Daemon
from tests.operations.cloud import JOBS, Cloud, refused
from tests.support import eventually

AT = 1_795_456_800.0  # 2026-11-23T18:00:00Z
URL = "https://hc-ping.com/0b2a"
MESSAGE = Message("m-1", "handle", "{}", receive_count=3, sent_at=AT)
SCENE = Scene("cron", "eu-west-1", "https://sqs.eu-west-1.amazonaws.com/1/cron-jobs.fifo", JOBS, "host/1")
REPORT = Report(
    "feed",
    "0123456789abcdef",
    AT,
    "feed/x",
    "exit code 3",
    exit_code=3,
    duration_s=10.0,
    last_lines="one\ntwo",
)
BEGAN = Began(MESSAGE, "feed", "0123456789abcdef", "feed/x", 40.0, AT)
WELL = replace(REPORT, reason=None, exit_code=0, settled="deleted")
SUCCEEDED = Finished(MESSAGE, Outcome.SUCCEEDED, deleted=True, report=WELL)
DEAD = Finished(
    MESSAGE, Outcome.FAILED, deleted=True, report=replace(REPORT, settled="dead-lettered, deleted")
)
AGAIN = Finished(MESSAGE, Outcome.FAILED, back_in_s=60, report=replace(REPORT, settled="back in 60 s"))
LATE = Report("feed", REPORT.run_id, AT, reason="30000 s after its scheduled time", settled="deleted")
MISSED = Finished(MESSAGE, Outcome.MISSED, deleted=True, report=LATE)


class Told:
    """A herald whose messengers write down what they are given."""

    def __init__(self, failed_before=False, publish=None):
        self.notices, self.pings, self.asked, self.counted = [], [], [], Counter()
        self.failed_before = failed_before
        jobs = {"feed": Job("feed", ("x",), ping_url=URL), "tidy": Job("tidy", ("x",))}
        publish = publish or self.notices.append
        self.herald = Herald(jobs, SCENE, publish, self.pings.append, self.has_failed, self.count)

    def count(self, kind, result):
        self.counted[kind, result] += 1

    def has_failed(self, job, message_id):
        self.asked.append((job, message_id))
        return self.failed_before

    def after(self, *events):
        for event in events:
            self.herald.event(event, 0.0)
        self.herald.close(30.0)
        return [notice.subject for notice in self.notices]


def test_a_final_failure_is_told_with_all_that_a_person_needs():
    notice = of_failure(DEAD, SCENE)

    assert "[cron] feed failed for good: exit code 3" == notice.subject
    assert notice.text.splitlines() == [
        "feed failed for good.",
        "",
        "outcome:   failed",
        "reason:    exit code 3",
        "exit code: 3",
        "attempt:   3",
        "scheduled: 2026-11-23T18:00:00Z",
        "took:      10.0 s",
        "run:       0123456789abcdef",
        "worker:    host/1",
        f"log:       {log_stream_url('eu-west-1', JOBS, 'feed/x')}",
        "",
        "last lines:",
        "    one",
        "    two",
        "",
        "once the cause is mended:",
        "    observerd dlq retry 0123456789abcdef --stack cron --region eu-west-1",
    ]
    assert {"kind": "failure", "stack": "cron", "job": "feed", "outcome": "failed"} == notice.attributes


def test_a_missed_run_has_no_dead_letter_to_retry():
    text = of_failure(MISSED, SCENE).text

    assert ("dlq" in text, "observerd why 0123456789abcdef --stack cron" in text) == (False, True)
    assert "observerd send feed --stack cron --region eu-west-1" in text
    alone = of_failure(MISSED, replace(SCENE, stack=None)).text
    assert f"observerd send feed --queue-url {SCENE.queue_url}" in alone


def test_a_subject_is_what_sns_takes():
    hostile = replace(DEAD, report=replace(DEAD.report, reason="ü\n" * 100))
    subject = of_failure(hostile, SCENE).subject

    assert (100, True) == (len(subject), subject.isascii() and subject.isprintable())


def test_a_recovery_says_so():
    assert "[cron] feed has recovered" == of_recovery(SUCCEEDED, SCENE).subject


def test_only_what_is_final_is_told():
    assert [] == Told().after(Received((MESSAGE,)), BEGAN, AGAIN)
    assert ["[cron] feed failed for good: exit code 3"] == Told().after(DEAD)
    assert ["[cron] feed was missed: 30000 s after its scheduled time"] == Told().after(MISSED)


def test_the_first_success_after_a_failure_here_is_the_recovery():
    told = Told()

    assert ["[cron] feed failed for good: exit code 3", "[cron] feed has recovered"] == told.after(
        DEAD, SUCCEEDED, SUCCEEDED
    )
    assert [] == told.asked


def test_a_failure_on_another_worker_is_remembered_by_the_record():
    told = Told(failed_before=True)

    assert ["[cron] feed has recovered"] == told.after(SUCCEEDED, SUCCEEDED)
    assert [("feed", "m-1")] == told.asked


def test_a_success_like_the_one_before_is_no_news():
    assert [] == Told(failed_before=False).after(SUCCEEDED)


def test_a_monitor_hears_of_start_and_end_under_one_id():
    told = Told()
    told.after(BEGAN, SUCCEEDED)
    start, end = (urlsplit(ping.url) for ping in told.pings)

    assert ("/0b2a/start", "/0b2a") == (start.path, end.path)
    assert start.query == end.query
    assert "one\ntwo" == told.pings[1].body


@pytest.mark.parametrize(
    ("event", "path"),
    [(SUCCEEDED, "/0b2a"), (DEAD, "/0b2a/fail"), (MISSED, "/0b2a/fail"), (AGAIN, "/0b2a/log")],
)
def test_each_end_has_its_signal(event, path):
    assert path == urlsplit(ping_of_end(URL, event).url).path


def test_a_monitors_own_query_is_kept():
    url = urlsplit(ping_of_start("https://monitor/x/?create=1", BEGAN).url)

    assert ("/x/start", ["1"]) == (url.path, parse_qs(url.query)["create"])


def test_a_job_without_a_monitor_pings_nobody():
    told = Told()
    told.after(replace(BEGAN, job="tidy"), replace(SUCCEEDED, report=replace(REPORT, job="tidy")))

    assert [] == told.pings
    # And a success that is no recovery is no notice.
    assert {} == told.counted


def test_no_run_waits_for_a_topic_that_hangs(caplog):
    hanging = threading.Event()
    told = Told(publish=lambda _: hanging.wait(60))
    began_at = time.monotonic()
    for _ in range(10):
        told.herald.event(DEAD, 0.0)
    assert time.monotonic() - began_at < 30
    # The monitors are another thread's.
    eventually(lambda: len(told.pings) == 10)

    told.herald.close(0.0)
    assert "notices not sent in time" in caplog.text
    hanging.set()
    told.herald.close(30.0)


def test_a_monitor_that_hangs_keeps_no_other_waiting():
    hanging, told = threading.Event(), Told()
    jobs = {
        "feed": Job("feed", ("x",), ping_url=URL),
        "tidy": Job("tidy", ("x",), ping_url="https://b.example/1"),
    }
    ping = lambda it: hanging.wait(60) if it.url.startswith(URL) else told.pings.append(it)  # noqa: E731
    herald = Herald(jobs, SCENE, None, ping, told.has_failed)

    herald.event(BEGAN, 0.0)
    herald.event(replace(BEGAN, job="tidy"), 0.0)

    eventually(lambda: ["b.example"] == [urlsplit(it.url).netloc for it in told.pings])
    hanging.set()
    herald.close(30.0)


def test_a_topic_that_fails_costs_one_notice_and_says_so(caplog):
    failing = [refused("NotFound", "Topic does not exist")]

    def publish(notice):
        if failing:
            raise failing.pop()
        told.notices.append(notice)

    told = Told(publish=publish)
    assert ["[cron] feed failed for good: exit code 3"] == told.after(DEAD, DEAD)
    assert "Topic does not exist" in caplog.records[0].fault
    assert {("notice", "failed"): 1, ("notice", "sent"): 1, ("ping", "sent"): 2} == told.counted


def test_what_waits_is_bounded(caplog, monkeypatch):
    monkeypatch.setattr(heralds, "WAITING_AT_MOST", 2)
    lost = []
    hanging, errands = threading.Event(), Errands("test", lost.append)
    for _ in range(5):
        errands.add(lambda: hanging.wait(60))

    assert 3 == sum("notice dropped" in record.getMessage() for record in caplog.records)
    assert ["dropped"] * 3 == lost
    hanging.set()
    assert 0 == errands.finish(30.0)


def test_where_no_thread_is_to_be_had_an_errand_waits_for_the_next(monkeypatch):
    """The daemon serves on: it is the main thread that adds them."""
    done, start, refusals = [], threading.Thread.start, [RuntimeError("can't start new thread")]

    def start_later(thread):
        if refusals:
            raise refusals.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_later)
    errands = Errands("test")
    errands.add(lambda: done.append("first"))
    errands.add(lambda: done.append("second"))

    assert (0, ["first", "second"]) == (errands.finish(30.0), done)


def test_a_topic_gets_text_and_attributes():
    calls = []

    class Client:
        def publish(self, **request):
            calls.append(request)

    Topic(Client, "arn:x").publish(of_failure(DEAD, SCENE))
    [request] = calls

    assert ("arn:x", {"DataType": "String", "StringValue": "feed"}) == (
        request["TopicArn"],
        request["MessageAttributes"]["job"],
    )


PUBLISHED = b"<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>"


class Hooks:
    """A monitor, or SNS, that answers what it is told to."""

    def __init__(self, *statuses):
        self.seen, self.statuses = [], list(statuses)
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hooks.seen.append((self.path, body))
                self.send_response(hooks.statuses.pop(0) if hooks.statuses else 200)
                self.send_header("Content-Length", str(len(PUBLISHED)))
                self.end_headers()
                self.wfile.write(PUBLISHED)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/x"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hooks():
    made = Hooks()
    yield made
    made.close()


def test_a_ping_is_a_post_with_the_end_of_the_output(hooks):
    Monitor().ping(Ping(f"{hooks.url}/fail?rid=1", "x" * 20_000 + "the end"))
    [(path, body)] = hooks.seen

    assert ("/x/fail?rid=1", 10_000, True) == (path, len(body), body.endswith(b"the end"))


def test_a_monitor_that_is_out_of_order_is_tried_again(hooks):
    hooks.statuses = [503]
    Monitor().ping(Ping(hooks.url, ""))

    assert 2 == len(hooks.seen)


def test_a_monitor_that_refuses_is_a_fault(hooks):
    hooks.statuses = [404]

    with pytest.raises(OSError, match="answers 404"):
        Monitor().ping(Ping(hooks.url, ""))
    assert 1 == len(hooks.seen)


@pytest.mark.parametrize("status", [404, 503, None])
def test_no_log_line_has_a_monitors_address(status, hooks, caplog, monkeypatch):
    """It is a password: who knows it can report a success."""
    monkeypatch.setattr(heralds, "PING_RETRIES", heralds.PING_RETRIES.new(backoff_factor=0))
    hooks.statuses = [status] * 20
    if status is None:
        hooks.close()
    errands = Errands("pings")
    errands.add(lambda: Monitor().ping(Ping(f"{hooks.url}/0b2a", "")))

    assert 0 == errands.finish(30)
    [line] = [str(vars(record)) for record in caplog.records if record.message == "notice not sent"]
    assert ("127.0.0.1" in line, "0b2a" in line) == (True, False)


def test_a_worker_that_leaves_at_once_has_told_everybody(hooks, sqs, tmp_path):
    sqs.queues["jobs"].redrive = "dead"
    sqs.send_job("feed", scheduled_time="2026-11-23T18:00:00Z")
    url = hooks.url
    jobs = f'[job.feed]\nshell = "echo no such customer; exit 64"\nping_url = "{url}"\n'
    settings = {"notify_topic": "arn:aws:sns:us-east-1:123456789012:alerts", "stack": "cron"}
    environ = {"AWS_ENDPOINT_URL_SNS": url}
    with Daemon(sqs, tmp_path, jobs, ["--once"], environ, **settings) as daemon:
        assert 0 == daemon.status()

    pings = [path.split("?")[0] for path, body in hooks.seen if b"Action=Publish" not in body]
    [notice] = [parse_qs(body.decode()) for _, body in hooks.seen if b"Action=Publish" in body]
    assert ["/x/start", "/x/fail"] == pings
    assert ["[cron] feed failed for good: exit code 64"] == notice["Subject"]
    assert "    no such customer" in notice["Message"][0]


@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
def test_nobody_to_tell_costs_a_run_nothing(hangs, sqs, tmp_path):
    """Monitor and topic refuse the connection, or take it and never say a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if hangs else 1
        sqs.send_job("feed")
        jobs = f'[job.feed]\nshell = "exit 0"\nping_url = "http://127.0.0.1:{port}/x"\n'
        settings = {"notify_topic": "arn:aws:sns:us-east-1:123456789012:alerts", "flush_timeout": "1s"}
        environ = {"AWS_ENDPOINT_URL_SNS": f"http://127.0.0.1:{port}"}
        with Daemon(sqs, tmp_path, jobs, ["--once"], environ, **settings) as it:
            assert 0 == it.status()

    assert [] == sqs.bodies()
    assert "succeeded" == it.said("run ended")[0]["outcome"]


@pytest.fixture
def cloud():
    return Cloud()


def remembered(cloud, message_id="m-9"):
    return Memory(lambda: cloud.logs, JOBS, lambda: AT + 1_000).has_failed("feed", message_id)


def test_the_record_tells_of_a_final_failure(cloud):
    run = cloud.sent()
    cloud.received(run)
    cloud.ended(run, AT + 70, "failed", "dead-lettered, deleted")

    assert remembered(cloud)
    assert not remembered(cloud, "m-1")


def test_the_last_end_counts(cloud):
    run = cloud.sent()
    cloud.ended(run, AT + 70, "failed", "dead-lettered, deleted")
    cloud.ended(run | {"message_id": "m-2"}, AT + 170)

    assert not remembered(cloud)


def test_a_failure_that_was_to_be_retried_is_none(cloud):
    cloud.ended(cloud.sent(), AT + 70, "failed", "back in 60 s", back_in_s=60)

    assert not remembered(cloud)


def test_a_missed_run_is_a_failure(cloud):
    cloud.ended(cloud.sent(), AT + 70, "missed")

    assert remembered(cloud)


@pytest.mark.parametrize("filters", [True, False])
def test_another_jobs_failure_is_its_own(filters, cloud):
    cloud.logs.filters = filters
    cloud.ended(cloud.sent(job="tidy"), AT + 70, "failed", "dead-lettered, deleted")

    assert not remembered(cloud)


def test_a_record_that_cannot_be_read_is_said(cloud, caplog):
    cloud.logs.fault = refused("AccessDeniedException", "no")

    assert not remembered(cloud)
    assert logging.WARNING == caplog.records[-1].levelno
