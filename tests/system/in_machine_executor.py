"""The systemd executor at the suite of all executors, and what only it promises. Run inside of a machine, by
test_executor.py."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from observerd.core.events import Cause, Outcome
from observerd.executors.systemd import SystemdExecutor
from tests.executor_suite import *  # noqa: F403 its tests run here
from tests.executor_suite import ESCAPE, Lab, outcome
from tests.support import eventually, is_running

UP = "echo up; while :; do sleep 0.05; done"


@pytest.fixture
def lab():
    lab = Lab(SystemdExecutor("nobody", {"COMMON": "yes"}, 20.0, {}), "systemd")
    yield lab
    lab.close()


def systemctl(*arguments):
    done = subprocess.run(("systemctl", *arguments), capture_output=True, text=True, check=False, timeout=60)
    return done.stdout


def units(pattern="observerd-job-*"):
    return [
        line.split()[0] for line in systemctl("list-units", "--plain", "--no-legend", pattern).splitlines()
    ]


def the_unit():
    (unit,) = units()
    return unit


def shown(*properties):
    text = systemctl("show", the_unit(), f"--property={','.join(properties)}")
    return dict(line.split("=", 1) for line in text.splitlines())


def test_a_job_has_a_unit_that_says_what_it_is(lab):
    join = lab.start(UP, memory_max=1 << 30, tasks_max=9, cpu_quota="50%", cpu_weight=5, io_weight=6)
    lab.wait_for(b"up")

    assert the_unit().startswith("observerd-job-tidy-0123456789abcdef-")
    assert {
        "Description": "tidy, run 0123456789abcdef, attempt 1",
        "Slice": "observerd-jobs.slice",
        "User": "nobody",
        "MemoryMax": "1073741824",
        "TasksMax": "9",
        "CPUQuotaPerSecUSec": "500ms",
        "CPUWeight": "5",
        "IOWeight": "6",
    } == shown(
        "Description", "Slice", "User", "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec", "CPUWeight", "IOWeight"
    )
    lab.bell.ring(Cause.STOP, None)
    join()


@pytest.mark.parametrize("script", [UP, f"trap 'exit 0' TERM; {UP}"])
def test_a_job_that_was_stopped_from_outside_has_not_succeeded_and_is_given_back(script, lab):
    join = lab.start(script)
    lab.wait_for(b"up")

    systemctl("stop", the_unit())

    ended = join()
    assert (Cause.OUTSIDE, Outcome.INTERRUPTED) == (ended.cause, outcome(ended))


def test_a_job_that_was_killed_from_outside_has_failed(lab):
    join = lab.start(UP)
    lab.wait_for(b"up")

    systemctl("kill", "--signal=TERM", the_unit())

    assert Outcome.FAILED is outcome(join())


@pytest.fixture
def held_up():
    """held_up(seconds): PID 1 does not start the process of a job's unit before so long."""
    directory = Path("/run/systemd/system")
    drop_in = directory / "observerd-job-tidy-.service.d"

    def hold_up(seconds):
        (directory / "slow.service").write_text(f"[Service]\nType=oneshot\nExecStart=sleep {seconds}\n")
        drop_in.mkdir()
        (drop_in / "slow.conf").write_text("[Unit]\nWants=slow.service\nAfter=slow.service\n")
        systemctl("daemon-reload")

    yield hold_up
    shutil.rmtree(drop_in)
    (directory / "slow.service").unlink()
    systemctl("stop", "slow.service")
    systemctl("daemon-reload")


def test_a_bell_rung_before_there_is_a_process_ends_it_when_there_is(lab, held_up):
    held_up(1)
    lab.bell.ring(Cause.STOP, 0.0)

    ended = lab.sh("sleep 600")

    assert (signal.SIGKILL, Cause.STOP) == (ended.signal, ended.cause)
    eventually(lambda: not units())


def test_a_bell_rung_before_there_is_a_process_waits_no_longer_than_pid_1_may_take(lab, held_up, monkeypatch):
    monkeypatch.setattr("observerd.executors.systemd.ANSWER_S", 1.0)
    held_up(600)
    lab.bell.ring(Cause.STOP, 0.0)

    ended = lab.sh("sleep 600")

    assert (None, Cause.STOP, Outcome.INTERRUPTED) == (ended.exit_code, ended.cause, outcome(ended))
    eventually(lambda: not units())


def test_a_stop_of_observerd_itself_does_not_touch_its_jobs(lab):
    """It drains them. BindsTo=observerd.service would end them at once."""
    subprocess.run(("systemd-run", "--quiet", "--unit=observerd.service", "sleep", "600"), check=True)
    join = lab.start("echo up; sleep 1; echo done")
    lab.wait_for(b"up")

    systemctl("stop", "observerd.service")

    assert (0, b"up\ndone\n") == (join().exit_code, lab.output)


def test_an_escapee_dies_with_its_job(lab):
    ended = lab.python(ESCAPE)

    assert (0, False) == (ended.exit_code, ended.leaked)
    assert not is_running(int(lab.output))


def test_when_systemd_run_is_killed_its_job_is_ended_and_given_back(lab):
    join = lab.start(f"echo $$; {UP}")
    lab.wait_for(b"up")
    job = int(lab.output.split()[0])
    found = subprocess.run(("pgrep", "--full", the_unit()), capture_output=True, text=True, check=True)
    waiting = [int(line) for line in found.stdout.splitlines()]

    for process in waiting:
        os.kill(process, 9)

    ended = join()
    assert (1, Outcome.INTERRUPTED) == (len(waiting), outcome(ended))
    assert not is_running(job)


def test_when_the_anchor_is_stopped_the_jobs_end_and_the_next_one_gets_another(lab):
    join = lab.start(UP)
    lab.wait_for(b"up")

    systemctl("stop", *units("observerd-anchor-*"))

    ends = [outcome(join())]
    eventually(lambda: ends.append(outcome(lab.run("/bin/true"))) or ends[-1] is Outcome.SUCCEEDED)
    # One more may have been about to start when the anchor went.
    assert {Outcome.INTERRUPTED} == set(ends[:-1])


@pytest.mark.parametrize("how", ["daemon-reload", "daemon-reexec"])
def test_a_reload_of_systemd_does_not_disturb_a_job(how, lab):
    go = Path("/run/go-on")
    script = f"echo up; read -r _; until [ -e {go} ]; do sleep 0.05; done; echo $ODD; exit 3"
    join = lab.start(script, environment={"ODD": "$a"}, payload="x")
    lab.wait_for(b"up")

    systemctl(how)
    # The command may be over before PID 1 answers again; systemd-run, which asks it at the end, would say so.
    eventually(lambda: systemctl("is-system-running").strip() in ("running", "degraded"))
    go.touch()

    assert (3, b"up\n$a\n") == (join().exit_code, lab.output)
    go.unlink()


def test_a_job_may_remove_the_directory_it_works_in(lab):
    Path("/run/short-lived").mkdir()

    ended = lab.sh("pwd; rmdir /run/short-lived", user="root", working_directory="/run/short-lived")

    assert (0, b"/run/short-lived\n") == (ended.exit_code, lab.output)


def test_nothing_of_a_run_is_left_behind(lab):
    directory = lab.executor._directory
    assert Outcome.SUCCEEDED is outcome(lab.sh("exit 0"))
    assert Outcome.FAILED is outcome(lab.sh("exit 1"))

    assert ["note-stop", "record"] == sorted(each.name for each in directory.iterdir())
    eventually(lambda: not units())
    lab.executor.close()
    eventually(lambda: not units("observerd-anchor-*"))
    assert not directory.exists()


