"""`observerd run --shadow`: everything but the command."""

import os
import pwd
import socket

import pytest

from observerd.bell import Bell
from observerd.config import Loaded
from observerd.core.events import Outcome
from observerd.core.run import outcome_of
from observerd.executors import choice
from observerd.executors.shadow import ShadowExecutor
from observerd.keys import Config
from tests.daemon import Daemon
from tests.executor_suite import a_run

ME = pwd.getpwuid(os.geteuid()).pw_name


def rehearsed(*command, **keys):
    """What the executor said, how it ended, and the job."""
    run, output = a_run(*command, **keys), []
    ended = ShadowExecutor(ME, {}).run(run, output.append, Bell())
    return b"".join(output).decode(), ended, run.job


def test_the_command_is_told_and_not_run(tmp_path):
    marker = tmp_path / "ran"
    said, ended, job = rehearsed("touch", str(marker), user=ME, timeout_s=7_200.0)

    assert f"shadow: not run: touch {marker} (as {ME}, in /, for 2h at most)\n" == said
    assert Outcome.SUCCEEDED is outcome_of(ended, job)
    assert not marker.exists()


def test_it_succeeds_where_0_is_no_success():
    _, ended, job = rehearsed("true", success_exit_codes=frozenset({3, 4}))

    assert Outcome.SUCCEEDED is outcome_of(ended, job)


@pytest.mark.parametrize(
    ("command", "keys", "fault"),
    [
        ("/opt/missing/program", {}, "cannot start '/opt/missing/program': no such program"),
        ("true", {"user": "nobody-like-that"}, "no user 'nobody-like-that' on this machine"),
        ("true", {"working_directory": "/missing"}, "cannot enter '/missing': there is no such directory"),
        ("only-here", {"environment": {"PATH": "/usr/bin"}}, "cannot start 'only-here': no such program"),
    ],
)
def test_what_could_not_be_started_here_fails(command, keys, fault):
    said, ended, job = rehearsed(command, **keys)

    assert "" == said
    assert fault in ended.fault
    assert Outcome.FAILED is outcome_of(ended, job)


def test_it_is_warned_of():
    loaded = Loaded(Config(), {}, {}, (), ()).run_by(choice.choose("shadow", {}))

    assert ['executor = "shadow": no command is run, and each run counts as succeeded'] == list(
        choice.unkept(loaded)
    )
    assert isinstance(choice.make(loaded.config, {}), ShadowExecutor)


def test_a_path_that_the_daemon_may_not_look_into_is_no_fault(monkeypatch):
    """The package's unit has ProtectHome, and jobs are units of their own."""

    def stat(_path):
        raise PermissionError

    monkeypatch.setattr("observerd.executors.shadow.os.stat", stat)
    said, ended, _ = rehearsed("/home/batch/run", working_directory="/home/batch")

    assert (0, None) == (ended.exit_code, ended.fault)
    assert "in /home/batch" in said


def test_a_daemon_in_the_shadow_takes_messages_and_runs_nothing(sqs, tmp_path):
    """Nor does it answer for the job at its monitor."""
    sqs.send_job("note")
    with socket.create_server(("127.0.0.1", 0)) as monitor:
        ping_url = f"http://127.0.0.1:{monitor.getsockname()[1]}/ping"
        jobs = f'[job.note]\nshell = "echo ran >> LEDGER"\nping_url = "{ping_url}"\n'
        with Daemon(sqs, tmp_path, jobs, ["--shadow", "--once"]) as daemon:
            assert 0 == daemon.status()

        monitor.setblocking(False)
        with pytest.raises(BlockingIOError):
            monitor.accept()

    assert [] == sqs.bodies()
    assert not daemon.ledger.exists()
    assert "succeeded" == daemon.said("run ended")[0]["outcome"]
    assert any("shadow: not run: /bin/sh -c" in line for line in daemon.lines)
