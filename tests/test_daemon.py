"""The daemon as a process: what it does to a queue, and what the world may do to it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.daemon import ROOT, Daemon
from tests.fake_logs import GROUP, LogsServer
from tests.fake_sqs import FakeSqs
from tests.support import eventually, is_running

JOBS = """
[job.note]
shell = 'echo "note $OBSERVERD_RUN_ID $OBSERVERD_ATTEMPT" >> LEDGER'

[job.brief]
shell = 'echo "start $$" >> LEDGER; sleep 0.2; echo "end $$" >> LEDGER'

[job.wait]
shell = 'trap "echo told >> LEDGER; exit 0" TERM; echo "start $$" >> LEDGER; while :; do sleep 0.05; done'
grace = "10s"

[job.deaf]
shell = 'trap "echo told >> LEDGER" TERM; echo "start $$" >> LEDGER; while :; do sleep 0.05; done'
grace = "10m"

[job.until]
shell = 'echo "start $$" >> LEDGER; while [ ! -e LEDGER.go ]; do sleep 0.05; done; echo "end $$" >> LEDGER'
"""

# A worker says that it is up when the metadata service has been asked, not before its first message.
STAGES = ["worker_up", "received", "started", "ended", "settled", "worker_left"]


@pytest.fixture
def daemon(sqs, tmp_path):
    """daemon(**config) is a daemon on the fake SQS; started by `with`."""
    sqs.queues["jobs"].redrive = "dead"

    def make(arguments=(), environ=None, **config):
        return Daemon(sqs, tmp_path, JOBS, arguments, environ, **config)

    return make


def ledger(daemon):
    return daemon.ledger.read_text().split("\n")[:-1]


def started_pid(daemon):
    daemon.wait_for_ledger("start")
    return int(ledger(daemon)[0].split()[1])


# ---- the ways to run


def test_once_takes_one_message_and_leaves(sqs, daemon):
    sqs.send_job("note")
    sqs.send_job("note")

    with daemon(["--once"]) as running:
        assert running.status() == 0

    assert (len(ledger(running)), len(sqs.bodies())) == (1, 1)


def test_once_leaves_when_it_finds_none(daemon):
    with daemon(["--once"]) as running:
        assert running.status() == 0

    assert running.wait_for("leaving")["reason"] == "done"


def test_drain_leaves_when_the_queue_is_empty(sqs, daemon):
    for _ in range(20):
        sqs.send_job("note")

    with daemon(["--drain"], slots=4) as running:
        assert running.status() == 0

    assert (len(ledger(running)), sqs.bodies()) == (20, [])


def test_it_leaves_when_idle(sqs, daemon):
    sqs.send_job("note")

    with daemon(idle_timeout="1s") as running:
        assert running.status() == 0

    assert (running.wait_for("leaving")["reason"], len(ledger(running))) == ("idle", 1)


def test_a_fifo_queue_is_served_one_message_a_group_at_a_time(tmp_path):
    with FakeSqs("jobs.fifo", "dead.fifo") as sqs:
        for instant in range(3):
            body = json.dumps({"job": "brief", "scheduled_time": f"2026-11-23T0{instant}:00:00Z"})
            sqs.send(body, "jobs.fifo", group="brief")

        with Daemon(sqs, tmp_path, JOBS, ["--drain"], queue_url=sqs.url("jobs.fifo"), slots=4) as running:
            assert running.status() == 0

        assert sqs.bodies("jobs.fifo") == []
    assert [line.split()[0] for line in ledger(running)] == ["start", "end"] * 3


# ---- the stop


def test_a_stop_when_idle_waits_for_its_poll_and_releases_what_arrives(sqs, daemon):
    with daemon() as running:
        sqs.wait_for(lambda fake: fake.calls.count("ReceiveMessage") == 1 and fake.waiting)
        running.signal()
        running.wait_for("stop requested")
        sqs.send_job("note")
        sqs.wait_for(lambda fake: "ChangeMessageVisibility" in fake.calls)

        assert running.status() == 0

    assert (len(sqs.bodies()), running.ledger.exists()) == (1, False)
    assert len(running.said("late message released")) == 1


def test_a_stop_lets_the_job_finish(sqs, daemon):
    sqs.send_job("until")
    with daemon() as running:
        running.wait_for_ledger("start")
        running.signal()
        running.wait_for("stop requested")
        (running.directory / "ledger.go").touch()

        assert running.status() == 0

    assert (sqs.bodies(), running.ledger.read_text().count("end")) == ([], 1)


def test_a_second_stop_ends_the_job_and_gives_its_message_back(sqs, daemon):
    sqs.send_job("wait")
    with daemon() as running:
        running.wait_for_ledger("start")
        running.signal()
        running.signal(signal.SIGINT)

        assert running.status() == 0

    assert running.said("run ended")[0]["outcome"] == "interrupted"
    assert ledger(running)[-1] == "told"
    assert sqs.queues["jobs"].messages[0].visible_at <= time.monotonic()


def test_a_third_stop_kills(sqs, daemon):
    sqs.send_job("deaf")
    with daemon() as running:
        pid = started_pid(running)
        running.signal()
        running.wait_for("stop requested")
        running.signal()
        running.wait_for_ledger("told")
        running.signal()

        assert running.status() == 0

    assert not is_running(pid)
    assert len(sqs.bodies()) == 1


def test_the_drain_timeout_is_a_second_stop(sqs, daemon):
    sqs.send_job("wait")
    with daemon(drain_timeout="1s") as running:
        running.wait_for_ledger("start")
        running.signal()

        assert running.status() == 0

    assert running.said("run ended")[0]["outcome"] == "interrupted"


# ---- the daemon is killed


def test_after_kill_9_the_old_tree_is_gone_and_the_job_runs_again(sqs, daemon, tmp_path):
    sqs.send_job("until")
    with daemon(visibility_timeout="3s") as running:
        pid = started_pid(running)
        running.signal(signal.SIGKILL)
        running.status()
        eventually(lambda: not is_running(pid))

    with daemon(visibility_timeout="3s") as successor:
        successor.wait_for_ledger("start", count=2)
        (tmp_path / "ledger.go").touch()
        sqs.wait_for(lambda fake: not fake.bodies())

    # Again: a machine that is too slow for its lease may have had to leave it alone in between.
    assert successor.said("run started")[0]["attempt"] >= 2
    assert [line.split()[0] for line in ledger(successor)] == ["start", "start", "end"]


def test_a_daemon_that_hangs_does_not_keep_its_jobs_running_beyond_their_leases(sqs, daemon):
    """Stopped alone: its jobs ran on beside those of the worker that was given the messages next."""
    sqs.send_job("until")
    with daemon(visibility_timeout="3s") as running:
        pid = started_pid(running)
        running.signal(signal.SIGSTOP)
        sqs.wait_for(lambda fake: fake.queues["jobs"].messages[0].visible_at < time.monotonic())
        survived = is_running(pid)
        running.signal(signal.SIGCONT)
        ended = running.wait_for("run ended")

    assert not survived
    assert ("lost", "left alone") == (ended["outcome"], ended["settled"])
    assert "end" not in running.ledger.read_text()


def test_a_message_that_came_while_the_daemon_stood_still_is_not_started_beside_another_worker(sqs, daemon):
    """Found by the soak: the answer lay in the socket until the lease was over and somebody else had it."""
    with daemon(visibility_timeout="3s", slots=2) as running:
        sqs.wait_for(lambda fake: fake.waiting)
        running.signal(signal.SIGSTOP)
        sqs.wait_for(lambda fake: fake.waiting)
        sqs.send_job("note")
        held = sqs.queues["jobs"].messages[0]
        sqs.wait_for(lambda _: held.handle is not None and held.visible_at < time.monotonic())
        sqs.answer("ReceiveMessage", {"QueueUrl": sqs.url(), "VisibilityTimeout": 60})
        running.signal(signal.SIGCONT)

        running.wait_for("message left alone, as its lease may be over by now")
        sqs.wait_for(lambda fake: fake.waiting)

    assert [] == running.said("run started")
    assert (2, [held]) == (held.receive_count, sqs.queues["jobs"].messages)
    assert held.visible_at > time.monotonic() + 30, "what another worker holds is left alone"


NO_THREAD = """
import os, threading

