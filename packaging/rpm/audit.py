"""Whether a locked version is known to be vulnerable: audit.py ADVISORIES LOCK...

ADVISORIES is a checkout of github.com/pypa/advisory-database, one YAML file in the OSV schema an advisory. No
service is asked, so that it works where the gate has no network; what it does not know yet, it cannot find,
and so it says how old its newest advisory is. Status 1 if a version is affected.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]
from packaging.version import Version

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


class Pin(NamedTuple):
    name: str
    version: str
    lock: str


def pins(lock: Path) -> Iterator[Pin]:
    for name, version in _PIN.findall(lock.read_text()):
        yield Pin(re.sub(r"[-_.]+", "-", name).lower(), version, lock.name)


def advisories(directory: Path, name: str) -> Iterator[dict[str, Any]]:
    """Those about one package that have not been withdrawn."""
    for file in sorted((directory / "vulns" / name).glob("*.yaml")):
        told = yaml.load(file.read_text(), yaml.CSafeLoader)
        if "withdrawn" not in told:
            yield told


def affects(advisory: dict[str, Any], name: str, version: str) -> bool:
    about = [each for each in advisory["affected"] if each["package"]["name"].lower() == name]
    listed = any(version in each.get("versions", ()) for each in about)
    ranges = (found for each in about for found in each.get("ranges", ()) if found["type"] == "ECOSYSTEM")
    return listed or any(_is_within(found["events"], Version(version)) for found in ranges)


def _is_within(events: list[dict[str, str]], version: Version) -> bool:
    """OSV schema, "evaluation": the last event up to a version decides."""
    within = False
    marks = [(Version(at), kind) for event in events for kind, at in event.items()]
    for at, kind in sorted(marks):
        if version > at or (version == at and kind != "last_affected"):
            within = kind == "introduced"
    return within


def newest(directory: Path) -> str:
    """The day of the newest change to any advisory."""
    stamp = re.compile(r"^modified: \"?(\d{4}-\d\d-\d\d)", re.MULTILINE)
    days = (stamp.search(file.read_text()) for file in directory.glob("vulns/*/*.yaml"))
    return max((found[1] for found in days if found), default="never")


def main(directory: Path, locks: list[Path]) -> int:
    if not (directory / "vulns").is_dir():
        print(f"audit: no advisories in {directory} (clone github.com/pypa/advisory-database there)")
        return 2
    locked = sorted({pin for lock in locks for pin in pins(lock)})
    found = [
        f"{pin.lock}: {pin.name} {pin.version}: {advisory['id']} {' '.join(advisory.get('aliases', ()))}"
        for pin in locked
        for advisory in advisories(directory, pin.name)
        if affects(advisory, pin.name, pin.version)
    ]
    print("\n".join(found or [f"no locked version is known to be vulnerable ({len(locked)} looked up)"]))
    print(f"the newest advisory is of {newest(directory)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), [Path(each) for each in sys.argv[2:]]))
