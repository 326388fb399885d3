import shutil
import subprocess

import pytest

from tests.system import packages
from tests.system.cloud import Cloud
from tests.system.machine import Machine


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    """Here nothing may be skipped: a test that cannot run has not passed."""
    _refuse_skip((yield).get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report():
    """Nor a whole file."""
    _refuse_skip((yield).get_result())


def _refuse_skip(report):
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, and nothing may be here: {report.longrepr}"


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """The RPM of the working tree."""
    return packages.build(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def next_package(tmp_path_factory):
    """The same of a later version."""
    root = packages.copy_of_sources(tmp_path_factory.mktemp("next"))
    return packages.build(root / "dist", packages.with_version(root, "0.2.0"))


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    return packages.build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session")
def installed(package, shim, tmp_path_factory):
    """A layer over the host's root: the package installed, as an image has it."""
    base = tmp_path_factory.mktemp("installed")
    # On a file system of its own: overlayfs refuses a layer that lies within the one below it.
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=1g,mode=755", "tmpfs", base), check=True)
    layer = base / "layer"
    with Machine() as machine:
        for each in (shim, package):
            shutil.copy(each, machine.root / "root")
            machine.run("rpm", "--install", f"/root/{each.name}")
        machine.run("systemctl", "poweroff", "--no-block")
        machine.wait_for_end()
        # With what overlayfs says of removed files, which is in devices and extended attributes.
        subprocess.run(("cp", "--archive", machine.written, layer), check=True)
    yield layer
    subprocess.run(("umount", "--lazy", base), check=True)


@pytest.fixture
def cloud():
    with Cloud() as cloud:
        yield cloud


@pytest.fixture
def worker(installed):
    """A booted machine with the package installed, and no stack's file yet: observerd is not started."""
    with Machine(layers=(installed,)) as machine:
        yield machine
