"""The life of a worker as an operator sees it: the real package on a real systemd, and an emulated AWS."""

import pytest

from tests.fake_ec2 import INSTANCE
from tests.support import eventually

JOBS = """
[job.hello]
shell = "grep -q /observerd-job-hello- /proc/self/cgroup && echo hello from $(id -un)"

[job.slow]
command = ["/bin/sh", "-c", "echo slow begins; echo x >>/var/lib/runs; exec sleep 300"]
user = "root"
grace = "1s"
[job.brief]
command = ["/bin/sh", "-c", "echo brief begins; sleep 5; echo ended >>/var/lib/runs"]
user = "root"
"""
SLOW = "observerd-job-slow-*.service"


def start(machine, cloud, **settings):
    cloud.configure(machine, JOBS, **settings)
    done = machine.run("systemctl", "enable", "--now", "observerd.service", check=False)
    assert done.returncode == 0, machine.journal("observerd.service")


def test_a_machine_with_the_package_and_no_stack_stays_down_and_has_not_failed(worker):
    worker.run("systemctl", "start", "observerd.service")

    expected = {"ActiveState": "inactive", "ConditionResult": "no", "UnitFileState": "enabled"}
    assert expected == worker.unit("observerd.service", *expected)
    assert "" == worker.run("rpm", "--verify", "observerd").stdout


def test_a_message_is_run_and_an_idle_worker_gives_its_instance_up_and_stays_down(worker, cloud):
    """As its user, in a unit of its own."""
    cloud.sqs.send_job("hello")
    start(worker, cloud, idle_timeout="3s")

    assert cloud.wait_for_line("hello from observerd").startswith("hello/")
    worker.wait_for_unit("observerd.service", ActiveState="inactive", SubState="dead", Result="success")
    assert {"NRestarts": "0"} == worker.unit("observerd.service", "NRestarts")
    (given_up,) = cloud.asked("TerminateInstanceInAutoScalingGroup")
    assert (INSTANCE, "true") == (given_up["InstanceId"], given_up["ShouldDecrementDesiredCapacity"])
    assert 1 == len(cloud.asked("CompleteLifecycleAction"))
    assert [] == cloud.sqs.bodies()
    verified = worker.run("rpm", "--verify", "observerd", check=False).stdout.splitlines()
    assert ["/etc/sysconfig/observerd"] == [each.split()[-1] for each in verified], (
        "and nothing it wrote itself"
    )


def test_systemctl_status_shows_what_it_is_doing(worker, cloud):
    start(worker, cloud)
    cloud.sqs.send_job("slow")
    cloud.wait_for_line("slow begins")

    worker.wait_for_unit("observerd.service", StatusText="running, 1/4 slots busy, queue jobs", timeout_s=20)


def test_killed_with_a_job_running_it_is_restarted_and_the_job_is_killed_with_it(worker, cloud):
    start(worker, cloud, visibility_timeout="10s")
    cloud.sqs.send_job("slow")
    cloud.wait_for_line("slow begins")
    (first,) = worker.run("systemctl", "list-units", "--plain", "--no-legend", SLOW).stdout.splitlines()
    worker.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "observerd.service")

    worker.wait_for_unit("observerd.service", NRestarts="1", ActiveState="active", SubState="running")
    eventually(lambda: worker.read("/var/lib/runs") == "x\nx\n", timeout_s=60)
    assert "1\n" == worker.run("pgrep", "--count", "--full", "^sleep 300").stdout
    (second,) = worker.run("systemctl", "list-units", "--plain", "--no-legend", SLOW).stdout.splitlines()
    assert first.split()[0] != second.split()[0]


def test_a_stop_that_does_not_wait_gives_the_message_back(worker, cloud):
    start(worker, cloud, drain_timeout="0s")
    cloud.sqs.send_job("slow")
    cloud.wait_for_line("slow begins")
    worker.run("systemctl", "stop", "observerd.service")

    worker.wait_for_unit("observerd.service", ActiveState="inactive", Result="success")
    assert "0\n" == worker.run("pgrep", "--count", "--full", "^sleep 300", check=False).stdout
    (message,) = cloud.sqs.queues["jobs"].messages
    assert message.visible_at <= cloud.sqs.now()


DROP_INS = "/usr/share/doc/observerd/drop-ins"
AS_CRON = """
[job.as-cron]
user = "root"
shell = '''
touch /usr/written /etc/written /root/written && chown nobody /usr/written || exit
setpriv --reuid nobody --clear-groups id -un && unshare --mount true && tail -1 /proc/self/cgroup
'''
[job.as-user]
shell = "id -un; umask; cat /proc/self/oom_score_adj"
"""


