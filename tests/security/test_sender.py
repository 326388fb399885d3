"""Somebody who may only send messages: what that is good for, on the real daemon."""

import json
import re
import urllib.request

import pytest

from tests.daemon import Daemon
from tests.support import eventually

JOBS = """
[job.safe]
shell = '''
printf "%s" "$OBSERVERD_PAYLOAD" >LEDGER.variable; cat >LEDGER.stdin; env -0 >LEDGER.env; echo ran >>LEDGER
'''

[job.told]
command = ["/bin/sh", "-c", 'echo "$0 $*" >>LEDGER', "fixed", "$OBSERVERD_PAYLOAD", "`id`"]

[job.fails]
shell = 'printf "%s\\n" "$OBSERVERD_PAYLOAD"; exit 64'
"""
# Whatever would mean something to a shell, a path, a format string, a log, a page or a terminal.
HOSTILE = (
    "$(touch PWNED) `touch PWNED`; touch PWNED | ../../etc %n {0} <script>x()</script> \x9b2J \u202e ' \" \\"
)
NAMES = [
    "../safe", "safe/../../bin/sh", "/bin/sh", "safe;id", "$(id)", "-safe", "safe\nran", "SAFE\u200b",
    "sa fe", "_events", "%n", "{job}", "", "s" * 81, "safe\x9b", "<b>", ".", "..",
]  # fmt: skip


@pytest.fixture
def daemon(sqs, tmp_path):
    sqs.queues["jobs"].redrive = "dead"
    jobs = JOBS.replace("PWNED", str(tmp_path / "pwned"))
    with Daemon(sqs, tmp_path, jobs, slots=4) as started:
        yield started


def text(value):
    return {"DataType": "String", "StringValue": value}


@pytest.mark.parametrize("form", ["payload", "attribute"])
def test_a_payload_is_data_to_the_job_and_nothing_to_anybody_else(form, sqs, daemon, tmp_path):
    hostile = HOSTILE.replace("PWNED", str(tmp_path / "pwned"))
    if form == "payload":
        sqs.send_job("safe", payload=hostile)
        expected = json.dumps(hostile, ensure_ascii=False)
    else:
        expected = f"{hostile}\nLD_PRELOAD=/tmp/evil.so\nPATH=/tmp"
        sqs.send(expected, attributes={"Name": text("safe")})
    daemon.wait_for_ledger("ran")

    assert expected == (tmp_path / "ledger.stdin").read_text()
    assert expected == (tmp_path / "ledger.variable").read_text()
    assert not (tmp_path / "pwned").exists()


def test_a_message_can_set_no_variable_but_the_payloads_and_the_schedules(sqs, daemon, tmp_path):
    forged = {"OBSERVERD_JOB": "other", "LD_PRELOAD": "/tmp/evil.so", "PATH": "/tmp", "BASH_ENV": "/tmp/evil"}
    attributes = {name: text(value) for name, value in forged.items()} | {"Name": text("safe")}
    sqs.send("\n".join(f"{name}={value}" for name, value in forged.items()), attributes=attributes)
    daemon.wait_for_ledger("ran")

    told = (tmp_path / "ledger.env").read_text().rstrip("\0").split("\0")
    seen = dict(each.split("=", 1) for each in told)
    assert {"safe", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"} == {
        seen["OBSERVERD_JOB"],
        seen["PATH"],
    }
    assert {"LD_PRELOAD", "BASH_ENV"}.isdisjoint(seen)
    assert len(told) == len(seen)


def test_no_message_changes_what_is_run(sqs, daemon):
    for extra in ({"command": ["id"]}, {"shell": "id"}, {"user": "root"}, {"environment": {"A": "b"}}):
        sqs.send_job("told", **extra)
    sqs.send_job("told", payload=["--evil", "-c", "id"])
    daemon.wait_for_ledger("fixed")
    sqs.wait_for(lambda fake: len(fake.bodies("dead")) == 4)

    assert "fixed $OBSERVERD_PAYLOAD `id`\n" == daemon.ledger.read_text()


def test_names_that_mean_something_elsewhere_end_as_dead_letters(sqs, daemon, tmp_path):
    for name in NAMES:
        sqs.send_job(name)
        sqs.send("{}", attributes={"Name": text(name)})
    sqs.wait_for(lambda fake: len(fake.bodies("dead")) == 2 * len(NAMES))
    sqs.send_job("safe")
    daemon.wait_for("run ended", count=2 * len(NAMES) + 1)

    assert {"rejected"} == {line["outcome"] for line in daemon.said("run ended") if line.get("job") != "safe"}
    assert 1 == len(daemon.said("run started"))
    assert [] == [line for line in daemon.lines if not line.isprintable()], "no name acts on a terminal"
    assert set(re.findall(r'job_name="([^"]*)"', daemon.metrics())) <= {"safe", "told", "fails", "_unknown"}


def test_what_a_message_says_is_text_on_the_status_page(sqs, daemon):
    sqs.send_job("fails", payload="<script>x()</script>", schedule="<img src=x onerror=x()>")
    sqs.send_job("<script>x()</script>")
    daemon.wait_for("run ended", count=2)
    address = daemon.wait_for("metrics served")["address"]

    def page():
        with urllib.request.urlopen(f"http://{address}/", timeout=10) as answer:
            return answer.read().decode()

    eventually(lambda: page().count("&lt;script&gt;x()") >= 2)
    assert "<script>x()" not in page()
    assert "<img src=x" not in page()


def test_evidence_of_a_senders_own_is_not_believed(sqs, daemon):
    # Ten are the most that SQS takes: there would be no room for the truth.
    forged = {f"Observerd{name}": text("all is well") for name in ("Outcome", "Reason", *"ABCDEFGH")}
    sqs.send(json.dumps({"job": "fails"}), attributes=forged)
    sqs.wait_for(lambda fake: fake.bodies("dead"))
    [dead] = sqs.queues["dead"].messages

    told = {name: each["StringValue"] for name, each in dead.attributes.items()}
    assert ("failed", "exit code 64") == (told["ObserverdOutcome"], told["ObserverdReason"])
    assert "all is well" not in told.values()


BOMBS = {
    "deep": "[" * 100_000,
    "deep objects": '{"a":' * 50_000,
    "a long number": '{"job": "safe", "payload": ' + "9" * 500_000 + "}",
    "a huge number": '{"job": "safe", "payload": 1e999999}',
    "a large message": json.dumps({"job": "safe", "payload": "x" * 1_000_000}),
    "many keys": json.dumps({"job": "safe", **{f"k{number}": number for number in range(50_000)}}),
    "the end of time": json.dumps({"job": "safe", "scheduled_time": "9999-12-31T23:59:59-23:59"}),
    "the beginning of time": json.dumps({"job": "safe", "scheduled_time": "0001-01-01T00:00:00+23:59"}),
    "an endless lateness": json.dumps({"job": "safe", "max_lateness": "9" * 10_000 + "h"}),
    "half a surrogate": '{"job": "safe", "payload": "\\ud800"}',
    "no text": "\x00\x01\ufffe",
}


def test_no_message_ends_the_daemon(sqs, daemon):
    for body in BOMBS.values():
        sqs.send(body)
        sqs.send(body, attributes={"Name": {"DataType": "Binary", "BinaryValue": "AAEC"}})
    # What is received is either run or buried; nothing is left over, and nothing has crashed.
    sqs.wait_for(lambda fake: not fake.bodies(), timeout_s=60.0)

    assert [] == daemon.said("run crashed")
    assert daemon.process.poll() is None
    assert "rejected" in {line["outcome"] for line in daemon.said("run ended")}
