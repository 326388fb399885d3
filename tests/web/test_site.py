"""Which address answers what, and what the page and the JSON say."""

import base64
import dataclasses
import hashlib
import json
import re
import time
from email.message import Message
from pathlib import Path

import pytest

from observerd import clock
from observerd.core.consumer import Consumer, Limits, Phase
from observerd.core.events import (
    Began,
    Finished,
    GaveUp,
    GiveUpAnswer,
    Outcome,
    Received,
    ReceiveFailed,
    ReceiveFault,
    Report,
    Settling,
    StopRequested,
    TimeUp,
)
from observerd.core.events import Message as SqsMessage
from observerd.core.job import Job
from observerd.status import BARS_AT_MOST, RECENT_AT_MOST, Board, State
from observerd.web.page import duration_text, page
from observerd.web.report import report
from observerd.web.server import Request
from tests.web.scenes import ABOUT, HOSTILE, busy_night, failed, history, in_progress, past, site, status

DOCS = Path(__file__).parents[2] / "docs"


def ask(answers, target, method="GET", **headers):
    message = Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return answers.answer(Request(method, target, message))


def code(shown, target, **about):
    return int(ask(site(shown, **about)[0], target).status)


# ---- addresses


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/metrics?name[]=x", "text/plain; version=0.0.4; charset=utf-8"),
        ("/healthz", "text/plain; charset=utf-8"),
        ("/readyz", "text/plain; charset=utf-8"),
        ("/api/v1/status", "application/json"),
        ("http://127.0.0.1:9748/healthz", "text/plain; charset=utf-8"),
    ],
)
def test_each_address_answers_in_its_form(target, kind):
    answer = ask(site(status())[0], target)

    assert (200, kind) == (answer.status, answer.headers["Content-Type"])


@pytest.mark.parametrize("target", ["/nope", "/metrics/", "/../etc/passwd", "//[", "*", "/%00"])
def test_anything_else_is_not_found_and_says_what_there_is(target):
    answer = ask(site(status())[0], target)

    assert answer.status == 404
    assert b"/api/v1/status" in answer.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_only_reading_is_answered(method):
    answer = ask(site(status())[0], "/healthz", method)

    assert (405, "GET, HEAD") == (answer.status, answer.headers["Allow"])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost:9748", 200),
        ("127.0.0.1", 200),
        ("[::1]:9748", 200),
        ("10.0.1.17:9748", 200),
        ("Worker-1.example.com", 200),
        ("evil.example.com", 421),
        ("127.0.0.1.evil.example.com", 421),
        ("[", 421),
        ("", 421),
    ],
)
def test_a_name_that_was_made_to_lead_here_is_not_answered(host, expected):
    """DNS rebinding: a page elsewhere would read what is on loopback."""
    answers, _ = site(status(), hosts=["worker-1.example.com"])

    assert expected == ask(answers, "/", host=host).status


def test_of_two_names_both_must_be_known():
    message = Message()
    for host in ("localhost", "evil.example.com"):
        message["Host"] = host

    assert 421 == site(status())[0].answer(Request("GET", "/", message)).status


@pytest.mark.parametrize(
    ("state", "ready"),
    [(state, 200 if state in (State.RUNNING, State.IDLE) else 503) for state in State],
)
def test_ready_is_who_takes_messages(state, ready):
    answer = ask(site(status(state))[0], "/readyz")

    assert (ready, f"{state.value}\n".encode()) == (answer.status, answer.body)


def test_health_is_progress_and_not_mere_life():
    assert code(status(overdue_at=clock.now() + 60), "/healthz") == 200
    assert code(status(overdue_at=clock.now() - 1), "/healthz") == 503
    assert code(status(overdue_at=None), "/healthz") == 200


def test_the_page_runs_no_script_but_its_own():
    answer = ask(site(status())[0], "/")

    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    for tag in ("style", "script"):
        inside = re.findall(f"<{tag}>(.*?)</{tag}>".encode(), answer.body, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(each).digest()).decode() for each in inside]
        assert [f"{tag}-src 'sha256-{digest}'" for digest in digests] == [
            part for part in policy.split("; ") if part.startswith(tag)
        ]


# ---- the JSON


def test_the_json_is_documented_key_by_key():
    told = set(re.findall(r"^\| `([\w.\[\]]+)` \|", (DOCS / "monitoring.md").read_text(), re.MULTILINE))

    assert set(_paths(report(busy_night(), ABOUT, clock.now(), time.time()))) == told


@pytest.mark.parametrize("page", ["monitoring.md", "metrics.md"])
def test_every_state_is_documented(page):
    text = (DOCS / page).read_text()

    assert [] == [state.value for state in State if f"`{state.value}`" not in text]