def test_relaxed_by_its_drop_in_the_daemon_runs_jobs_as_its_children_and_they_may_what_crons_may(
    worker, cloud
):
    cloud.configure(worker, AS_CRON, executor="direct")
    worker.write(
        "/etc/systemd/system/observerd.service.d/direct.conf", worker.read(f"{DROP_INS}/direct.conf")
    )
    worker.run("systemctl", "daemon-reload")
    worker.run("systemctl", "start", "observerd.service")
    cloud.sqs.send_job("as-cron")
    cloud.sqs.send_job("as-user")
    eventually(lambda: [] == cloud.sqs.bodies())

    output = {name.split("/")[0]: lines for name, lines in cloud.streams.items()}
    assert ["nobody", "0::/system.slice/observerd.service"] == output["as-cron"]
    assert ["observerd", "0022", "0"] == output["as-user"]


def test_held_to_a_network_by_its_drop_in_the_daemon_still_works(worker, cloud):
    worker.write(
        "/etc/systemd/system/observerd.service.d/network.conf", worker.read(f"{DROP_INS}/network.conf")
    )
    worker.run("systemctl", "daemon-reload")
    start(worker, cloud)
    cloud.sqs.send_job("hello")

    cloud.wait_for_line("hello from observerd")
    denied = worker.unit("observerd.service", "IPAddressDeny")["IPAddressDeny"]
    assert {"0.0.0.0/0", "::/0"} == set(denied.split())


def adjust(machine, **settings):
    """Settings of the service other than the package's: shorter waits, above all."""
    lines = "".join(f"{key}={value}\n" for key, value in settings.items())
    machine.write("/etc/systemd/system/observerd.service.d/test.conf", f"[Service]\n{lines}")
    machine.run("systemctl", "daemon-reload")