start = threading.Thread.start


def start_or_not(thread):
    if thread.name == os.environ["NO_THREAD"]:
        raise RuntimeError("can't start new thread")
    start(thread)


threading.Thread.start = start_or_not
"""


@pytest.mark.parametrize("name", ["log", "signals", "receiver", "heartbeat"])
def test_a_machine_that_has_no_thread_left_is_told_in_a_line_and_tried_again(name, sqs, daemon, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NO_THREAD)
    with daemon(environ={"PYTHONPATH": str(tmp_path), "NO_THREAD": name}) as running:
        assert 75 == running.status()

    [said] = [line for line in running.lines if not line.startswith("{")]
    assert said.startswith("observerd: no thread can be started: the limit of tasks or processes is reached")


# ---- a machine that is hibernated: what waits in it waits on, and SQS has given its messages to others


def _suspendable(tmp_path):
    """Environment of a daemon whose machine has been suspended for as long as this file says."""
    own_clock = ROOT / "tests" / "chaos" / "own_clock"
    return {"PYTHONPATH": str(own_clock), "SUSPENDED": str(tmp_path / "suspended")}


def test_after_a_hibernation_a_job_whose_message_others_have_is_ended(sqs, daemon, tmp_path):
    sqs.send_job("until")
    with daemon(environ=_suspendable(tmp_path), visibility_timeout="10m") as running:
        pid = started_pid(running)
        (tmp_path / "suspended").write_text("3600")
        ended = running.wait_for("run ended")

    assert not is_running(pid)
    assert ("lost", "left alone") == (ended["outcome"], ended["settled"])
    assert 0 == sqs.count("ChangeMessageVisibility") + sqs.count("ChangeMessageVisibilityBatch")


def test_a_job_that_fails_after_a_hibernation_does_not_give_back_what_others_have(sqs, daemon, tmp_path):
    """Its connections are dead: it fails before anybody has looked at the lease."""
    sqs.send_job("until")
    with daemon(environ=_suspendable(tmp_path), visibility_timeout="10m") as running:
        pid = started_pid(running)
        (tmp_path / "suspended").write_text("3600")
        os.kill(pid, signal.SIGTERM)
        ended = running.wait_for("run ended")

    assert ("lost", "left alone") == (ended["outcome"], ended["settled"])


def test_a_message_that_came_before_a_hibernation_is_not_started_after_it(sqs, daemon, tmp_path):
    with daemon(environ=_suspendable(tmp_path), visibility_timeout="10m") as running:
        sqs.wait_for(lambda fake: fake.waiting)
        (tmp_path / "suspended").write_text("3600")
        sqs.send_job("note")
        running.wait_for("message left alone, as its lease may be over by now")

    assert [] == running.said("run started")
    assert 0 == sqs.count("ChangeMessageVisibility") + sqs.count("DeleteMessage")


# ---- leases


def test_a_job_longer_than_the_visibility_timeout_is_delivered_once(sqs, daemon):
    sqs.send_job("until")
    with daemon(visibility_timeout="3s") as running:
        sqs.wait_for(lambda fake: fake.calls.count("ChangeMessageVisibilityBatch") >= 5)
        (running.directory / "ledger.go").touch()
        sqs.wait_for(lambda fake: not fake.bodies())
        running.wait_for("run ended")

        assert running.metric('observerd_visibility_extensions_total{result="ok"}') >= 5

    assert running.ledger.read_text().count("start") == 1


def test_a_refused_heartbeat_kills_the_job_and_leaves_the_message(sqs, daemon, monkeypatch):
    failed = {"Id": "0", "Code": "ReceiptHandleIsInvalid", "Message": "gone", "SenderFault": True}
    monkeypatch.setattr(
        sqs, "_ChangeMessageVisibilityBatch", lambda _: {"Successful": [], "Failed": [failed]}
    )
    sqs.send_job("until")
    with daemon(visibility_timeout="9s") as running:
        pid = started_pid(running)
        ended = running.wait_for("run ended")

        assert (ended["outcome"], ended["settled"], is_running(pid)) == ("lost", "left alone", False)


@pytest.mark.parametrize("kind", ["hang", "error", "reset"])
def test_an_unanswered_heartbeat_ends_the_job_before_its_lease_does(kind, sqs, daemon):
    sqs.fail("ChangeMessageVisibilityBatch", kind)
    sqs.send_job("until")
    with daemon(visibility_timeout="6s") as running:
        pid = started_pid(running)
        eventually(lambda: not is_running(pid))
        left_s = sqs.queues["jobs"].messages[0].visible_at - time.monotonic()
        ended = running.wait_for("run ended")

        assert (ended["outcome"], left_s > 0) == ("lost", True)


def test_a_job_whose_delete_failed_is_not_run_again(sqs, daemon):
    refused = sqs.fail("DeleteMessage", "error", code="ReceiptHandleIsInvalid", status=400)
    sqs.send_job("note")
    with daemon() as running:
        assert running.wait_for("run ended")["settled"].startswith("delete refused")
        sqs.faults.remove(refused)
        sqs.show_all()
        sqs.wait_for(lambda fake: not fake.bodies())

    assert len(ledger(running)) == 1


def test_a_job_that_has_ended_holds_no_slot_while_sqs_is_told(sqs, daemon):
    """With one slot two messages are held at most: one whose job runs, and one that is being settled."""
    sqs.fail("DeleteMessage", "error", code="InternalError", status=500)
    for _ in range(4):
        sqs.send_job("note")
    with daemon(slots=1) as running:
        running.wait_for("run started", count=2)
        eventually(lambda: running.metric("observerd_job_slots_busy") == 0)
        hidden = [held for held in sqs.queues["jobs"].messages if held.visible_at > time.monotonic()]
        assert (2, 2) == (len(hidden), len(running.said("run started")))

        sqs.mend()
        sqs.wait_for(lambda fake: not fake.bodies())

    assert 4 == len(ledger(running))


# ---- outages


@pytest.mark.parametrize("kind", ["error", "reset", "garbage", "truncated"])
def test_an_outage_is_two_lines_and_loses_nothing(kind, sqs, daemon):
    outage = sqs.fail("*", kind)
    with daemon() as running:
        sqs.wait_for(lambda fake: fake.calls.count("ReceiveMessage!") >= 4)
        sqs.send_job("note")
        sqs.faults.remove(outage)
        running.wait_for_ledger("note")
        running.wait_for("run ended")

    assert len(running.said("receiving failed")) == 1
    assert running.said("receiving works again")[0]["failures"] >= 4


def test_throttling_is_waited_out(sqs, daemon):
    sqs.fail("ReceiveMessage", "error", code="ThrottlingException", status=400, times=3)
    sqs.send_job("note")
    with daemon() as running:
        running.wait_for_ledger("note")

    assert running.said("receiving failed")[0]["fault"] == "throttled"


def test_an_answer_that_was_lost_costs_the_visibility_timeout_and_no_run(sqs, daemon):
    sqs.fail("ReceiveMessage", "lost", times=1)
    sqs.send_job("note")
    with daemon(visibility_timeout="3s") as running:
        running.wait_for_ledger("note")
        sqs.wait_for(lambda fake: not fake.bodies())

    assert ledger(running)[0].endswith(" 2")


@pytest.mark.parametrize(
    ("code", "fault"),
    [("AWS.SimpleQueueService.NonExistentQueue", "queue_missing"), ("AccessDenied", "denied")],
)
def test_a_queue_that_is_missing_or_denied_is_a_configuration_error(code, fault, sqs, daemon):
    sqs.fail("ReceiveMessage", "error", code=code, status=400)
    with daemon() as running:
        assert running.status() == 78

    (line,) = running.said("receiving failed")
    assert (line["fault"], code in line["detail"]) == (fault, True)


def test_a_queue_that_is_denied_later_lets_the_job_finish_first(sqs, daemon):
    sqs.send_job("until")
    with daemon(slots=2) as running:
        running.wait_for_ledger("start")
        sqs.wait_for(lambda it: it.waiting == 1)
        sqs.fail("ReceiveMessage", "error", code="AccessDenied", status=400)
        sqs.send_job("note")  # Ends the poll that is on its way; the next one is denied.
        running.wait_for("receiving failed")
        (running.directory / "ledger.go").touch()

        assert running.status() == 78

    assert sqs.bodies() == []


# ---- what it tells


def test_systemd_is_told_ready_status_and_stopping(sqs, daemon, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(30)
        with daemon(environ={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as running:
            words = _until(notify, "READY=1")
            running.signal()
            words += _until(notify, "STOPPING=1") + _until(notify, "WATCHDOG=1")
            sqs.send_job("note")  # Ends the long poll, which is never aborted.

            assert running.status() == 0

    assert "STATUS=idle for 0s, 0/1 slots busy, queue jobs" in words
    assert "STATUS=draining, 0/1 slots busy, queue jobs" in words
    assert any(word.startswith("EXTEND_TIMEOUT_USEC=") for word in words)


def _until(notify, word):
    words = []
    while word not in words:
        words += notify.recv(4096).decode().split("\n")
    return words


def test_metrics_count_runs_by_job_and_outcome_and_fold_strangers(sqs, daemon):
    sqs.send_job("note")
    sqs.send_job("stranger")
    with daemon() as running:
        running.wait_for("run ended", count=2)

        assert running.metric('observerd_job_runs_total{job_name="note",outcome="succeeded"}') == 1
        assert running.metric('observerd_job_runs_total{job_name="_unknown",outcome="rejected"}') == 1
        assert running.metric('observerd_job_runs_total{job_name="note",outcome="failed"}') == 0
        assert running.metric('observerd_sqs_messages_total{result="dead_lettered"}') == 1
        # The two end so closely that one call may have deleted both.
        single, batch = (f"DeleteMessage{kind}" for kind in ("", "Batch"))
        assert sqs.count(single) + 2 * sqs.count(batch) == 2
        made = next(name for name in (single, batch) if sqs.count(name))
        series = f'observerd_aws_requests_total{{operation="{made}",outcome="ok",service="sqs"}}'
        assert running.metric(series) == sqs.count(made)
        assert "stranger" not in running.metrics()


def test_what_is_lost_with_the_last_scrape_can_be_left_in_a_file(sqs, daemon, tmp_path):
    sqs.send_job("note")
    with daemon(["--once"], metrics_textfile_directory=str(tmp_path)) as running:
        assert running.status() == 0

    left = (tmp_path / "observerd-run-note.prom").read_text()
    assert 'observerd_job_last_exit_code{job_name="note"} 0.0' in left


def test_a_metrics_port_that_is_taken_does_not_keep_jobs_from_running(sqs, daemon):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        sqs.send_job("note")
        with daemon(["--once"], metrics_listen=f"127.0.0.1:{taken.getsockname()[1]}") as running:
            assert running.status() == 0

    assert len(running.said("metrics not served")) == 1
    assert len(ledger(running)) == 1


def test_without_cloudwatch_the_output_is_in_the_journal(sqs, daemon, tmp_path):
    running = daemon(["--once"])
    (tmp_path / "jobs.d" / "talk.toml").write_text('[job.talk]\ncommand = ["/bin/echo", "a word"]\n')
    sqs.send_job("talk")
    with running:
        assert running.status() == 0

    assert any(line.startswith("talk/") and line.endswith(": a word") for line in running.lines)


def test_the_events_of_a_short_life_are_in_cloudwatch_to_the_last(sqs, daemon):
    """The last scrape of such a worker is always lost; its last lines are not."""
    sqs.send_job("note")
    with LogsServer() as server:
        environ = {"AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": server.url}
        with daemon(["--once"], environ, log_group=GROUP, stack="cron") as running:
            assert running.status() == 0

    [stream] = [name for name in server.logs.streams if name.startswith("_events/")]
    events = [json.loads(line) for line in server.logs.lines(stream)]
    counted = {key: each[key] for each in events for key in each if key in ("JobSucceeded", "WorkerSeconds")}
    assert ["worker_up", "received", "started", "ended", "settled", "worker_left"] == sorted(
        (each["event"] for each in events), key=STAGES.index
    )
    assert 1 == counted["JobSucceeded"]
    assert 0 < counted["WorkerSeconds"] < 120


def test_with_cloudwatch_down_the_job_runs_is_settled_and_its_output_is_in_the_journal(sqs, daemon, tmp_path):
    environ = {"AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": "http://127.0.0.1:1"}
    running = daemon(["--once"], environ, log_group="/observerd/jobs", flush_timeout="2s")
    (tmp_path / "jobs.d" / "talk.toml").write_text('[job.talk]\ncommand = ["/bin/echo", "a word"]\n')
    sqs.send_job("talk")
    with running:
        assert running.status() == 0

    assert sqs.bodies() == []
    assert any(line.startswith("talk/") and line.endswith(": a word") for line in running.lines)


def test_a_job_sees_none_of_the_daemons_environment(sqs, daemon, tmp_path):
    running = daemon(["--once"], environ={"NOTIFY_SOCKET": "/no-such-directory", "SECRET": "s"})
    (tmp_path / "jobs.d" / "env.toml").write_text('[job.env]\ncommand = ["/usr/bin/env"]\n')
    sqs.send_job("env")
    with running:
        assert running.status() == 0

    seen = {line.split(": ", 1)[1].split("=")[0] for line in running.lines if line.startswith("env/")}
    assert {"OBSERVERD_JOB", "OBSERVERD_DEADLINE", "PATH", "HOME"} <= seen
    assert not seen & {"NOTIFY_SOCKET", "SECRET", "AWS_SECRET_ACCESS_KEY"}


# ---- configuration


def test_a_job_file_that_others_may_write_is_refused(daemon, tmp_path):
    running = daemon()
    (tmp_path / "jobs.d" / "jobs.toml").chmod(0o666)
    with running:
        assert running.status() == 78

    (line,) = running.lines
    assert "jobs.d/jobs.toml" in line
    assert "chmod" in line


def test_every_fault_of_the_configuration_is_told_at_once(daemon):
    with daemon(slots=0, idle_timeout="soon") as running:
        assert running.status() == 78

    assert len(running.lines) == 2


# ---- in the background


@pytest.fixture
def in_background(sqs, daemon, tmp_path):
    """in_background(**config) is a started daemon and its process's id; killed at the end."""
    started = []

    def start(**config):
        arguments = ["--daemonize", "--pidfile", str(tmp_path / "pid"), "--log-file", str(tmp_path / "log")]
        polls = sqs.calls.count("ReceiveMessage")
        with daemon(arguments, **config) as launcher:
            assert launcher.status() == 0
        sqs.wait_for(lambda fake: fake.calls.count("ReceiveMessage") > polls)
        started.append(int((tmp_path / "pid").read_text()))
        return launcher, started[-1]

    yield start
    for pid in filter(is_running, started):
        os.kill(pid, signal.SIGKILL)
        eventually(lambda pid=pid: not is_running(pid))


