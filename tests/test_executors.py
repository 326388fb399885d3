"""The direct executor at the suite of all executors, which one is chosen, and what a unit's end means."""

import errno
import os
import pwd
import signal
from pathlib import Path

import pytest

from observerd.bell import Bell
from observerd.config import Loaded
from observerd.core.events import Cause, Outcome
from observerd.core.job import Job
from observerd.core.run import Ended, outcome_of, reason_of
from observerd.executors import choice, systemd
from observerd.executors.direct import DirectExecutor
from observerd.executors.systemd import Record, _Program, concluded, unit_options
from observerd.keys import Config
from tests import executor_suite
from tests.executor_suite import *  # noqa: F403 its tests run here
from tests.executor_suite import ESCAPE, Lab, a_run
from tests.support import is_running


@pytest.fixture
def lab():
    if os.geteuid() != 0:
        pytest.skip("only root can run a job as somebody else")
    lab = Lab(DirectExecutor("nobody", {"COMMON": "yes"}), "direct")
    yield lab
    lab.close()


def test_an_escapee_that_holds_the_output_cannot_hold_the_run(lab):
    ended = lab.python(ESCAPE)

    escapee = int(lab.output)
    try:
        assert (0, True) == (ended.exit_code, ended.leaked)
        assert is_running(escapee)
    finally:
        os.kill(escapee, signal.SIGKILL)


# ---- which one


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """machine(...) makes this process see a machine of that kind."""

    def make(*, booted=True, uid=0, has_systemd_run=True, no_new_privileges=False):
        (tmp_path / "systemd-run").write_text("")
        (tmp_path / "systemd-run").chmod(0o755 if has_systemd_run else 0o644)
        (tmp_path / "status").write_text(f"Seccomp:\t2\nNoNewPrivs:\t{int(no_new_privileges)}\nThreads:\t1\n")
        monkeypatch.setattr(choice, "SYSTEMD_RUN", str(tmp_path / "systemd-run"))
        monkeypatch.setattr(choice, "_BOOTED", tmp_path if booted else tmp_path / "missing")
        monkeypatch.setattr(choice, "_PROCESS", tmp_path / "status")
        monkeypatch.setattr("os.geteuid", lambda: uid)

    return make


def test_auto_takes_systemd_where_it_is_pid_1_and_we_are_root(machine):
    machine()

    assert "systemd" == choice.choose("auto", {})


@pytest.mark.parametrize(
    ("lacking", "why"),
    [
        ({"booted": False}, "systemd is not running here"),
        ({"uid": 1000}, "only root may start units"),
        ({"has_systemd_run": False}, "there is no "),
    ],
)
def test_without_one_of_these_auto_takes_direct_and_systemd_is_refused(lacking, why, machine):
    machine(**lacking)

    assert "direct" == choice.choose("auto", {"INVOCATION_ID": "1"})
    with pytest.raises(choice.Unsuitable, match=why) as refused:
        choice.choose("systemd", {})
    assert 'set executor = "direct" or "auto"' in str(refused.value)


def test_direct_is_refused_in_a_locked_down_unit(machine):
    machine(no_new_privileges=True)

    with pytest.raises(choice.Unsuitable, match=r'executor = "direct": this unit is locked down') as refused:
        choice.choose("direct", {"INVOCATION_ID": "1"})
    assert "\n" not in str(refused.value)
    assert "systemd" == choice.choose("auto", {"INVOCATION_ID": "1"})


def test_what_auto_falls_back_to_is_refused_there_as_well(machine):
    machine(no_new_privileges=True, has_systemd_run=False)

    with pytest.raises(choice.Unsuitable, match=r"which is what is left: there is no .*systemd-run"):
        choice.choose("auto", {"INVOCATION_ID": "1"})


def test_a_container_without_new_privileges_is_no_locked_down_unit(machine):
    machine(booted=False, no_new_privileges=True)

    assert "direct" == choice.choose("auto", {})


def test_a_limit_that_the_direct_executor_does_not_keep_is_told():
    limits = {"memory_max": 1 << 30, "tasks_max": 9, "cpu_quota": "50%", "cpu_weight": 5, "io_weight": 5}
    jobs = {"a": Job("a", ("true",), **limits), "b": Job("b", ("true",))}
    loaded = Loaded(Config(), jobs, {"job.a": "jobs.d/a.toml", "job.b": "jobs.d/b.toml"}, (), ())

    assert [f"jobs.d/a.toml: job.a.{key}: not enforced by the direct executor" for key in limits] == list(
        choice.unkept(loaded.run_by("direct"))
    )
    assert [] == list(choice.unkept(loaded.run_by("systemd")))


# ---- what a unit's end means

# (what systemd records, whether it was asked to stop) -> outcome
ENDS = [
    ("success exited 0 1000 - -", False, Outcome.SUCCEEDED),
    ("success exited 0 1000 - -", True, Outcome.INTERRUPTED),
    ("success killed TERM 1000 - -", True, Outcome.INTERRUPTED),
    ("success killed TERM 1000 - -", False, Outcome.FAILED),
    ("signal killed KILL 1000 - -", False, Outcome.FAILED),
    ("signal killed RTMIN+6 1000 - -", False, Outcome.FAILED),
    ("core-dump dumped SEGV 1000 - -", False, Outcome.FAILED),
    ("exit-code exited 3 1000 - -", False, Outcome.FAILED),
    ("oom-kill killed KILL 1000 4096 1", False, Outcome.OUT_OF_MEMORY),
    ("signal killed KILL 1000 4096 1", False, Outcome.OUT_OF_MEMORY),
    ("exit-code exited 1 1000 4096 1", False, Outcome.OUT_OF_MEMORY),
    ("timeout killed TERM 1000 - -", False, Outcome.TIMED_OUT),
    ("timeout exited 0 1000 - -", False, Outcome.TIMED_OUT),
    ("timeout killed KILL 1000 - -", True, Outcome.INTERRUPTED),
    ("resources - - - - -", False, Outcome.FAILED),
    ("exit-code exited 0 1000 - -", False, Outcome.FAILED),
    (None, False, Outcome.FAILED),
    (None, True, Outcome.INTERRUPTED),
]


