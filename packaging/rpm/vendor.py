"""Unpacks the locked wheels into the RPM: what a daemon needs of them, and their licences.

Wheels of pure Python are archives to be unpacked; no pip is needed, so the package builds offline anywhere.
"""

import argparse
import re
import shutil
import sys
import zipfile
from pathlib import Path

# What installers keep for themselves, and what runs by other doors than ours.
LEFT_OUT = re.compile(
    r"[^/]+\.(data/.*|dist-info/(RECORD|WHEEL|INSTALLER|REQUESTED|top_level\.txt|entry_points\.txt))"
)
LICENSE = re.compile(
    r"(?P<dist>[^/]+)-[^/-]+\.dist-info/(?:licenses/)?(?P<file>(LICEN[CS]E|NOTICE|COPYING)[^/]*)"
)
# python-daemon: of its build scripts and tests, neither of which is in its wheel.
NOT_OURS = "LICENSE.GPL-3"
# Not of a service, but of all.
COMMON_DATA = ("endpoints.json", "partitions.json", "_retry.json", "sdk-default-configuration.json")


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("lock", "wheels", "services", "licenses", "into"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = parser.parse_args()
    for wheel in locked_wheels(given.lock, given.wheels):
        unpack(wheel, given.into, given.licenses)
    prune(given.into, services_of(given.services))


def locked_wheels(lock: Path, wheels: Path) -> list[Path]:
    """The wheel of each locked distribution. Exits unless there are these and no others."""
    versions = dict(re.findall(r"^([a-z0-9-]+)==(\S+) ", lock.read_text(), re.MULTILINE))
    found = {_name_and_version(wheel): wheel for wheel in sorted(wheels.glob("*.whl"))}
    if found.keys() != versions.items():
        sys.exit(f"wheels do not match {lock}: {sorted(found.keys() ^ versions.items())}")
    return list(found.values())


def _name_and_version(wheel: Path) -> tuple[str, str]:
    name, version, *tags = wheel.stem.split("-")
    if tags[-2:] != ["none", "any"]:
        sys.exit(f"{wheel.name}: not pure Python; the package is for every architecture")
    return re.sub(r"[-_.]+", "-", name).lower(), version


def unpack(wheel: Path, into: Path, licenses: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if found := LICENSE.fullmatch(name):
                _write(archive, name, licenses / found["dist"] / found["file"])
            elif not LEFT_OUT.fullmatch(name) and not name.endswith("/"):
                _write(archive, name, into / name)


def _write(archive: zipfile.ZipFile, name: str, file: Path) -> None:
    if file.name == NOT_OURS:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    text = archive.read(name)
    # A module is imported, not run.
    file.write_bytes(re.sub(rb"\A#![^\n]*\n", b"", text) if file.suffix == ".py" else text)


def services_of(file: Path) -> frozenset[str]:
    return frozenset(line for line in file.read_text().splitlines() if line and not line.startswith("#"))


def prune(vendor: Path, services: frozenset[str]) -> None:
    """Nine tenths of it all are the models of AWS's services."""
    data = vendor / "botocore/data"
    for entry in data.iterdir():
        if entry.is_dir() and entry.name not in services:
            shutil.rmtree(entry)
        elif entry.is_file() and entry.name not in COMMON_DATA:
            sys.exit(f"{entry}: neither a service nor known")
    if missing := services - {entry.name for entry in data.iterdir()}:
        sys.exit(f"botocore has no {', '.join(sorted(missing))}")
    for examples in data.glob("*/*/examples-1.json*"):
        examples.unlink()
    # Of boto3's resources, an interface that we do not use.
    shutil.rmtree(vendor / "boto3/data")


if __name__ == "__main__":
    main()