def start_again(launcher):
    """A second start of the same: its status, and what it says to the terminal."""
    done = subprocess.run(
        (sys.executable, "-m", "observerd", "run", "--config", launcher.config, *launcher.arguments),
        cwd=ROOT, env=launcher.environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_in_the_background_it_holds_a_lock_and_told_to_stop_it_sees_its_job_to_the_end(
    sqs, in_background, tmp_path
):
    # With no slot free there is no poll whose end it would wait for.
    launcher, pid = in_background(slots=1)
    sqs.send_job("until")
    launcher.wait_for_ledger("start")
    refused = start_again(launcher)
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: '"message": "stop requested"' in (tmp_path / "log").read_text())
    (tmp_path / "ledger.go").touch()
    eventually(lambda: not is_running(pid))

    pidfile = tmp_path / "pid"
    assert (75, f"observerd: already running as process {pid} ({pidfile} is locked)\n") == refused
    assert ["start", "end"] == [line.split()[0] for line in ledger(launcher)]
    assert [] == sqs.bodies()
    last = json.loads((tmp_path / "log").read_text().splitlines()[-1])
    assert "leaving" == last["message"], "the log is whole"


def test_in_the_background_it_is_cut_off_from_where_it_was_started(in_background, tmp_path):
    with (tmp_path / "inherited").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        _, pid = in_background()
    process = Path(f"/proc/{pid}")
    opened = {entry.name: str(entry.readlink()) for entry in (process / "fd").iterdir()}

    assert ["/dev/null", *[str(tmp_path / "log")] * 2] == [opened[name] for name in "012"]
    assert str(tmp_path / "inherited") not in opened.values()
    assert Path("/") == (process / "cwd").readlink()
    assert os.getsid(0) != os.getsid(pid) != pid, "no terminal can become its own"
    assert "Umask:\t0027" in (process / "status").read_text().splitlines()