@pytest.mark.parametrize(("text", "stopped", "outcome"), ENDS)
def test_only_what_systemd_calls_a_success_and_nobody_stopped_has_succeeded(text, stopped, outcome):
    run = a_run("/bin/true")
    record = None if text is None else Record.read(text)

    ended = concluded(Ended(exit_code=0), record, "words\n", lambda _: None, stopped=stopped)

    assert outcome is outcome_of(ended, run.job)
    assert 1 == sum(each is not None for each in (ended.exit_code, ended.signal, ended.fault))


@pytest.mark.parametrize(("cause", "outcome"), [(Cause.STOP, "interrupted"), (Cause.LEASE_LOST, "lost")])
def test_why_we_ended_it_outweighs_what_systemd_says(cause, outcome):
    run, record = a_run("/bin/true"), Record.read("success exited 0 1 - -")

    ended = concluded(Ended(exit_code=0, cause=cause), record, "", lambda _: None, stopped=True)

    assert outcome == outcome_of(ended, run.job).value


def test_out_of_memory_names_the_limit():
    run = a_run("/bin/true", memory_max=512 << 20)
    record = Record.read("oom-kill killed KILL 1000 536870912 1")

    ended = concluded(Ended(exit_code=255), record, "", lambda _: None, stopped=False)

    assert "out of memory: it needed more than its memory_max of 512M" == reason_of(ended, run.job)
    assert (0.001, 536_870_912) == (ended.cpu_s, ended.max_rss_bytes)


def test_what_systemd_run_complains_of_is_the_fault():
    words = "Failed to start transient service unit: Connection timed out\n"

    ended = concluded(Ended(exit_code=1), None, words, lambda _: None, stopped=False)

    assert (
        "systemd did not run it: Failed to start transient service unit: Connection timed out" == ended.fault
    )


@pytest.mark.parametrize(("status", "fault"), [(203, "cannot start '/bin/true'"), (3, None)])
def test_an_exit_status_of_systemds_own_is_a_fault(status, fault):
    told = _Program(a_run("/bin/true"), "/bin").fault(status)

    assert fault == (told and told[: len(fault)])


def test_an_exit_status_that_the_job_gives_a_meaning_is_its_own_and_not_systemds():
    run = a_run("/bin/true", success_exit_codes=frozenset({203}))

    assert None is _Program(run, "/bin").fault(203)


def test_a_script_that_exits_with_127_was_started():
    assert None is _Program(a_run("/bin/true", working_directory="/usr"), "/bin").fault(127)


class Entry:
    pw_name, pw_uid = "nobody", 65_534


def test_limits_become_the_units_properties():
    run = a_run(
        "/bin/true", memory_max=1 << 30, tasks_max=9, cpu_quota="50%", cpu_weight=5, io_weight=6, nice=3
    )

    assert {
        "MemoryMax=1073741824", "TasksMax=9", "CPUQuota=50%", "CPUWeight=5", "IOWeight=6", "Nice=3",
        "User=nobody", "BindsTo=anchor.service", "PrivateTmp=yes",
        "IPAddressDeny=169.254.169.254 fd00:ec2::254",
    } <= set(unit_options(run, Entry, "anchor.service", 20.0))  # fmt: skip


def test_a_job_may_do_without_the_sandbox_and_with_the_metadata_service():
    options = unit_options(a_run("/bin/true", sandbox=False, metadata_access=True), Entry, "a", 20.0)

    assert [] == [each for each in options if each.startswith(("Private", "Protect", "IPAddress", "Lock"))]


def test_no_option_of_an_ordinary_users_job_implies_no_new_privileges():
    """sudo and sendmail would break (systemd.exec(5), NoNewPrivileges)."""
    implying = (
        "Lock",
        "Restrict",
        "ProtectClock",
        "ProtectHost",
        "ProtectKernel",
        "PrivateDev",
        "SystemCall",
    )

    assert [] == [
        each for each in unit_options(a_run("/bin/true"), Entry, "a", 20.0) if each.startswith(implying)
    ]


def test_the_suite_is_run_whole():
    own = {name for name in vars(executor_suite) if name.startswith("test_")}

    assert own <= set(globals())


def test_only_root_can_enter_where_the_variables_of_runs_lie(tmp_path):
    left_over = tmp_path / "jobs" / "of-a-killed-daemon.environment"
    left_over.parent.mkdir(mode=0o755)
    left_over.touch()
    before = os.umask(0)
    try:
        directory = systemd._own_directory({"RUNTIME_DIRECTORY": f"{tmp_path}:/other"})
    finally:
        os.umask(before)

    assert (tmp_path / "jobs", 0o700) == (directory, directory.stat().st_mode & 0o777)
    assert [] == list(directory.iterdir())


def test_a_full_disk_leaves_no_half_of_a_runs_variables(tmp_path, monkeypatch):
    """/run is small: what is left there by each try would keep every later one from its start."""
    executor = systemd.SystemdExecutor("root", {}, 20.0, {"RUNTIME_DIRECTORY": str(tmp_path)})
    before = sorted((tmp_path / "jobs").iterdir())
    write = Path.write_text

    def half(path, text):
        write(path, text[: len(text) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="No space"):
        executor.run(a_run("true", user=pwd.getpwuid(os.geteuid()).pw_name), print, Bell())

    assert before == sorted((tmp_path / "jobs").iterdir())
