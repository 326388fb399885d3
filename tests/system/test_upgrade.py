"""The package is replaced and goes, on a machine that is at work; and what a boot makes of it."""

import shutil

from tests.support import eventually

JOBS = """
[job.long]
command = ["/bin/sh", "-c", "echo long begins; until [ -e /var/lib/go ]; do sleep 0.1; done; echo long ends"]
user = "root"
grace = "1s"
"""
DEFAULTS = "/etc/observerd/observerd.toml"
EDITED = 'log_level = "debug"\n'


def start(machine, cloud):
    cloud.configure(machine, JOBS)
    machine.run("systemctl", "start", "observerd.service")


def begin(machine, cloud):
    """Start, and have a job run until there is /var/lib/go."""
    start(machine, cloud)
    cloud.sqs.send_job("long")
    cloud.wait_for_line("long begins")


def outputs(cloud):
    """The lines of each run."""
    return [lines for name, lines in cloud.streams.items() if name.startswith("long/")]


def dnf(machine, *command):
    """A minute at most; what is not on the machine is not to be had."""
    return machine.run("dnf", "--assumeyes", "--setopt=reposdir=/nonexistent", *command)


def upgrade(machine, package):
    shutil.copy(package, machine.root / "root")
    dnf(machine, "upgrade", f"/root/{package.name}")


# ---- upgrades


def test_an_upgrade_waits_for_no_job_and_the_job_comes_to_its_end(worker, cloud, next_package):
    begin(worker, cloud)
    old = worker.unit("observerd.service", "MainPID")
    upgrade(worker, next_package)

    worker.wait_for_unit("observerd.service", ActiveState="deactivating")
    assert old == worker.unit("observerd.service", "MainPID")
    cloud.sqs.send_job("long")
    worker.write("/var/lib/go", "")
    worker.wait_for_unit("observerd.service", ActiveState="active", SubState="running")
    eventually(lambda: [] == cloud.sqs.bodies())
    assert old != worker.unit("observerd.service", "MainPID")
    assert "observerd 0.2.0\n" == worker.run("observerd", "--version").stdout
    assert [["long begins", "long ends"]] * 2 == outputs(cloud)


def test_what_a_daemon_needs_until_its_end_it_has_read(worker, cloud):
    """During an upgrade the files are another version's: what it would read then would not fit."""
    begin(worker, cloud)
    worker.run("mv", "/usr/lib/observerd", "/usr/lib/observerd.replaced")
    worker.run("systemctl", "stop", "--no-block", "observerd.service")
    worker.write("/var/lib/go", "")

    worker.wait_for_unit("observerd.service", ActiveState="inactive", Result="success")
    assert [["long begins", "long ends"]] == outputs(cloud)
    assert [] == cloud.sqs.bodies()
    assert "Traceback" not in worker.journal("observerd.service")


def test_an_upgrade_keeps_what_was_edited_and_puts_new_defaults_beside_it(worker, next_package):
    worker.write(DEFAULTS, EDITED, 0o640)
    worker.run("systemctl", "disable", "observerd.service")
    upgrade(worker, next_package)

    assert EDITED == worker.read(DEFAULTS)
    assert "# Of 0.2.0.\n" in worker.read(f"{DEFAULTS}.rpmnew")
    assert {"UnitFileState": "disabled"} == worker.unit("observerd.service", "UnitFileState")
    differs = worker.run("rpm", "--verify", "observerd", check=False).stdout.splitlines()
    assert [DEFAULTS] == [line.split()[-1] for line in differs]


def test_a_removal_gives_the_job_back_and_leaves_what_was_written_here(worker, cloud):
    begin(worker, cloud)
    worker.write(DEFAULTS, EDITED, 0o640)
    dnf(worker, "remove", "observerd")

    (message,) = cloud.sqs.queues["jobs"].messages
    assert message.visible_at <= cloud.sqs.now()
    assert "0\n" == worker.run("pgrep", "--count", "observerd", check=False).stdout
    expected = {"LoadState": "not-found", "ActiveState": "inactive"}
    assert expected == worker.unit("observerd.service", *expected)
    assert [] == list((worker.root / "etc/systemd/system").rglob("observerd*"))
    assert EDITED == worker.read(f"{DEFAULTS}.rpmsave")
    assert JOBS == worker.read("/etc/observerd/jobs.d/jobs.toml")
    assert not (worker.root / "usr/lib/observerd").exists()


# ---- boots

# As cloud-init's own are ordered. User data is run in its network stage.
CLOUD_INIT = {
    "cloud-init.service": """
[Unit]
Before=cloud-config.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'sleep 1; mv /root/50-stack.toml /etc/observerd/conf.d/'
""",
    "cloud-config.target": """
[Unit]
After=cloud-init.service
Wants=cloud-init.service
""",
    "cloud-final.service": """
[Unit]
After=cloud-config.target multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/true
""",
    "cloud-init.target": """
[Unit]
After=multi-user.target
Wants=cloud-config.target cloud-final.service
""",
}


def test_the_first_boot_with_user_data_starts_it_once_they_are_written(worker, cloud):
    assert {"ConditionResult": "no"} == worker.unit("observerd.service", "ConditionResult")
    cloud.configure(worker, JOBS)
    worker.run("mv", "/etc/observerd/conf.d/50-stack.toml", "/root")
    for name, text in CLOUD_INIT.items():
        worker.write(f"/etc/systemd/system/{name}", text)
    worker.run("systemctl", "add-wants", "multi-user.target", "cloud-init.target")
    cloud.sqs.send_job("long")
    worker.write("/var/lib/go", "")
    worker.reboot()

    cloud.wait_for_line("long ends")
    worker.wait_for_unit("observerd.service", ActiveState="active", NRestarts="0")
    assert "ordering cycle" not in worker.run("journalctl", "--no-pager", "--boot").stdout
