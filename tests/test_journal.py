"""What is written down: log lines, metrics, and what systemd is told."""

import json
import logging
import socket
import subprocess
from pathlib import Path

import pytest

from observerd.core.events import (
    Began,
    Extended,
    Finished,
    GaveUp,
    GiveUpAnswer,
    Ignore,
    Message,
    Outcome,
    Received,
    ReceiveFailed,
    ReceiveFault,
    Report,
    Settling,
)
from observerd.journal import Journal
from observerd.logs import JsonFormatter, TextFormatter
from observerd.metrics import Metrics
from observerd.systemd import Notifier
from observerd.warden import _SCRIPT

MESSAGE = Message("m-1", "handle", "{}")


@pytest.fixture
def metrics():
    return Metrics(["feed"], 2)


@pytest.fixture
def journal(metrics, caplog):
    caplog.set_level(logging.DEBUG, "observerd")
    return Journal(metrics)


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(f"observerd_{name}", labels)


def lines(caplog):
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_an_outage_is_logged_at_its_start_and_at_its_end(journal, caplog):
    for at in (0.0, 1.0, 2.0):
        journal.event(ReceiveFailed(ReceiveFault.UNREACHABLE, "refused"), at)
    journal.event(Received(), 5.0)
    journal.event(Received(), 6.0)

    assert [("WARNING", "receiving failed"), ("WARNING", "receiving works again")] == lines(caplog)
    assert (5.0, 3) == (caplog.records[1].outage_s, caplog.records[1].failures)


@pytest.mark.parametrize("crashed", [False, True])
def test_a_run_in_progress_is_counted_until_it_ends(crashed, journal, metrics):
    journal.event(Began(MESSAGE, "feed", "run", "stream", 1.5, 0.0), 0.0)
    assert 1 == value(metrics, "job_running", job_name="feed") == value(metrics, "job_slots_busy")
    if not crashed:
        journal.event(Settling(MESSAGE), 0.0)
        assert 0 == value(metrics, "job_running", job_name="feed") == value(metrics, "job_slots_busy")

    report = Report("feed", "run", duration_s=2.0, settled="deleted", lines=9, lines_dropped=7)
    journal.event(Finished(MESSAGE, Outcome.SUCCEEDED, deleted=True, report=report), 0.0)

    assert 0 == value(metrics, "job_running", job_name="feed") == value(metrics, "job_slots_busy")
    assert 1 == value(metrics, "job_runs_total", job_name="feed", outcome="succeeded")
    assert 2.0 == value(metrics, "job_duration_seconds_sum", job_name="feed")
    assert 1.5 == value(metrics, "job_start_delay_seconds_sum", job_name="feed")
    assert 7 == value(metrics, "job_output_lines_total", job_name="feed", result="dropped")
    assert 1 == value(metrics, "sqs_messages_total", result="deleted")


def test_a_message_that_never_became_a_run_was_never_in_progress(journal, metrics):
    journal.event(Finished(MESSAGE, Outcome.REJECTED, deleted=True), 0.0)

    assert 0 == value(metrics, "job_slots_busy")


@pytest.mark.parametrize(
    ("outcome", "deleted", "settled", "level"),
    [
        (Outcome.SUCCEEDED, True, "deleted", "INFO"),
        (Outcome.SUCCEEDED, False, "not deleted", "WARNING"),
        (Outcome.INTERRUPTED, False, "back in 0 s", "INFO"),
        (Outcome.FAILED, False, "back in 60 s", "WARNING"),
        (Outcome.FAILED, True, "dead-lettered, deleted", "ERROR"),
        (Outcome.MISSED, True, "deleted", "ERROR"),
        (Outcome.LOST, False, "left alone", "ERROR"),
        (Outcome.CRASHED, False, "back in 60 s", "ERROR"),
    ],
)
def test_each_end_has_the_attention_it_deserves(outcome, deleted, settled, level, journal, caplog):
    journal.event(Finished(MESSAGE, outcome, deleted, report=Report(settled=settled)), 0.0)

    assert [(level, "run ended")] == lines(caplog)


