"""The life of a worker as an operator sees it: the real package on a real systemd, and an emulated AWS."""

from tests.support import eventually
from tests.system.cloud import INSTANCE

JOBS = """
[job.hello]
shell = "grep -q /observerd-job-hello- /proc/self/cgroup && echo hello from $(id -un)"

[job.slow]
command = ["/bin/sh", "-c", "echo slow begins; echo x >>/var/lib/runs; exec sleep 300"]
user = "root"
grace = "1s"
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


def test_a_shutdown_ends_the_jobs_and_gives_their_messages_back(worker, cloud):
    start(worker, cloud)
    cloud.sqs.send_job("slow")
    cloud.wait_for_line("slow begins")
    worker.run("systemctl", "poweroff", "--no-block")
    worker.wait_for_end()

    (message,) = cloud.sqs.queues["jobs"].messages
    assert message.visible_at <= cloud.sqs.now()


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
