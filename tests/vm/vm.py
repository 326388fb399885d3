"""A virtual machine, for what a kernel must enforce that systemd-nspawn's host does not let it: Debian's own,
with cgroups of version 2 alone, as Amazon Linux 2023 has. Emulated, so that it runs anywhere.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

from tests.system.packages import ROOT

PACKAGES = "systemd,systemd-sysv,dbus,python3"
HERE = Path(__file__).parent
# Ends the machine, whatever becomes of the check.
UNIT = """
[Unit]
After=dbus.service
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /opt/check/in_vm.py
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
"""


def results(directory):
    """What tests/vm/in_vm.py printed in the machine: [{...}, ...]. Everything is made in directory."""
    image, kernel = _image(directory), _kernel(directory)
    console, said = directory / "console", directory / "results"
    _run(
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048",
        "-nographic", "-nodefaults", "-no-reboot", "-serial", f"file:{console}", "-serial", f"file:{said}",
        "-kernel", kernel, "-initrd", image,
        "-append", "console=ttyS0 panic=-1 quiet rdinit=/lib/systemd/systemd systemd.show_status=0",
        cwd=directory, timeout=300,
    )  # fmt: skip
    text = said.read_text()
    assert text, console.read_text(errors="replace")
    return [json.loads(line) for line in text.splitlines()]


def _image(directory):
    """A root file system, as the kernel unpacks it into memory."""
    root = directory / "root"
    without = (f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in ("doc", "man", "locale"))
    _run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", *without, "bookworm", root)
    shutil.copytree(ROOT / "observerd", root / "opt/check/observerd")
    shutil.copy(HERE / "in_vm.py", root / "opt/check")
    units = root / "etc/systemd/system"
    (units / "check.service").write_text(UNIT)
    (units / "multi-user.target.wants/check.service").symlink_to("../check.service")
    (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
    _run("sh", "-ec", "find . | cpio --create --format=newc --quiet | zstd -1 -q >../image", cwd=root)
    return directory / "image"


def _kernel(directory):
    depends = _run("apt-cache", "depends", "linux-image-cloud-amd64")
    name = re.search(r"linux-image-\S+", depends.partition("\n")[2])[0]
    _run("apt-get", "download", "--quiet", "--quiet", name, cwd=directory)
    (package,) = directory.glob(f"{name}_*.deb")
    _run("dpkg", "--extract", package, directory / "kernel")
    (kernel,) = (directory / "kernel/boot").glob("vmlinuz-*")
    return kernel


def _run(*command, cwd=None, timeout=300):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout
