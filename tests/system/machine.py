"""A machine with a real systemd as PID 1: systemd-nspawn over a copy-on-write view of this host's own root.

Half a second to boot. What it cannot do here: enforce memory, task and CPU limits, raise resource limits.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

from tests.support import eventually

CGROUPS = Path("/sys/fs/cgroup")
# What the host would start too, were it booted so: consoles, and services of the image's own.
MASKED = ("getty.target", "console-getty.service", "systemd-logind.service", "e2scrub_reap.service")
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "SYSTEMD_COLORS": "0",
    "SYSTEMD_PAGER": "",
}


class Machine:
    """with Machine() as machine: it is booted, and gone afterwards with all that was written in it.

    layers are directories laid over the host's root, the first uppermost. binds are directories of the host
    seen at the same path inside, read-only. options are systemd-nspawn's.
    """

    def __init__(self, layers=(), binds=(), options=()):
        self.name = f"observerd-{uuid.uuid4().hex[:8]}"
        self._layers = [*map(str, layers), "/"]
        self._options = (*(f"--bind-ro={each}" for each in binds), *options)
        self._leader = None

    def __enter__(self):
        with contextlib.ExitStack() as undo:
            self.mount(undo)
            self.boot()
            undo.callback(self.cut_power)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_):
        self._undo.close()

    def mount(self, undo):
        """The machine's files, at self.root, and what is written in it, at self.written."""
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        undo.callback(self.directory.rmdir)
        _run("mount", "-t", "tmpfs", "-o", "size=2g,mode=755", "tmpfs", self.directory)
        undo.callback(_run, "umount", "--lazy", self.directory)
        self.root, self.written, work = (self.directory / name for name in ("root", "written", "work"))
        for each in (self.root, self.written, work):
            each.mkdir()
        layers = f"lowerdir={':'.join(self._layers)},upperdir={self.written},workdir={work}"
        _run("mount", "-t", "overlay", "-o", layers, "overlay", self.root)
        undo.callback(_run, "umount", "--lazy", self.root)
        if self._layers == ["/"]:
            self._forget_the_host()

    def _forget_the_host(self):
        units = self.root / "etc/systemd/system"
        shutil.rmtree(units, ignore_errors=True)
        units.mkdir(parents=True)
        (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
        for unit in MASKED:
            (units / unit).symlink_to("/dev/null")
        for each in ("var/lib/rpm", "root/.rpmdb", "var/log/journal"):
            shutil.rmtree(self.root / each, ignore_errors=True)
        (self.root / "etc/machine-id").write_text("")
        # Debian's rpm keeps its database in the caller's home otherwise.
        (self.root / "etc/rpm").mkdir(exist_ok=True)
        (self.root / "etc/rpm/macros.db").write_text("%_dbpath /var/lib/rpm\n")

    def boot(self):
        """Start it, and wait until systemd says that it is up."""
        self._groups = [each / self.name for each in _hierarchies()]
        for group in self._groups:
            group.mkdir(exist_ok=True)
        address = self.directory / "notify"
        address.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(address))
            notify.settimeout(60)
            self._start(address)
            self._wait_until_up(notify)

    def _start(self, notify_address):
        # Without cgroups of its own, two machines would share systemd's and fight.
        enter = 'until [ "$1" = -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift; exec "$@"'
        # A nspawn that dies by KILL leaves its machine running: when pytest dies it gets TERM.
        command = (
            "setpriv", "--pdeathsig", "TERM", "systemd-nspawn", "--quiet", "--boot", "--directory", self.root,
            "--machine", self.name, "--register=no", "--keep-unit", "--notify-ready=yes",
            "--console=read-only", "--capability=all", "--system-call-filter=bpf", *self._options,
        )  # fmt: skip
        with (self.directory / "console").open("ab") as console:
            self._nspawn = subprocess.Popen(
                ("sh", "-c", enter, "sh", *self._groups, "--", *command),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "NOTIFY_SOCKET": str(notify_address),
                    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
                },
            )

    def _wait_until_up(self, notify):
        up = False
        while not up or self._leader is None:
            try:
                lines = notify.recv(4096).decode().splitlines()
            except TimeoutError:
                raise AssertionError(f"no boot in a minute:\n{self.console()}") from None
            up = up or "READY=1" in lines
            for line in lines:
                if line.startswith("X_NSPAWN_LEADER_PID="):
                    self._leader = int(line.partition("=")[2])

    def cut_power(self):
        """End it at once: PID 1 of its namespace dies, and everything in it."""
        if self._leader is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._leader, signal.SIGKILL)
        self.wait_for_end()

    def reboot(self):
        """Shut it down in order and boot it anew."""
        self.run("systemctl", "poweroff", "--no-block")
        self.wait_for_end()
        self.boot()

    def wait_for_end(self):
        """Wait until it is off, and take its cgroups away."""
        try:
            self._nspawn.wait(60)
        finally:
            self._nspawn.kill()
            self._leader = None
        for group in self._groups:
            for below, _, _ in os.walk(group, topdown=False):
                eventually(lambda below=below: _removed(Path(below)))

    def console(self):
        return (self.directory / "console").read_text(errors="replace")

    def command(self, *command):
        """What to run on the host so that it runs inside."""
        return ("nsenter", "-t", str(self._leader), "-m", "-p", "-u", "-i", "-n", "--", *command)

    def run(self, *command, check=True, timeout_s=60):
        """Run a command inside as root, standard error with the output."""
        done = subprocess.run(
            self.command(*command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=ENVIRONMENT,
            timeout=timeout_s,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: status {done.returncode}\n{done.stdout}"
        return done

    def write(self, path, text, mode=0o644):
        """A file of root's, at an absolute path of the machine's."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def read(self, path):
        return (self.root / path.lstrip("/")).read_text()

    def unit(self, name, *properties):
        """{property: value} of a unit, as `systemctl show` tells them."""
        shown = self.run("systemctl", "show", name, f"--property={','.join(properties)}").stdout
        return dict(line.split("=", 1) for line in shown.splitlines())

    def wait_for_unit(self, name, timeout_s=60, **properties):
        """Wait until all these properties of the unit have these values."""
        deadline = time.monotonic() + timeout_s
        while (found := self.unit(name, *properties)) != properties:
            assert time.monotonic() < deadline, f"{name}: {found} and not {properties}\n{self.journal(name)}"
            time.sleep(0.05)

    def journal(self, unit):
        """What the unit said, the text of each entry a line."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}").stdout


def _hierarchies():
    """Where the host's cgroups are. systemd wants its named one and the unified one, on hosts with both."""
    found = [each for each in (CGROUPS / "unified", CGROUPS / "systemd") if each.is_dir()]
    return found or [CGROUPS]


def _removed(group):
    # A group whose last process has just died is busy for a moment.
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _run(*command):
    subprocess.run(command, check=True)
