"""The machine that the other tests of this directory stand on."""

from tests.system.machine import Machine


def test_a_machine_is_up_has_a_real_systemd_and_forgets_what_was_written(tmp_path):
    with Machine(binds=(tmp_path,)) as machine:
        assert "systemd\n" == machine.run("cat", "/proc/1/comm").stdout
        assert "running\n" == machine.run("systemctl", "is-system-running", "--wait").stdout
        machine.run("touch", "/etc/written")
        assert (machine.root / "etc/written").exists()
        directory, written = machine.directory, machine.written
        machine.reboot()
        assert "running\n" == machine.run("systemctl", "is-system-running", "--wait").stdout
        assert (written / "etc/written").exists()

    assert not directory.exists()
