"""The systemd executor where there is a systemd: in a machine."""

import sys

from tests.system.machine import Machine
from tests.system.packages import ROOT


def test_the_systemd_executor_keeps_what_executors_promise_and_what_only_it_does():
    with Machine(binds=(ROOT,)) as machine:
        done = machine.run(
            "env", f"--chdir={ROOT}", "PYTHONDONTWRITEBYTECODE=1",
            sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/system/in_machine_executor.py",
            check=False, timeout_s=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
