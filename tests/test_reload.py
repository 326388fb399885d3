"""A reload: what it applies, and that a fault changes nothing."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from functools import partial

import pytest

from observerd.config import load
from observerd.core.consumer import Consumer, Limits
from observerd.core.events import (
    Began,
    Cause,
    End,
    Message,
    Received,
    Reload,
    Reloaded,
    ReloadFailed,
    Start,
    StopRequested,
    TimeUp,
)
from observerd.core.job import Job
from observerd.herald import Herald
from observerd.journal import Journal
from observerd.metrics import Metrics
from observerd.reload import Reloading
from observerd.status import Board
from tests.daemon import ROOT, Daemon
from tests.support import eventually, is_running
from tests.test_herald import SCENE

MESSAGE = Message("m-1", "handle", "{}")
NEW = Reloaded({"tidy": Job("tidy", ("true",), ping_url="https://hc-ping.com/1", grace_s=600.0)})


@pytest.fixture
def configured(tmp_path):
    """configured(jobs, **settings) writes a configuration; its directory."""

    def write(jobs, **settings):
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        (tmp_path / "observerd.toml").write_text("\n".join(lines))
        (tmp_path / "jobs.d").mkdir(exist_ok=True)
        (tmp_path / "jobs.d/jobs.toml").write_text(jobs)
        return tmp_path

    return write


@pytest.fixture
def reloading(configured):
    """As of a daemon that started with one job."""
    reread = partial(load, configured(FEED) / "observerd.toml", {}, {}, need_queue=False)
    return Reloading(reread(), reread)


@pytest.fixture
def levels():
    """Puts back what a test does to the log."""
    root, own = logging.getLogger(), logging.getLogger("observerd")
    before = root.handlers[:], root.level, own.level
    yield own
    root.handlers[:], root.level, own.level = before


FEED = '[job.feed]\ncommand = ["true"]\n'
TIDY = '[job.tidy]\ncommand = ["true"]\n'


def test_it_applies_jobs_and_logging(reloading, configured, levels):
    configured(TIDY, log_level="error")

    reloaded = reloading.carry_out(Reload())

    assert (["tidy"], ()) == (list(reloaded.jobs), reloaded.not_applied)
    assert logging.ERROR == levels.level


def test_it_names_what_only_a_restart_applies(reloading, configured, levels):
    configured(FEED, slots=7, idle_timeout="1h", log_format="json")

    assert {"slots", "idle_timeout"} == set(reloading.carry_out(Reload()).not_applied)


def test_a_fault_anywhere_changes_nothing(reloading, configured, levels):
    level = levels.level
    configured(TIDY + "[job.bad]\n", log_level="error")

    failed = reloading.carry_out(Reload())

    assert isinstance(failed, ReloadFailed)
    assert "job.bad.command" in failed.faults[0]
    assert level == levels.level


def test_it_warns_as_a_start_does(reloading, configured, levels):
    configured("")

    assert "no job is defined" in reloading.carry_out(Reload()).warnings[0]


# ---- who is told


@pytest.fixture
def metrics():
    return Metrics(["feed"], 1)


def test_the_log_says_what_changed_and_what_did_not(metrics, caplog):
    caplog.set_level(logging.INFO, "observerd")
    journal = Journal(metrics)
    journal.event(Reloaded(NEW.jobs, ("a warning",), ("slots",)), 0.0)
    journal.event(ReloadFailed(("jobs.d/a.toml: bad", "jobs.d/b.toml: bad")), 1.0)

    good, warning, restart, bad = caplog.records
    assert ("configuration reloaded", 1) == (good.getMessage(), good.jobs)
    assert "a warning" == warning.warning
    assert ("WARNING", "slots") == (restart.levelname, restart.keys)
    assert ("ERROR", "jobs.d/a.toml: bad", 1) == (bad.levelname, bad.fault, bad.more_faults)


def test_metrics_know_the_new_jobs_and_that_the_last_reload_failed(metrics):
    journal = Journal(metrics)
    journal.event(NEW, 0.0)
    journal.event(Began(MESSAGE, "tidy", "0123456789abcdef", "tidy/x", 0.0, None), 1.0)
    journal.event(ReloadFailed(("bad",)), 2.0)

    assert 1 == metrics.registry.get_sample_value("observerd_job_running", {"job_name": "tidy"})
    assert 0 == metrics.registry.get_sample_value("observerd_config_last_reload_successful")


def test_the_status_shows_the_new_jobs():
    consumer = Consumer(Limits(), 0.0)
    board = Board({}, consumer, 0.0)
    board.note(NEW, 1.0)
    board.show(consumer, 1.0, None)

    assert NEW.jobs == board.status.jobs


def test_monitors_of_new_jobs_are_told():
    pings = []
    herald = Herald({}, SCENE, None, pings.append, lambda *_: False)
    herald.event(NEW, 0.0)
    herald.event(Began(MESSAGE, "tidy", "0123456789abcdef", "tidy/x", 0.0, None), 1.0)
    herald.close(30.0)

    assert ["https://hc-ping.com/1/start"] == [ping.url.partition("?")[0] for ping in pings]


@pytest.mark.parametrize(("jobs", "grace_s"), [(NEW.jobs, 605.0), ({}, 35.0)])
def test_a_stop_waits_for_the_longest_grace_that_there_has_been(jobs, grace_s):
    consumer = Consumer(Limits(slots=1, drain_timeout_s=0.0, grace_s=35.0), 0.0)
    consumer.on(TimeUp(), 0.0)
    assert Start(MESSAGE) in consumer.on(Received((MESSAGE,)), 1.0)
    consumer.on(Reloaded(jobs), 2.0)
    consumer.on(StopRequested("SIGTERM"), 3.0)
    consumer.on(TimeUp(), 3.0)

    def kills(at):
        return End(MESSAGE, Cause.STOP, 0.0) in consumer.on(TimeUp(), at)

    assert (False, True) == (kills(2.9 + grace_s), kills(3.0 + grace_s))


# ---- the daemon


JOB = "[job.{name}]\nshell = 'echo {name} >> LEDGER'\n"


def test_a_running_daemon_reloads_and_keeps_what_it_had_when_it_cannot(sqs, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(30)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with Daemon(sqs, tmp_path, JOB.format(name="first"), environ=environ) as daemon:
            _until(notify, "READY=1")
            _reload(daemon, JOB.format(name="second"))
            assert "MONOTONIC_USEC" in _until(notify, "RELOADING=1")[-1]
            _until(notify, "READY=1")
            sqs.send_job("second")
            daemon.wait_for_ledger("second")

            _reload(daemon, "[job.third")
            failed = daemon.wait_for("configuration not reloaded, the one before stays")
            _until(notify, "READY=1")
            sqs.send_job("second")
            daemon.wait_for_ledger("second", count=2)
            assert 1 == len(daemon.said("configuration reloaded"))

    assert f"{tmp_path}/jobs.d/jobs.toml: not TOML" in failed["fault"]


def test_a_daemon_in_the_background_finds_files_named_from_where_it_was_started(sqs, tmp_path):
    with Daemon(sqs, tmp_path, JOB.format(name="first")) as daemon:
        pass
    log = tmp_path / "log"
    subprocess.run(
        (
            sys.executable, "-m", "observerd", "run", "--config", "observerd.toml",
            "--daemonize", "--pidfile", "pid", "--log-file", str(log),
        ),
        cwd=tmp_path, env={**daemon.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=60,
    )  # fmt: skip
    pidfile = tmp_path / "pid"
    eventually(lambda: pidfile.exists() and pidfile.read_text())
    pid = int(pidfile.read_text())
    try:
        sqs.wait_for(lambda fake: "ReceiveMessage" in fake.calls)
        os.kill(pid, signal.SIGHUP)
        eventually(lambda: '"message": "configuration reloaded"' in log.read_text())
    finally:
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_running(pid))


def _reload(daemon, jobs):
    (daemon.directory / "jobs.d/jobs.toml").write_text(jobs.replace("LEDGER", str(daemon.ledger)))
    daemon.signal(signal.SIGHUP)


def _until(notify, word):
    """The datagrams up to the one with this word."""
    said = []
    while not said or word not in said[-1].split("\n"):
        said.append(notify.recv(4096).decode())
    return said
