"""Packages, built for the tests."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SOURCES = (
    *("LICENSE", "README.md", "CHANGELOG.md"),
    *("docs", "monitoring", "observerd", "packaging", "requirements"),
)


def build(into, root=ROOT, command=(), **environ):
    """The RPM of the sources in root, for the python3.11 that Debian has."""
    command = (*command, root / "packaging/rpm/build.sh", sys.executable, "python3.11", into)
    _run(*command, env={**os.environ, **environ})
    (package,) = into.glob("observerd-*.noarch.rpm")
    return package


def copy_of_sources(into):
    """The same sources elsewhere."""
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, into / name)
    return into


def with_version(root, version):
    """The sources in root, as those of another version, with other defaults."""
    spec, module = root / "packaging/rpm/observerd.spec", root / "observerd/__init__.py"
    with (root / "docs/examples/observerd.toml").open("a") as defaults:
        defaults.write(f"# Of {version}.\n")
    spec.write_text(re.sub(r"(?m)^(Version: +).*", rf"\g<1>{version}", spec.read_text()))
    module.write_text(re.sub(r'"[0-9.]+"', f'"{version}"', module.read_text()))
    return root


def build_shim(into):
    spec = Path(__file__).with_name("shim.spec")
    _run("rpmbuild", "-bb", "--quiet", "--nodeps", "--define", f"_topdir {into}", spec)
    (package,) = into.glob("RPMS/noarch/*.rpm")
    return package


def _run(*command, env=None):
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, check=False
    )
    assert done.returncode == 0, f"{command}: status {done.returncode}\n{done.stdout}"
