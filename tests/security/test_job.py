"""A job that means ill, run by the direct executor of a real daemon. What systemd holds it to besides is in
tests/system/ and tests/vm/."""

import json
import os
import pwd
import re
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from tests.daemon import Daemon
from tests.fake_logs import GROUP, LogsServer
from tests.support import eventually, is_running

SECRET = "the-daemons-own-secret"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts jobs as another user")
STRANGER = "nobody"
MIB = 1 << 20


@pytest.fixture
def directory():
    """Strangers get through to it. pytest's own are their owner's alone; each start makes them so again."""
    with tempfile.TemporaryDirectory(prefix="observerd-security-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def daemon(sqs, directory):
    """daemon(jobs, **config): one whose jobs may write into their ledger."""
    sqs.queues["jobs"].redrive = "dead"
    (directory / "ledger").touch()
    (directory / "ledger").chmod(0o666)

    def make(jobs, **config):
        environ = {"AWS_SECRET_ACCESS_KEY": SECRET, **config.pop("environ", {})}
        return Daemon(
            sqs, directory, f"{jobs}\n[job.good]\nshell = 'echo good >>LEDGER'\n", (), environ, **config
        )

    return make


def says(daemon, count=1):
    return daemon.wait_for("run ended", count)


def serves_on(sqs, daemon):
    """Whether the next job is done as ever."""
    sqs.send_job("good")
    daemon.wait_for_ledger("good")
    return daemon.process.poll() is None


# ---- what it sees


@AS_ROOT
def test_it_has_its_users_rights_and_none_of_the_daemons(sqs, daemon):
    script = 'grep -E "^(Uid|Gid|Groups|Cap)" /proc/self/status >>LEDGER'
    with daemon(f"[job.ask]\nuser = '{STRANGER}'\nshell = '{script}'\n") as running:
        sqs.send_job("ask")
        says(running)
    entry = pwd.getpwnam(STRANGER)
    told = dict(line.split(":\t") for line in running.ledger.read_text().splitlines())

    assert [str(entry.pw_uid)] * 4 == told["Uid"].split()
    assert [str(entry.pw_gid)] * 4 == told["Gid"].split()
    assert os.getgrouplist(STRANGER, entry.pw_gid) == [int(each) for each in told["Groups"].split()]
    assert {"0"} == {told[name].lstrip("0") or "0" for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}


@AS_ROOT
def test_it_cannot_read_the_daemon(sqs, daemon):
    """Its environment, its memory, its descriptors: there are the credentials, and other jobs' payloads."""
    script = (
        "for file in environ mem maps fd/0 fdinfo/0 cwd/x; do"
        " head -c 99 /proc/$PPID/$file >>LEDGER 2>/dev/null && echo READ $file >>LEDGER; done;"
        " ls /proc/$PPID/fd >>LEDGER 2>/dev/null; echo asked >>LEDGER"
    )
    with daemon(f"[job.spy]\nuser = '{STRANGER}'\nshell = '{script}'\n") as running:
        sqs.send_job("spy")
        running.wait_for_ledger("asked")

    assert "asked\n" == running.ledger.read_text()


def test_it_is_told_nothing_of_the_daemons_environment_and_log_has_no_secret(sqs, daemon):
    with daemon("[job.env]\nshell = 'env >>LEDGER; echo asked >>LEDGER'\n", log_level="debug") as running:
        sqs.send_job("env")
        running.wait_for_ledger("asked")
        says(running)
        running.signal()
        running.status()

    assert SECRET not in running.ledger.read_text()
    assert SECRET not in "\n".join(running.lines)


# ---- what it does to the daemon


@AS_ROOT
def test_it_can_end_neither_the_daemon_nor_the_warden(sqs, daemon):
    script = "kill -9 $PPID; for each in $(cat /proc/$PPID/task/*/children); do kill -9 $each; done"
    with daemon(f"[job.kill]\nuser = '{STRANGER}'\nshell = '{script}'\n") as running:
        sqs.send_job("kill")
        says(running)

        assert serves_on(sqs, running)


NULS = """
import os
piece = bytes(1 << 20)
for _ in range(150):
    view = memoryview(piece)
    while view:
        view = view[os.write(1, view):]
"""


@pytest.mark.parametrize("cloudwatch", ["up", "down"])
def test_a_line_of_150_mebibytes_of_nul_costs_no_memory(cloudwatch, sqs, daemon):
    command = json.dumps([sys.executable, "-I", "-S", "-c", NULS])
    with LogsServer() as logs:
        if cloudwatch == "down":
            logs.logs.lets_through.clear()
        environ = {"AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": logs.url}
        jobs = f"[job.flood]\ncommand = {command}\n"
        with daemon(jobs, log_group=GROUP, flush_timeout="1s", environ=environ) as running:
            assert serves_on(sqs, running)
            before = peak_bytes(running)
            sqs.send_job("flood")
            ended = says(running, 2)
            grown = peak_bytes(running) - before
        logs.logs.lets_through.set()

    assert ("succeeded", True) == (ended["outcome"], grown < 80 * MIB), f"{grown / MIB:.0f} MiB"


def peak_bytes(running):
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024


def test_its_lines_cannot_be_taken_for_the_daemons(sqs, daemon):
    """Without CloudWatch they are in the same journal: a forged priority, and a forged line of ours."""
    forged = '{"message": "run ended", "job": "bill", "outcome": "succeeded"}'
    jobs = f"[job.forge]\ncommand = {json.dumps(['printf', '<0>panic%s%s', chr(10), forged])}\n"
    with daemon(jobs) as running:
        sqs.send_job("forge")
        says(running)

    assert [] == [line for line in running.lines if line.startswith("<0>")]
    assert ["forge"] == [line["job"] for line in running.said("run ended")]


# ---- what it leaves behind


# Each child forks the next and is gone, 20,000 times over: whoever kills one by one comes too late.
RABBIT = """
import os, sys, time
with open(sys.argv[1], "a") as ledger:
    print("rabbit", os.getpid(), file=ledger)
if os.fork():
    os._exit(0)
for _ in range(20_000):
    if os.fork():
        os._exit(0)
time.sleep(600)
"""


def test_it_cannot_outlive_its_end_by_forking_faster_than_it_is_killed(sqs, daemon):
    command = json.dumps([sys.executable, "-I", "-S", "-c", RABBIT, "LEDGER"])
    with daemon(f"[job.rabbit]\ncommand = {command}\n") as running:
        sqs.send_job("rabbit")
        ended = says(running)
        group = int(running.ledger.read_text().split()[1])

        assert "succeeded" == ended["outcome"]
        eventually(lambda: not members(group), 5.0)


def members(group):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rsplit(")", 1)[1].split()[:3]
        except OSError:
            continue
        found += [stat.parent.name] if int(its_group) == group and state != "Z" else []
    return found


def test_one_that_stops_itself_is_ended_by_its_timeout(sqs, daemon):
    script = "echo halt $$ >>LEDGER; kill -STOP $$; echo on >>LEDGER"
    with daemon(f"[job.halt]\nshell = '{script}'\ntimeout = '0.5s'\ngrace = '0.2s'\n") as running:
        sqs.send_job("halt")
        ended = says(running)

        assert ("timeout", "halt") == (ended["outcome"], running.ledger.read_text().split()[0])
        assert not is_running(int(running.ledger.read_text().split()[1]))
        assert serves_on(sqs, running)


def test_one_that_flees_its_group_holds_neither_its_slot_nor_its_message(sqs, daemon):
    """It lives on: what only a unit of its own can prevent (docs/security.md)."""
    flight = "setsid sh -c 'echo fled \\$\\$ >>LEDGER; exec sleep 600' & sleep 0.3"
    with daemon(f'[job.flee]\nshell = "{flight}"\n'.replace("\\$", "$")) as running:
        sqs.send_job("flee")
        ended = says(running)
        fled = int(running.ledger.read_text().split()[1])
        try:
            assert ("succeeded", "deleted") == (ended["outcome"], ended["settled"])
            assert serves_on(sqs, running)
        finally:
            os.kill(fled, signal.SIGKILL)


def test_what_it_prints_at_its_end_is_safe_evidence(sqs, daemon):
    command = json.dumps(
        ["/bin/sh", "-c", r"printf '\033[2J\000\302\233\r\a\ttab \342\200\256 end'; exit 64"]
    )
    with daemon(f"[job.draw]\ncommand = {command}\n"):
        sqs.send_job("draw")
        sqs.wait_for(lambda fake: fake.bodies("dead"))
    [dead] = sqs.queues["dead"].messages

    lines = dead.attributes["ObserverdLastLines"]["StringValue"]
    assert not set(lines) & set("\x1b\0\x9b\r\a")
    assert lines.endswith("end")