def test_in_the_background_its_files_are_not_everybodys(in_background, tmp_path):
    """Jobs' output is in the log. Whoever may read the pidfile may lock it, and keep the next start out."""
    before = os.umask(0o022)
    try:
        in_background()
    finally:
        os.umask(before)

    assert [0o640, 0o600] == [(tmp_path / name).stat().st_mode & 0o777 for name in ("log", "pid")]


def test_a_pidfile_that_a_killed_daemon_left_is_no_obstacle(in_background, tmp_path):
    _, first = in_background()
    os.kill(first, signal.SIGKILL)
    eventually(lambda: not is_running(first))
    # As after a reboot: that number is another's now, and longer than ours.
    (tmp_path / "pid").write_text(f"{os.getpid()}0000\n")
    _, second = in_background()

    assert second != first
    assert is_running(second)
    assert f"{second}\n" == (tmp_path / "pid").read_text()


def test_a_log_that_is_cut_in_place_goes_on_from_its_beginning(in_background, tmp_path):
    """As logrotate's copytruncate does it."""
    _, pid = in_background()
    log = tmp_path / "log"
    eventually(lambda: "serving" in log.read_text())
    os.truncate(log, 0)
    os.kill(pid, signal.SIGHUP)
    eventually(lambda: "configuration reloaded" in log.read_text())

    assert log.read_text().startswith("{")


def test_what_ends_it_in_the_background_is_in_its_log(sqs, daemon, tmp_path):
    """The terminal has gone by then."""
    log = tmp_path / "log"
    arguments = ["--daemonize", "--pidfile", str(tmp_path / "pid"), "--log-file", str(log)]
    with daemon(arguments, queue_url=sqs.url("nowhere")) as launcher:
        assert launcher.status() == 0

    eventually(lambda: log.exists() and "nowhere" in log.read_text())
    eventually(lambda: not is_running(int((tmp_path / "pid").read_text())))
