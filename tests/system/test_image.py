"""An image of workers is made, and a worker started from it."""

import hashlib
import io
import shutil
import tarfile

import pytest

from tests.system.machine import Machine
from tests.system.packages import ROOT

JOBS = '[job.fetch]\ncommand = ["/usr/local/bin/fetch"]\n'
PROGRAM = "#!/bin/sh\necho fetched by $(id -un)\n"
SCRIPT = ROOT / "packaging/image/provision.sh"


@pytest.fixture
def builder(shim, package):
    """A machine with the package and the jobs in /tmp, and nothing installed yet."""
    with Machine(binds=(SCRIPT,)) as machine:
        files = machine.root / "root"
        shutil.copy(shim, files / "shim.rpm")
        shutil.copy(package, files / "observerd.rpm")
        _pack(files / "jobs.tar.gz")
        machine.run("rpm", "--install", "/root/shim.rpm")
        # Its /tmp is not the directory that is seen from here.
        machine.run("cp", "/root/observerd.rpm", "/root/jobs.tar.gz", "/tmp")
        yield machine


def _pack(archive):
    """As on the machine of whoever writes jobs: owned by them."""
    with tarfile.open(archive, "w:gz") as tar:
        for path, text, mode in (
            ("etc/observerd/jobs.d/fetch.toml", JOBS, 0o644),
            ("usr/local/bin/fetch", PROGRAM, 0o755),
        ):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode, entry.uid, entry.gid = len(text), mode, 1000, 1000
            tar.addfile(entry, io.BytesIO(text.encode()))


def provision(machine, **changed):
    sums = {"RPM_SHA256": "observerd.rpm", "JOBS_SHA256": "jobs.tar.gz"}
    files = {name: (machine.root / "root" / file).read_bytes() for name, file in sums.items()}
    variables = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assignments = (f"{name}={value}" for name, value in {**variables, **changed}.items())
    return machine.run("env", *assignments, SCRIPT, check=False)


def test_a_worker_from_the_image_runs_its_jobs_as_soon_as_it_has_its_stacks_file(builder, cloud):
    done = provision(builder)
    assert 0 == done.returncode, done.stdout
    assert "" == builder.run("find", "/tmp", "-maxdepth", "1", "-type", "f").stdout
    assert "ok: 1 job, 1 file" in done.stdout
    cloud.configure(builder, jobs="")
    cloud.sqs.send_job("fetch")
    builder.reboot()

    cloud.wait_for_line("fetched by observerd")


@pytest.mark.parametrize(
    ("name", "file"), [("RPM_SHA256", "/tmp/observerd.rpm"), ("JOBS_SHA256", "/tmp/jobs.tar.gz")]
)
def test_what_is_not_what_was_meant_ends_the_build(name, file, builder):
    done = provision(builder, **{name: "0" * 64})

    assert 0 != done.returncode
    assert f"{file}: FAILED\n" in done.stdout
    assert not (builder.root / "etc/observerd/jobs.d/fetch.toml").exists()


def test_a_job_with_a_fault_ends_the_build(builder):
    builder.write("/etc/observerd/jobs.d/broken.toml", "[job.broken]\n")
    done = provision(builder)

    assert 0 != done.returncode
    assert "/etc/observerd/jobs.d/broken.toml: job.broken.command: not set" in done.stdout