def _paths(value, at=""):
    for key, inside in value.items():
        here = f"{at}.{key}" if at else key
        if isinstance(inside, dict):
            yield from _paths(inside, here)
        elif isinstance(inside, list):
            yield from _paths(inside[0], f"{here}[]")
        else:
            yield here


def test_the_json_tells_times_of_day_and_durations():
    now = clock.now()
    shown = status(running=(in_progress(since_s=0),), idle_since=now - 5, idle_timeout_s=60.0)
    shown = dataclasses.replace(shown, running=(dataclasses.replace(shown.running[0], began_at=now - 10),))

    told = report(shown, ABOUT, now, 1_000_000_000.0)

    assert ("2001-09-09T01:46:30Z", 10.0) == (
        told["running"][0]["started_at"],
        told["running"][0]["duration_s"],
    )
    assert {
        "since": "2001-09-09T01:46:35Z",
        "for_s": 5.0,
        "timeout_s": 60.0,
        "leaves_at": "2001-09-09T01:47:35Z",
    } == told["idle"]


@pytest.mark.parametrize(
    ("run", "later_s", "expected"),
    [
        (past(), 0, "waits for its schedule"),
        (past(settled="not deleted: refused"), 0, "not deleted: comes again"),
        (failed(), 10, "again in 50 s, attempt 2 of 3"),
        (failed(), 70, "back in the queue, attempt 2 of 3"),
        (failed(back_in_s=None, settled="dead-lettered"), 0, "in the dead-letter queue: a person must look"),
        (past(outcome=Outcome.MISSED), 0, "skipped: waits for its schedule"),
        (
            past(outcome=Outcome.LOST, settled="left alone"),
            0,
            "comes back when its visibility timeout is over",
        ),
    ],
)
def test_each_end_says_what_is_next(run, later_s, expected):
    told = report(status(recent=(run,)), ABOUT, run.ended_at + later_s, time.time())

    assert expected == told["recent"][0]["next"]


def test_output_is_shown_only_where_that_is_wanted():
    shown = status(recent=(failed(last_lines="secret"),))
    hidden = dataclasses.replace(ABOUT, shows_output=False)

    assert b"secret" in ask(site(shown)[0], "/").body
    for target in ("/", "/api/v1/status"):
        assert b"secret" not in ask(site(shown, hidden)[0], target).body


# ---- the page


def test_what_strangers_wrote_is_text():
    shown = status(
        fault=HOSTILE,
        running=(in_progress(HOSTILE, run_id=HOSTILE, log_stream=HOSTILE),),
        recent=(failed(HOSTILE, run_id=HOSTILE, reason=HOSTILE, last_lines=HOSTILE, log_stream=HOSTILE),),
        jobs={HOSTILE: Job(HOSTILE, ("x",), description=HOSTILE)},
        histories={},
    )
    html = ask(site(shown)[0], "/").body.decode()

    assert 1 == html.count("<script>")
    assert "<img" not in html
    assert html.count("&lt;script&gt;") >= 10


@pytest.mark.parametrize(("since_s", "is_slow"), [(60.0, False), (139.0, False), (145.0, True)])
def test_a_run_that_takes_much_longer_than_usual_is_marked(since_s, is_slow):
    shown = status(
        State.RUNNING,
        running=(in_progress("billing-run", since_s),),
        histories={"billing-run": history(past("billing-run", duration_s=40.0), 40.0, 40.0)},
    )
    html = ask(site(shown)[0], "/").body.decode()

    assert (is_slow, is_slow) == ('<li class="slow">' in html, "much longer than that" in html)
    assert "usually 40\u00a0s" in html


def test_a_worker_that_has_seen_nothing_has_a_page():
    html = ask(site(status(jobs={}))[0], "/").body.decode()

    for text in ("No job is running.", "No job is defined on this machine.", "No run has ended here yet."):
        assert text in html


def test_a_stuck_daemon_says_so():
    html = ask(site(status(overdue_at=clock.now() - 1))[0], "/").body.decode()

    assert '<p class="alarm">Stuck' in html


def test_a_log_is_a_link_to_the_console():
    html = page(report(status(recent=(past(),)), ABOUT, clock.now(), time.time()))

    assert 'href="https://ap-northeast-1.console.aws.amazon.com/cloudwatch/home' in html


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.99, "9.9 s"),
        (10, "10 s"),
        (59.9, "59 s"),
        (185, "3 min 05 s"),
        (7_800, "2 h 10 min"),
        (356_400, "4 d 3 h"),
    ],
)
def test_durations_are_told_as_people_do(seconds, text):
    assert text == duration_text(seconds)


# ---- what is published


MESSAGE = SqsMessage("m-1", "handle", "{}")
JOB = Job("feed", ("/bin/true",))