def test_others_can_read_the_variables_of_a_job_nowhere(lab):
    join = lab.start(UP, environment={"TOKEN": "hidden-word"})
    lab.wait_for(b"up")

    lines = [entry.read_bytes() for entry in Path("/proc").glob("[0-9]*/cmdline")]

    assert "hidden-word" not in systemctl("show", the_unit())
    assert [] == [line for line in lines if b"hidden-word" in line]
    assert 0o700 == lab.executor._directory.stat().st_mode & 0o777
    lab.bell.ring(Cause.STOP, None)
    join()


REACH = """
import socket
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("169.254.169.254", 80))
    print("reached")
except PermissionError:
    print("denied")
except OSError as error:
    print("no route", error)
"""


def test_the_metadata_service_is_out_of_reach_unless_the_job_says_so(lab):
    lab.python(REACH)
    assert b"denied\n" == lab.output
    lab.output = b""

    lab.python(REACH, metadata_access=True)

    assert b"denied\n" != lab.output
    assert lab.output.startswith((b"reached", b"no route"))


def test_a_sandboxed_job_has_a_tmp_of_its_own_and_sees_no_others(lab):
    Path("/tmp/of-all").touch()
    script = f"ls /tmp; [ -d /proc/{os.getpid()} ] && echo seen"

    lab.sh(script)
    assert b"" == lab.output

    lab.sh(script, sandbox=False)
    assert b"of-all\n" in lab.output
    assert b"seen\n" in lab.output


@pytest.mark.parametrize(("user", "expected"), [("nobody", b"NoNewPrivs:\t0"), ("root", b"NoNewPrivs:\t0")])
def test_a_job_may_gain_privileges_as_cron_lets_it(user, expected, lab):
    lab.run("/bin/cat", "/proc/self/status", user=user)

    assert expected in lab.output


def test_a_program_that_the_daemons_own_sandbox_hides_runs_all_the_same(lab):
    program = Path("/home/batch/run")
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text("#!/bin/sh\necho hidden\n")
    program.chmod(0o755)

    answer = _in_a_unit(
        ["InaccessiblePaths=/home/batch"], "exec", "hidden", jobs=f'[job.hidden]\ncommand = ["{program}"]\n'
    )

    assert (0, "hidden\n") == (answer.returncode, answer.stdout)


# As a daemon that can do nothing itself any more (packaging/systemd/observerd.service).
LOCKED = [
    "CapabilityBoundingSet=", "NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateTmp=no",
    "ProtectControlGroups=yes", "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "RuntimeDirectory=observerd",
    "ProcSubset=pid", "ProtectProc=invisible", "RestrictNamespaces=yes", "SystemCallFilter=@system-service",
]  # fmt: skip


def _in_a_unit(properties, *arguments, jobs, executor="auto"):
    etc = Path("/run/etc-observerd")
    (etc / "jobs.d").mkdir(parents=True, exist_ok=True)
    (etc / "observerd.toml").write_text(
        f'default_user = "nobody"\nexecutor = "{executor}"\nqueue_url = "http://127.0.0.1:1/q/jobs"\n'
        'region = "eu"\n'
    )
    (etc / "jobs.d/jobs.toml").write_text(jobs)
    options = [f"--property={each}" for each in properties]
    command = (sys.executable, "-m", "observerd", *arguments, "--config", str(etc / "observerd.toml"))
    return subprocess.run(
        ("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--same-dir", *options, *command),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_daemon_without_any_right_of_its_own_starts_jobs_as_their_users(lab):
    jobs = '[job.who]\nshell = "id -un; grep CapBnd /proc/self/status"\nuser = "daemon"\n'

    answer = _in_a_unit(LOCKED, "exec", "who", jobs=jobs)

    assert (0, "daemon") == (answer.returncode, answer.stdout.split()[0])
    assert "0000000000000000" not in answer.stdout


def test_the_direct_executor_is_refused_in_a_locked_down_unit_with_one_line(lab):
    answer = _in_a_unit(LOCKED, "run", jobs="", executor="direct")

    assert (78, 1) == (answer.returncode, len(answer.stderr.splitlines()))
    assert 'observerd: executor = "direct": this unit is locked down' in answer.stderr
