"""What strangers write, as bytes, into what reads it. A target raises nothing but what is a defect.

tests/fuzz/test_fuzz.py has Hypothesis make the bytes, a bounded part each time the tests are run;
`python -m tests.fuzz NAME` has atheris find them by the branches that they take, for as long as one likes.
"""

import atexit
import io
import os
import shutil
import tempfile
from datetime import UTC, date, datetime
from functools import cache
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import urllib3
from botocore.awsrequest import AWSResponse

from observerd.aws import Clients
from observerd.config import BadConfig, load
from observerd.core.events import Attribute, Message, Outcome, Report
from observerd.core.evidence import ATTRIBUTES_AT_MOST, MESSAGE_BYTES, evidence, fitted
from observerd.core.job import Job
from observerd.core.lines import LINE_LIMIT_BYTES, TAIL_BYTES, Lines, Tail, output_lines
from observerd.core.run import Run, environment, plan
from observerd.metadata import Imds, NoMetadata, Watch
from observerd.schedules import cron, eventbridge, importing, reading, schedule
from observerd.schedules.conversion import CannotConvert, convert
from observerd.schedules.cron import BadCron
from observerd.schedules.eventbridge import BadExpression
from observerd.sqs import Queue, SqsFault
from observerd.web.server import Answer, _Parsed, _written
from observerd.web.server import Request as WebRequest
from tests.web.scenes import busy_night, site

NOW = datetime(2026, 11, 28, 18, tzinfo=UTC)
JOBS = {"feed": Job("feed", ("true",), max_lateness_s=3_600.0)}
URL = "http://127.0.0.1:1/000000000000/jobs"


def text_of(data):
    return data.decode("utf-8", "replace")


def message(data):
    """A body, and after a NUL the names and values of attributes, become a run or a refusal of one line."""
    body, *rest = text_of(data).split("\0", 6)
    pairs = zip(rest[::2], rest[1::2], strict=False)
    attributes = {name: Attribute("String", value) for name, value in pairs}
    received = Message("m-1", "handle", body, attributes, None, 1, NOW.timestamp(), NOW.timestamp())
    planned = plan(received, JOBS)
    if isinstance(planned, Run):
        told = environment(planned, {})
        assert not any("\0" in value for value in told.values())
        assert (told["OBSERVERD_JOB"], ":" in planned.log_stream) == ("feed", False)
        planned.request.payload.encode()
    else:
        assert planned.reason
        assert planned.reason.isprintable(), "one line, which acts on no terminal"
        report = Report(reason=planned.reason, job=planned.request and planned.request.job)
        sent = fitted(received, evidence(Outcome.REJECTED, received, report))
        assert len(sent) <= max(ATTRIBUTES_AT_MOST, len(attributes))
        assert len(body.encode()) > MESSAGE_BYTES or "ObserverdOutcome" in sent or len(attributes) >= 10


@cache
def _etc():
    base = Path(tempfile.mkdtemp(prefix="observerd-fuzz-"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    (base / "jobs.d").mkdir()
    return base


def config(data):
    """Files of settings and of jobs, apart by a NUL, become a configuration or faults of one line each."""
    settings, _, jobs = data.partition(b"\0")
    base = _etc()
    for file, content in ((base / "observerd.toml", settings), (base / "jobs.d" / "a.toml", jobs)):
        file.write_bytes(content)
        file.chmod(0o644)
    try:
        loaded = load(base / "observerd.toml", {}, {}, need_queue=False)
    except BadConfig as bad:
        assert bad.faults
        assert all(fault.isprintable() for fault in bad.faults)
    else:
        assert all(job.command and job.timeout_s > 0 for job in loaded.jobs.values())


def crontab(data):
    """A crontab becomes schedules and jobs that can be read again, and reasons of one line why not."""
    text = data.decode("utf-8", "surrogateescape")
    for system in (False, True):
        _, refused = reading.read_crontab(text, system=system)
        assert all(each.reason and "\n" not in each.reason for each in refused)
    try:
        line = cron.read_cron(text)
    except BadCron as fault:
        assert str(fault)
        return
    list(islice(cron.runs(line, ZoneInfo("Europe/Berlin"), NOW), 3))
    try:
        convert(line, "Europe/Berlin", like_cron=True, since=date(2026, 11, 28))
    except CannotConvert as fault:
        assert str(fault)


def expression(data):
    """An expression of EventBridge's, and what it comes to."""
    try:
        read = eventbridge.read_expression(text_of(data))
    except BadExpression as fault:
        assert str(fault)
    else:
        list(islice(eventbridge.runs(read, ZoneInfo("America/New_York"), NOW), 3))


def schedules(data):
    """schedules.toml becomes schedules, or faults of one line each."""
    file = _etc() / "schedules.toml"
    file.write_bytes(data)
    try:
        schedule.load(file)
    except BadConfig as bad:
        assert all(fault.isprintable() for fault in bad.faults)


@cache
def _site():
    return site(busy_night())[0]


def http(data):
    """A request's head becomes an answer whose own head is whole, and no more than four places long."""
    parsed = _Parsed(data)
    if parsed.refused is None:
        answer = _site().answer(WebRequest(parsed.command, parsed.path, parsed.headers))
    else:
        answer = Answer(parsed.refused, b"")
    head, _, body = _written(answer, has_body=True).partition(b"\r\n\r\n")
    status, *fields = head.split(b"\r\n")
    assert status.startswith(b"HTTP/1.1 ")
    assert int(status.split()[1]) in (200, 400, 404, 405, 414, 417, 421, 431, 501, 503, 505)
    assert all(field.partition(b": ")[1] for field in fields), "no field is slipped in"
    assert len(body) == len(answer.body)


class _Pool:
    """In the place of the network: every answer of the metadata service is the same."""

    def __init__(self, status, body):
        self._status, self._body = status, body

    def request(self, method, *_, **__):
        if method == "PUT":
            return urllib3.HTTPResponse(io.BytesIO(b"token"), status=200)
        return urllib3.HTTPResponse(io.BytesIO(self._body), status=self._status, preload_content=True)


def imds(data):
    """An answer of the metadata service, its status in front, is an answer or none, and ends no watch."""
    status = (200, 200, 200, 404, 401, 500)[data[0] % 6] if data else 200
    metadata = Imds({})
    metadata._imds._pool_manager = _Pool(status, data[1:])
    for ask in ("instance_id", "region", "group", "is_spot", "target_state", "spot_action", "rebalance"):
        try:
            getattr(metadata, ask)()
        except NoMetadata as fault:
            assert "\n" not in str(fault)
    Watch(metadata).look()


@cache
def _queue():
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    client = Clients(URL, "us-east-1").poller()
    now = SimpleNamespace(answer=None)
    client.meta.events.register("before-send.sqs", lambda **_: now.answer)
    return Queue(URL, 120.0, client), now


def sqs(data):
    """SQS's answer to a receive: a status, a date and a body become messages, or a fault of one line."""
    status = (200, 200, 200, 400, 403, 500)[data[0] % 6] if data else 200
    moment, _, body = data[1:].partition(b"\0")
    headers = {"Date": moment.decode("latin-1"), "Content-Type": "application/x-amz-json-1.0"}
    queue, now = _queue()
    now.answer = AWSResponse(URL, status, headers, _Raw(body))
    try:
        messages = queue.receive(10, 20)
    except SqsFault as fault:
        assert str(fault)
    else:
        for each in messages:
            plan(each, JOBS)


class _Raw(io.BytesIO):
    def stream(self, *_, **__):
        yield self.getvalue()


def output(data):
    """What a job prints, in chunks that end where a NUL is, becomes events that CloudWatch takes."""
    lines, tail, blocks = Lines(), Tail(), []
    for chunk in data.split(b"\0\0"):
        tail.take(chunk)
        blocks += lines.take(chunk)
    events = [event for block in [*blocks, *lines.end()] for event in output_lines(block)]
    assert all(event and len(event.encode()) <= LINE_LIMIT_BYTES for event in events)
    assert not any(set(event) & {"\x1b", "\x9b", "\n", "\r", "\x00"} for event in events)
    assert len(tail.text().encode()) <= TAIL_BYTES


def imported(data):
    """What a crontab is turned into is read again without a fault."""
    base = _etc()
    settings = importing.Settings(
        system=False,
        user="batch",
        timezone="Europe/Berlin",
        like_cron=True,
        home_of=lambda user: f"/home/{user}",
        now=NOW,
    )
    text = data.decode("utf-8", "surrogateescape")
    found = importing.import_crontab("crontab", text, settings, {})
    tables = "".join(text for _, text in found.job_files())
    (base / "observerd.toml").write_bytes(b"")
    (base / "jobs.d" / "a.toml").write_text(tables)
    (base / "schedules.toml").write_text(schedule.written(importing.schedules_of([found]), "# x"))
    assert len(load(base / "observerd.toml", {}, {}, need_queue=False).jobs) == len(found.lines)
    assert len(schedule.load(base / "schedules.toml").entries) == len(found.lines)


TARGETS = {
    each.__name__: each
    for each in (message, config, crontab, expression, schedules, http, imds, sqs, output, imported)
}
