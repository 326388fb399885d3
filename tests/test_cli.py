"""The command line as a person meets it: a real process each time."""

import gc
import json
import os
import signal
import subprocess
import sys
from unittest.mock import Mock

import pytest

from observerd import cli
from tests.daemon import ROOT, Daemon
from tests.support import eventually

JOBS = """
[job.greet]
shell = 'echo "hello $OBSERVERD_SCHEDULED_TIME"; cat; exit 3'

[job.long]
shell = 'echo up; exec sleep 600'
grace = "5s"

[job.polite]
shell = 'trap "exit 0" TERM; echo up; sleep 600 & wait'

[job.absent]
command = ["/no-such-directory/program"]
"""


@pytest.fixture
def configured(sqs, tmp_path):
    """A configuration directory and an environment, nothing started."""
    return Daemon(sqs, tmp_path, JOBS)


def observerd(configured, *arguments, config=True, **rest):
    where = ("--config", configured.config) if config else ()
    return subprocess.run(
        (sys.executable, "-m", "observerd", *arguments, *where),
        cwd=ROOT,
        env=configured.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **rest,
    )


def test_the_version_is_told(configured):
    answer = observerd(configured, "--version", config=False)

    assert (0, "observerd 0.1.0\n") == (answer.returncode, answer.stdout)


def test_help_names_every_command_and_every_exit_status(configured):
    text = observerd(configured, "--help", config=False).stdout

    for word in ("run", "exec", "send", "check-config", "show-config", "jobs", "64", "78", "OBSERVERD_"):
        assert word in text


@pytest.mark.parametrize("arguments", [(), ("dance",), ("run", "--once", "--drain"), ("exec",)])
def test_wrong_usage_is_one_line_and_64(arguments, configured):
    answer = observerd(configured, *arguments, config=False)

    assert (64, 1) == (answer.returncode, len(answer.stderr.splitlines()))


def test_exec_runs_a_job_as_the_daemon_would_and_exits_as_it_does(configured):
    answer = observerd(
        configured, "exec", "greet", "--scheduled-time", "2026-11-23T18:00:00Z", "--payload", '{"a": 1}'
    )

    assert (3, 'hello 2026-11-23T18:00:00Z\n{"a": 1}') == (answer.returncode, answer.stdout)


def test_exec_reads_a_payload_from_standard_input(configured):
    assert observerd(configured, "exec", "greet", "--payload", "-", input="[1]").stdout.endswith("[1]")


def test_exec_says_what_cannot_be_started(configured):
    answer = observerd(configured, "exec", "absent")

    assert 127 == answer.returncode
    assert "cannot start '/no-such-directory/program'" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("exec", "stranger"), "no job 'stranger' is defined"),
        (("exec", "greet", "--payload", "{"), "--payload is not JSON"),
        (("exec", "greet", "--scheduled-time", "noon"), "not an ISO 8601 time"),
        (("send", "greet", "--scheduled-time", "2026-11-23T18:00:00"), "no time zone"),
        (("send", "../greet"), "not a job name"),
    ],
)
def test_what_makes_no_run_is_one_line_and_65(arguments, complaint, configured):
    answer = observerd(configured, *arguments)

    assert (65, 1) == (answer.returncode, len(answer.stderr.splitlines()))
    assert complaint in answer.stderr


@pytest.mark.parametrize("job", ["long", "polite"])
def test_exec_passes_a_stop_on_to_the_job_and_does_not_call_that_a_success(job, configured):
    running = subprocess.Popen(
        (sys.executable, "-m", "observerd", "exec", job, "--config", configured.config),
        cwd=ROOT,
        env=configured.environ,
        stdout=subprocess.PIPE,
    )
    assert b"up\n" == running.stdout.readline()

    running.send_signal(signal.SIGINT)

    assert 128 + signal.SIGTERM == running.wait(30)
    running.stdout.close()


def test_send_puts_a_version_1_message_on_the_queue(configured, sqs):
    answer = observerd(
        configured, "send", "greet", "--scheduled-time", "2026-11-23T18:00:00Z", "--payload", '{"a": 1}'
    )

    assert 0 == answer.returncode
    assert answer.stdout.startswith("sent: job greet, run ")
    assert {
        "v": 1,
        "job": "greet",
        "scheduled_time": "2026-11-23T18:00:00Z",
        "payload": {"a": 1},
    } == json.loads(sqs.bodies()[0])


def test_send_to_a_queue_that_is_not_there_is_69(configured, sqs):
    answer = observerd(configured, "send", "greet", "--queue-url", sqs.url("nowhere"))

    assert (69, 1) == (answer.returncode, len(answer.stderr.splitlines()))


@pytest.mark.parametrize("arguments", [("run", "--once"), ("send", "greet"), ("runs", "--stack", "cron")])
@pytest.mark.parametrize("setting", [{"AWS_PROFILE": "nope"}, {"AWS_ENDPOINT_URL": "nonsense"}])
def test_what_is_set_for_aws_and_no_use_is_one_line_and_78(arguments, setting, configured):
    configured.environ |= setting

    answer = observerd(configured, *arguments)

    assert (78, 1) == (answer.returncode, len(answer.stderr.splitlines())), answer.stderr
    assert next(iter(setting.values())) in answer.stderr


def test_without_credentials_it_says_where_they_come_from(configured):
    del configured.environ["AWS_ACCESS_KEY_ID"], configured.environ["AWS_SECRET_ACCESS_KEY"]

    answer = observerd(configured, "runs", "--stack", "cron", "--region", "eu-west-1")

    assert (77, 1) == (answer.returncode, len(answer.stderr.splitlines()))
    assert "AWS_PROFILE" in answer.stderr


def test_an_interrupt_ends_a_command_without_a_word(monkeypatch, capsys):
    """Also while it is still being imported."""
    monkeypatch.setattr(cli, "_operate", Mock(side_effect=KeyboardInterrupt))

    try:
        assert 130 == cli.main(["runs"])
    finally:
        gc.enable()
    assert ("", "") == capsys.readouterr()


def test_without_a_queue_run_and_send_say_what_to_set(configured, tmp_path):
    (tmp_path / "observerd.toml").write_text("")
    for arguments in (("run",), ("send", "greet")):
        answer = observerd(configured, *arguments)

        assert 78 == answer.returncode
        assert "OBSERVERD_QUEUE_URL" in answer.stderr


def test_a_flag_outweighs_the_environment_which_outweighs_the_file(configured, sqs):
    configured.environ["OBSERVERD_QUEUE_URL"] = sqs.url("dead")
    sqs.send_job("greet")

    answer = observerd(configured, "run", "--once", "--queue-url", sqs.url("jobs"))

    assert 0 == answer.returncode
    assert "run ended" in answer.stderr


def test_the_configuration_is_checked_shown_and_listed(configured):
    assert 0 == observerd(configured, "check-config").returncode
    assert "" == observerd(configured, "check-config", "--quiet").stdout
    assert 0 == observerd(configured, "check-config", "--jobs-only").returncode
    assert "slots" in observerd(configured, "show-config").stdout
    assert {"greet", "long", "polite", "absent"} == {
        job["name"] for job in json.loads(observerd(configured, "jobs", "--json").stdout)
    }


def test_a_reader_that_has_seen_enough_is_no_error(configured):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        answer = subprocess.run(
            (sys.executable, "-m", "observerd", "show-config", "--config", configured.config),
            cwd=ROOT,
            env=configured.environ,
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    assert "Traceback" not in answer.stderr


def test_the_whole_configuration_may_come_from_the_environment(sqs, tmp_path, configured):
    (tmp_path / "observerd.toml").unlink()
    configured.environ |= {"OBSERVERD_QUEUE_URL": sqs.url(), "OBSERVERD_METRICS_LISTEN": ""}
    sqs.send_job("stranger")

    answer = observerd(configured, "run", "--once", config=False)

    assert 0 == answer.returncode
    eventually(lambda: 1 == len(sqs.bodies()))
