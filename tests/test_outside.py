"""terminate and drain, as OnFailure= and people ask for them: each branch, on a fake group."""

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from observerd import outside
from observerd.cli import main
from observerd.keys import Config
from observerd.metadata import Imds
from observerd.outside import NotDone, daemon_pid, drain, give_up, instance_of, power_off, terminate
from tests.fake_ec2 import HOOK, FakeEc2

ROOT = Path(__file__).parent.parent


@pytest.fixture
def ec2(monkeypatch):
    with FakeEc2() as machine:
        known = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
        for name, value in (machine.environ | known).items():
            monkeypatch.setenv(name, value)
        yield machine


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """commands(name, script): what such a command does; no other is found."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", str(place))

    def command(name, script):
        (place / name).write_text(f"#!/bin/sh\n{script}\n")
        (place / name).chmod(0o755)

    return command


def ended(ec2, daemon=None, hook=HOOK, pauses=None):
    instance = instance_of(Config(lifecycle_hook=hook), Imds(ec2.environ))
    return give_up(instance, "failed", daemon, hook, ([] if pauses is None else pauses).append)


def refused(ec2, **how):
    with pytest.raises(NotDone) as fault:
        ended(ec2, **how)
    return fault.value.status, str(fault.value)


def test_it_ends_the_instance_shrinks_the_group_and_completes_the_hook(ec2):
    assert "given up (failed): i-0123; lifecycle hook completed: drain" == ended(ec2)
    assert (0, "Terminated") == (ec2.desired, ec2.state)


def test_with_desired_at_zero_already_it_goes_without_decrement(ec2):
    ec2.desired = 0

    assert ended(ec2).startswith("given up (failed): i-0123")
    assert (0, "Terminated") == (ec2.desired, ec2.state)


def test_a_group_with_a_minimum_replaces_it(ec2):
    """An instance that does not serve is no use to a group that wants one that does."""
    ec2.minimum = 1

    assert ended(ec2).startswith("given up (failed): i-0123")
    assert (1, "Terminated") == (ec2.desired, ec2.state)


@pytest.mark.parametrize("code", ["ScalingActivityInProgress", "ResourceContention", "InternalFailure"])
def test_what_will_pass_is_tried_again_then_left_to_the_next_turn(code, ec2):
    ec2.answers["TerminateInstanceInAutoScalingGroup"] = (code, "not now")
    pauses = []

    status, text = refused(ec2, pauses=pauses)

    assert (75, 3, 4) == (status, len(pauses), ec2.count("TerminateInstanceInAutoScalingGroup"))
    assert text.startswith("not terminated (failed): ")
    assert "not now" in text


def test_a_group_that_is_busy_at_first_is_waited_for(ec2):
    ec2.answers["TerminateInstanceInAutoScalingGroup"] = ("ScalingActivityInProgress", "not now")
    instance = instance_of(Config(lifecycle_hook=HOOK), Imds(ec2.environ))

    done = give_up(instance, "failed", None, HOOK, lambda _: ec2.answers.clear())

    assert done.startswith("given up (failed): i-0123")


def test_an_answer_that_was_lost_does_not_shrink_the_group_twice(ec2):
    ec2.desired = 3
    ec2.answers["TerminateInstanceInAutoScalingGroup"] = "lost"

    assert ended(ec2).startswith("given up (failed): i-0123, which is ending already")
    assert (2, "Terminated") == (ec2.desired, ec2.state)


def test_one_turn_after_another_of_the_failure_unit_does_not_shrink_the_group_twice(ec2):
    """Each is a process that knows nothing of the one before."""
    ec2.desired = 3
    ended(ec2, hook=None)

    assert ended(ec2, hook=None).startswith("given up (failed): i-0123, which is ending already")
    assert (2, 1) == (ec2.desired, ec2.count("TerminateInstanceInAutoScalingGroup"))


def test_what_is_denied_is_not_tried_again(ec2):
    ec2.answers["TerminateInstanceInAutoScalingGroup"] = ("AccessDenied", "not authorized")

    status, text = refused(ec2)

    assert (69, 1) == (status, ec2.count("TerminateInstanceInAutoScalingGroup"))
    assert text.startswith("not terminated (denied): ")


def test_an_instance_of_no_group_has_nothing_to_give_up(ec2):
    ec2.state = None

    assert "given up (failed): i-0123 is in no Auto Scaling group" in ended(ec2, hook=None)


def test_a_hook_that_is_not_there_is_left_to_its_timeout(ec2):
    ec2.answers["CompleteLifecycleAction"] = ("ValidationError", "No active Lifecycle Action found")
    pauses = []

    done = ended(ec2, pauses=pauses)

    assert "drain ends after its timeout: " in done
    assert 30 == sum(pauses)


def test_without_a_known_hook_none_is_completed(ec2):
    assert ended(ec2, hook=None).endswith("a lifecycle hook, if the group has one, ends after its timeout")
    assert 0 == ec2.count("CompleteLifecycleAction")


def test_a_daemon_that_runs_finishes_its_jobs_under_the_hook(ec2):
    assert ended(ec2, daemon=17).endswith("process 17 finishes its jobs first")
    assert ("Terminating:Wait", 0) == (ec2.state, ec2.count("CompleteLifecycleAction"))


def test_a_daemon_that_no_hook_would_wait_for_keeps_the_instance(ec2):
    status, text = refused(ec2, daemon=17, hook=None)

    assert (69, "InService") == (status, ec2.state)
    assert "try observerd drain" in text


def test_without_metadata_it_is_left_to_the_next_turn(ec2):
    ec2.imds_works = False

    status, text = refused(ec2)

    assert 75 == status
    assert "instance metadata: " in text


@pytest.mark.parametrize("action", ["exit", "stay"])
def test_an_instance_that_is_meant_to_stay_does(action, ec2):
    done = terminate(Config(exit_action=action), "failed", Path("/none"))

    assert f'kept, as exit_action = "{action}" has it (failed)' == done
    assert [] == ec2.calls


def test_elsewhere_than_on_ec2_there_is_nothing_to_terminate(monkeypatch):
    monkeypatch.setattr(outside, "is_ec2", lambda _: False)

    with pytest.raises(NotDone, match="no EC2 instance") as fault:
        terminate(Config(), "failed", Path("/none"))

    assert 78 == fault.value.status


def test_where_leaving_means_to_power_off_it_does(ec2, commands, tmp_path):
    commands("systemctl", f'echo "$@" > {tmp_path}/asked')

    assert "powering off (failed)" == terminate(Config(exit_action="poweroff"), "failed", Path("/none"))
    assert (tmp_path / "asked").read_text().startswith("start ")
    assert (tmp_path / "asked").read_text().endswith(" poweroff.target\n")
    assert [] == ec2.calls


def test_a_power_off_that_is_refused_is_told_in_one_line(commands):
    commands("systemctl", 'echo "Access denied" >&2; exit 1')

    assert "systemctl: Access denied" == power_off()


def test_without_systemd_the_machine_is_shut_down(commands, tmp_path):
    commands("shutdown", f'echo "$@" > {tmp_path}/asked')

    assert power_off() is None
    assert "-h now\n" == (tmp_path / "asked").read_text()


@pytest.mark.usefixtures("commands")
def test_a_machine_that_cannot_be_powered_off_says_so():
    assert "neither systemctl nor shutdown is to be found" == power_off()


@pytest.mark.usefixtures("commands")
def test_a_configuration_with_faults_does_not_keep_a_dead_instance_alive(ec2, tmp_path, capsys):
    """A fault in it may be the very reason why nobody serves here. What can be read is kept to."""
    config = tmp_path / "observerd.toml"
    config.write_text('lifecycle_hook = "drain"\nslots = "many"\ntypo = 1\n')
    arguments = ("--config", str(config), "--pidfile", str(tmp_path / "none"))

    assert 0 == main(("terminate", "--reason", "failed", *arguments))
    assert (0, "Terminated") == (ec2.desired, ec2.state)
    told = capsys.readouterr()
    assert "given up (failed): i-0123; lifecycle hook completed: drain\n" == told.out
    assert ["slots" in told.err, "typo" in told.err] == [True, True]


@pytest.mark.usefixtures("commands")
def test_a_refusal_is_a_status_and_a_line(ec2, tmp_path, capsys):
    ec2.answers["TerminateInstanceInAutoScalingGroup"] = ("AccessDenied", "not authorized")
    config = tmp_path / "observerd.toml"
    config.write_text("")

    assert 69 == main(("terminate", "--config", str(config), "--pidfile", str(tmp_path / "none")))
    assert capsys.readouterr().err.startswith("observerd: not terminated (denied): ")


# ---- drain


@pytest.fixture
def sleeper():
    """A process that says when it is asked to drain, and then leaves when it is told to."""
    script = (
        "import signal, sys; signal.signal(signal.SIGUSR1, lambda *_: print('asked', flush=True));"
        "print('up', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        (sys.executable, "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert "up\n" == process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def pidfile(tmp_path, sleeper):
    """Locked, as a daemon in the background has it."""
    file = tmp_path / "pid"
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file.write_text(f"{sleeper.pid}\n")
        yield file


def test_the_daemon_in_the_background_is_asked_to_drain(sleeper, pidfile):
    assert f"process {sleeper.pid} takes no more messages" in drain(pidfile, None)
    assert "asked\n" == sleeper.stdout.readline()


def test_the_daemon_under_systemd_is_asked_to_drain(sleeper, commands, tmp_path):
    commands(
        "systemctl", f'test "$*" = "show --property=MainPID --value observerd.service" && echo {sleeper.pid}'
    )

    assert f"process {sleeper.pid} takes no more messages" in drain(tmp_path / "none", None)
    assert "asked\n" == sleeper.stdout.readline()


def test_it_waits_until_the_daemon_has_left(sleeper, pidfile):
    threading.Thread(target=lambda: (sleeper.stdout.readline(), sleeper.stdin.close())).start()

    assert f"process {sleeper.pid} has left" == drain(pidfile, 30.0)


def test_it_waits_no_longer_than_told(sleeper, pidfile):
    with pytest.raises(NotDone, match=f"process {sleeper.pid} has not left within 0.01s") as fault:
        drain(pidfile, 0.01)

    assert 75 == fault.value.status


@pytest.mark.parametrize("answer", ["echo 0", "echo", "exit 1"])
def test_where_no_daemon_runs_it_says_so(answer, commands, tmp_path):
    commands("systemctl", answer)
    left = tmp_path / "pid"
    left.write_text(str(os.getpid()))  # Its lock went with its process.

    with pytest.raises(NotDone, match="no daemon runs") as fault:
        drain(left, None)

    assert 69 == fault.value.status


def test_without_systemd_there_is_none_under_it(commands, tmp_path):
    assert daemon_pid(tmp_path / "none") is None


def test_a_wait_that_is_no_duration_is_wrong_usage(capsys):
    assert 64 == main(("drain", "--wait", "soon"))
    assert "observerd: --wait: not a duration: 'soon' (write 90s, 15m)\n" == capsys.readouterr().err