class Told:
    """A board beside a real consumer."""

    def __init__(self, **limits):
        self.consumer = Consumer(Limits(**{"slots": 2, **limits}), 0.0)
        self.board = Board({"feed": JOB}, self.consumer, 0.0)
        self.at = 0.0
        self.tell(TimeUp())

    def tell(self, event, overdue_at=None):
        self.at += 1.0
        self.consumer.on(event, self.at)
        self.board.note(event, self.at)
        self.board.show(self.consumer, self.at, overdue_at)
        return self.board.status

    def run(self, outcome=Outcome.SUCCEEDED, **report):
        self.tell(Received((MESSAGE,)))
        self.tell(Began(MESSAGE, "feed", "run", "stream", 0.5, 0.0))
        facts = {"job": "feed", "run_id": "run", "duration_s": 1.0, "settled": "deleted", **report}
        return self.tell(Finished(MESSAGE, outcome, deleted=True, report=Report(**facts)))


def test_before_the_first_answer_it_is_starting():
    assert State.STARTING is Told().board.status.state


def test_an_outage_is_told_with_its_reason_until_it_is_over():
    told = Told()
    told.tell(Received())
    failing = told.tell(ReceiveFailed(ReceiveFault.UNREACHABLE, "refused"))

    assert (State.WAITING, "refused") == (failing.state, failing.fault)
    told.tell(TimeUp())
    well = told.tell(Received())
    assert (State.IDLE, None) == (well.state, well.fault)


def test_after_a_run_it_is_idle_and_no_outage():
    """The poll that tells of what comes next may take its 20 s."""
    ended = Told().run()

    assert (State.IDLE, None, True) == (ended.state, ended.idle_since, ended.is_ready)


def test_who_waits_for_a_retry_of_its_own_is_not_idle_for_long():
    told = Told(idle_timeout_s=10.0)
    told.tell(Received((MESSAGE,)))
    told.tell(Began(MESSAGE, "feed", "run", "stream", 0.5, 0.0))
    told.tell(Finished(MESSAGE, Outcome.FAILED, back_in_s=100.0, report=Report(job="feed")))
    told.at += 50.0
    waiting = told.tell(Received())
    assert (State.IDLE, None) == (waiting.state, waiting.idle_since)

    told.at += 60.0
    assert 104.0 == told.tell(Received()).idle_since


def test_a_run_is_in_progress_from_its_begin_to_its_end():
    told = Told()
    told.tell(Received((MESSAGE,)))
    running = told.tell(Began(MESSAGE, "feed", "run", "stream", 0.5, 0.0))
    assert (State.RUNNING, ["feed"]) == (running.state, [run.job for run in running.running])
    assert running.lease_until is not None

    settling = told.tell(Settling(MESSAGE))
    assert (State.RUNNING, (), 1) == (settling.state, settling.running, settling.settling)

    ended = told.tell(Finished(MESSAGE, Outcome.SUCCEEDED, deleted=True, report=Report(job="feed")))
    assert ((), "feed", None) == (ended.running, ended.recent[0].job, ended.lease_until)
    assert 0 == ended.settling


def test_what_was_read_once_never_changes():
    told = Told()
    before = told.run()
    kept = (before.recent, dict(before.histories))
    told.run()

    assert kept == (before.recent, dict(before.histories))


def test_a_failure_keeps_its_last_lines_and_the_last_success():
    told = Told()
    good = told.run(last_lines="fine")
    bad = told.run(Outcome.FAILED, last_lines="oh no")

    assert ["oh no", ""] == [run.last_lines for run in bad.recent]
    assert good.recent[0].ended_at == bad.histories["feed"].succeeded_at


def test_a_stranger_has_no_history():
    assert {} == Told().run(Outcome.REJECTED, job="stranger").histories


def test_memory_is_bounded():
    told = Told()
    for _ in range(RECENT_AT_MOST + 1):
        last = told.run()

    assert (RECENT_AT_MOST, BARS_AT_MOST) == (len(last.recent), len(last.histories["feed"].bars))


def test_who_gives_the_instance_up_is_leaving():
    told = Told(gives_up=True, idle_timeout_s=0.0)
    told.tell(Received())

    assert State.LEAVING is told.tell(GaveUp(GiveUpAnswer.TERMINATING)).state


def test_a_stop_is_a_drain_and_then_a_stop():
    told = Told()
    told.tell(Received((MESSAGE,)))
    assert State.DRAINING is told.tell(StopRequested("SIGTERM")).state
    assert State.STOPPING is told.tell(StopRequested("SIGTERM")).state
    assert told.consumer.phase is Phase.TERMINATING


def test_the_json_is_json():
    told = json.loads(ask(site(busy_night())[0], "/api/v1/status").body)

    assert ("running", {"total": 4, "busy": 2, "settling": 0}) == (told["state"], told["slots"])