def test_a_stop_waits_for_a_job_for_longer_than_systemd_would_by_itself(worker, cloud):
    adjust(worker, TimeoutStopSec="2s")
    start(worker, cloud)
    cloud.sqs.send_job("brief")
    cloud.wait_for_line("brief begins")
    worker.run("systemctl", "stop", "observerd.service")

    expected = {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
    assert expected == worker.unit("observerd.service", *expected)
    assert "ended\n" == worker.read("/var/lib/runs")
    assert [] == cloud.sqs.bodies()


def test_a_daemon_whose_poll_hangs_is_killed_and_restarted(worker, cloud):
    """Its main thread is well: the watchdog is fed with what the poll gets done."""
    module = "/usr/lib/observerd/observerd/service.py"
    worker.run("sed", "--in-place", "s/^POLL_LIMIT_S = .*/POLL_LIMIT_S = 3.0/", module)
    worker.run("sh", "-c", "rm /usr/lib/observerd/observerd/__pycache__/service.*")
    adjust(worker, WatchdogSec="2s", RestartSec="100ms")
    start(worker, cloud)
    cloud.sqs.fail("ReceiveMessage", "hang")
    worker.wait_for_unit("observerd.service", NRestarts="1")
    cloud.sqs.mend()
    cloud.sqs.send_job("hello")

    cloud.wait_for_line("hello from observerd")
    journal = worker.journal("observerd.service")
    assert "Failed with result 'watchdog'." in journal
    assert 'observerd/receiver.py", line' in journal, "where each thread stood"


# ---- failing for good

GIVEN_UP = "TerminateInstanceInAutoScalingGroup"


def test_a_missing_queue_is_no_reason_to_try_again_and_the_instance_is_given_up(worker, cloud):
    cloud.configure(worker, JOBS, queue_url=cloud.sqs.url("nowhere"))
    worker.run("systemctl", "start", "observerd.service", check=False)

    expected = {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78", "NRestarts": "0"}
    worker.wait_for_unit("observerd.service", **expected)
    (told,) = [
        each for each in worker.journal("observerd.service").splitlines() if "receiving failed" in each
    ]
    assert "QueueDoesNotExist" in told
    assert cloud.sqs.url("nowhere") in told
    worker.wait_for_unit("observerd-failed.service", ActiveState="inactive", Result="success")
    eventually(lambda: cloud.asked("CompleteLifecycleAction"))
    (given_up,) = cloud.asked(GIVEN_UP)
    assert (INSTANCE, "true") == (given_up["InstanceId"], given_up["ShouldDecrementDesiredCapacity"])
    assert "given up (failed)" in worker.journal("observerd-failed.service")


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("observerd.toml", "slots = 0", "slots: must be 1 to 256: 0"),
        ("conf.d/60-more.toml", 'queue = "jobs"', "queue: unknown key (did you mean 'queue_url'?)"),
        ("conf.d/50-stack.toml", "", "queue_url: not set (set it there or in OBSERVERD_QUEUE_URL)"),
        ("jobs.d/jobs.toml", "[job.x", "not TOML: Expected ']' at the end of a table declaration"),
        ("jobs.d/jobs.toml", "[job.x]", "job.x.command: not set (write command = "),
    ],
)
def test_a_fault_of_the_configuration_is_one_line_and_the_instance_is_given_up(
    file, text, told, worker, cloud
):
    cloud.configure(worker, JOBS)
    # The metadata of the emulated instance has no identity document: its region comes from there.
    worker.write("/etc/observerd/conf.d/10-region.toml", 'region = "eu-west-1"\n')
    worker.write(f"/etc/observerd/{file}", f"{text}\n")
    refused = worker.run("systemctl", "start", "observerd.service", check=False)

    assert 0 != refused.returncode
    expected = {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78", "NRestarts": "0"}
    worker.wait_for_unit("observerd.service", **expected)
    lines = [
        each for each in worker.journal("observerd.service").splitlines() if each.startswith("observerd: ")
    ]
    assert 1 == len(lines), lines
    assert told in lines[0]
    assert "/etc/observerd/" in lines[0]
    eventually(lambda: cloud.asked(GIVEN_UP))


def test_jobs_are_not_run_as_children_of_a_daemon_that_is_locked_down(worker, cloud):
    cloud.configure(worker, JOBS, executor="direct")
    worker.run("systemctl", "start", "observerd.service", check=False)

    worker.wait_for_unit("observerd.service", ActiveState="failed", ExecMainStatus="78", NRestarts="0")
    (told,) = [line for line in worker.journal("observerd.service").splitlines() if "executor" in line]
    assert told.startswith('observerd: executor = "direct": this unit is locked down')
    assert "drop-in direct.conf" in told


@pytest.mark.parametrize(("status", "restarts"), [(64, "0"), (70, "5")])
def test_what_comes_back_the_same_is_not_tried_again_and_what_may_pass_is_five_times(
    status, restarts, worker, cloud
):
    cloud.configure(worker, JOBS)
    adjust(worker, RestartSec="100ms", ExecStart=f"\nExecStart=/bin/sh -c 'exit {status}'")
    worker.run("systemctl", "start", "observerd.service", check=False)

    eventually(lambda: 1 == len(cloud.asked(GIVEN_UP)))
    worker.wait_for_unit("observerd.service", ActiveState="failed", NRestarts=restarts)


def test_a_shutdown_ends_the_jobs_and_gives_their_messages_back_and_a_boot_goes_on(worker, cloud):
    start(worker, cloud)
    cloud.sqs.send_job("slow")
    cloud.wait_for_line("slow begins")
    worker.run("systemctl", "poweroff", "--no-block")
    worker.wait_for_end()

    (message,) = cloud.sqs.queues["jobs"].messages
    assert message.visible_at <= cloud.sqs.now()

    worker.boot()
    eventually(lambda: worker.read("/var/lib/runs") == "x\nx\n")


def test_a_reload_brings_a_new_job_and_a_bad_one_fails_and_keeps_the_old(worker, cloud):
    start(worker, cloud)
    worker.write("/etc/observerd/jobs.d/more.toml", '[job.new]\nshell = "echo new runs"\n')
    worker.run("systemctl", "reload", "observerd.service")
    cloud.sqs.send_job("new")
    cloud.wait_for_line("new runs")

    worker.write("/etc/observerd/jobs.d/more.toml", "[job.new]\ncommand = 7\n")
    refused = worker.run("systemctl", "reload", "observerd.service", check=False)
    journal = worker.journal("observerd.service")
    worker.wait_for_unit("observerd.service", ActiveState="active", SubState="running", NRestarts="0")
    cloud.sqs.send_job("new")
    eventually(lambda: 2 == sum(lines.count("new runs") for lines in cloud.streams.values()))

    assert 1 == refused.returncode
    (told,) = [line for line in journal.splitlines() if "configuration not reloaded" in line]
    assert "/etc/observerd/jobs.d/more.toml: job.new.command" in told
    assert "observerd: /etc/observerd/jobs.d/more.toml: job.new.command" in journal