def test_a_duplicate_is_counted_for_the_job_that_runs(journal, metrics):
    journal.event(Began(MESSAGE, "feed", "run", "stream", 0.0, 0.0), 0.0)
    journal.order(Ignore(MESSAGE))

    assert 1 == value(metrics, "job_runs_total", job_name="feed", outcome="duplicate")


def test_what_is_left_alone_unstarted_is_told_and_no_run(journal, metrics, caplog):
    journal.order(Ignore(MESSAGE, stale=True))

    assert [("WARNING", "message left alone, as its lease may be over by now")] == lines(caplog)
    assert not value(metrics, "job_runs_total", job_name="_unknown", outcome="duplicate")


def test_unanswered_heartbeats_are_two_lines(journal, metrics, caplog):
    for answer in ("unanswered", "unanswered", "kept"):
        journal.event(Extended(0.0, **{answer: ("a",)}), 0.0)

    assert [("WARNING", "leases not extended"), ("WARNING", "leases extended again")] == lines(caplog)
    assert 2 == value(metrics, "visibility_extensions_total", result="error")


def test_a_group_that_keeps_its_instance_is_told_of_once(journal, caplog):
    for _ in range(3):
        journal.event(GaveUp(GiveUpAnswer.KEPT, "the group's minimum size is 1"), 0.0)

    assert [("WARNING", "instance not given up, staying in service")] == lines(caplog)


def record(message="run ended", **facts):
    given = {"msg": message, "levelno": logging.WARNING, "levelname": "WARNING", **facts}
    return logging.makeLogRecord(given)


def test_a_text_line_is_one_line_with_its_facts():
    text = TextFormatter(priorities=True).format(record(job="feed", reason='a "b"\nc', none=None, took_s=1.5))

    assert '<4>run ended job=feed reason="a \\"b\\"\\nc" took_s=1.5' == text


def test_a_traceback_keeps_its_priority_on_every_line():
    try:
        int("no")
    except ValueError as error:
        failed = record(exc_info=(ValueError, error, error.__traceback__))
        text = TextFormatter(priorities=True).format(failed)

    assert len(text.splitlines()) > 2
    assert all(line.startswith("<4>") for line in text.splitlines())


def test_a_json_line_has_its_facts_beside_the_message():
    line = json.loads(JsonFormatter().format(record(job="feed")))

    assert ("run ended", "warning", "feed") == (line["message"], line["level"], line["job"])


def test_a_job_cannot_inherit_the_way_to_systemd(tmp_path):
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1", "PATH": "/bin"}

    notifier = Notifier(environ)

    assert {"PATH": "/bin"} == environ
    assert notifier.watchdog_s is None  # It is meant for process 1.


def test_an_abstract_socket_is_understood():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0observerd-test")
        Notifier({"NOTIFY_SOCKET": "@observerd-test", "WATCHDOG_USEC": "4000000"}).ready("fine")

        assert b"READY=1\nSTATUS=fine" == listener.recv(100)


def test_a_sign_of_life_can_ask_for_more_time_to_stop():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0observerd-test-stop")
        Notifier({"NOTIFY_SOCKET": "@observerd-test-stop"}).alive(1.5)

        assert b"WATCHDOG=1\nEXTEND_TIMEOUT_USEC=1500000" == listener.recv(100)


def test_a_supervisor_that_is_gone_is_no_error():
    Notifier({"NOTIFY_SOCKET": "/no-such-directory/notify"}).alive()


def test_nothing_is_printed_where_nobody_listens(capsys):
    Notifier({}).ready("fine")

    assert ("", "") == capsys.readouterr()


def test_every_module_opens_by_saying_what_it_is_for():
    for path in sorted((Path(__file__).parent.parent / "observerd").rglob("*.py")):
        if path.name != "__init__.py" or path.parent.name != "observerd":
            assert path.read_text().startswith('"""'), path


def test_the_warden_is_posix_sh():
    assert 0 == subprocess.run(("/bin/sh", "-n"), input=_SCRIPT, text=True, check=False).returncode
