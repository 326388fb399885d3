"""`python -m bench [--quick] [--only PART ...] [--json FILE]`. Status 1 if something was not measured.
Slow is no error.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import contest, crash, drain, growth, idle, imports, latency, machine, rest, startup
from bench.patience import NotMeasured
from bench.processes import kill_the_rest
from bench.report import Entry, Row, Table, as_json


@dataclass(frozen=True, slots=True)
class Part:
    """Something that can be measured by itself."""

    title: str
    """Of its rows; empty where it has tables with titles of their own."""
    measure: Callable[[Path], Iterator[Entry]]


def main() -> int:
    arguments = _arguments()
    # Ends like Ctrl-C: with no process left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parts = _parts(quick=arguments.quick)
    try:
        return _run({name: parts[name] for name in arguments.only or parts}, arguments.json)
    except KeyboardInterrupt:
        print("\ninterrupted: nothing is left running", file=sys.stderr)
        return 130
    finally:
        kill_the_rest()


def _arguments() -> argparse.Namespace:
    names = list(_parts(quick=True))
    parser = argparse.ArgumentParser(prog="bench", description="How fast observerd is, as ratios.")
    parser.add_argument("--quick", action="store_true", help="less of everything, and less to rely on")
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="PART", help=f"some of {', '.join(names)}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    return parser.parse_args()


def _parts(*, quick: bool) -> dict[str, Part]:
    pairs, messages, jobs, rounds, watched_s = (5, 100, 200, 1, 5) if quick else (20, 400, 1_000, 3, 20)
    slots, seconds = ((8,), 1.0) if quick else ((1, 8, 64), 3.0)
    courses = contest.COURSES[:2] if quick else contest.COURSES
    starts, kills = (2, 1) if quick else (5, len(crash.KILLS))
    scale = growth.QUICK if quick else growth.Scale()
    return {
        "start": Part("Start", lambda at: startup.measure(at, pairs)),
        "imports": Part("Imports", lambda at: imports.measure(at, starts)),
        "latency": Part("Latency", lambda at: latency.measure(at, messages)),
        "drain": Part("Drain", lambda at: drain.measure(at, jobs, rounds)),
        "idle": Part("Idle", lambda at: idle.measure(at, watched_s)),
        "rest": Part("", lambda at: rest.measure(at, starts, messages, watched_s)),
        "contest": Part("", lambda at: contest.measure(at, courses, slots, rounds, seconds)),
        "crash": Part("", lambda at: crash.measure(at, kills)),
        "growth": Part("", lambda at: growth.measure(at, scale)),
    }


def _run(parts: Mapping[str, Part], file: Path | None) -> int:
    began_at = time.monotonic()
    table, where = Table(sys.stdout), machine.description()
    entries: list[Entry] = []
    failures = []
    table.head(where.values())
    for name, part in parts.items():
        if part.title:
            table.section(part.title)
        try:
            with tempfile.TemporaryDirectory(prefix="observerd-bench-") as directory:
                # Jobs of another user write here, too.
                Path(directory).chmod(0o755)
                for entry in part.measure(Path(directory)):
                    table.show(entry)
                    entries.append(entry)
        except NotMeasured as fault:
            table.failed(str(fault))
            failures.append(f"{name}: {fault}")
    took_s = time.monotonic() - began_at
    table.foot([entry for entry in entries if isinstance(entry, Row)], took_s)
    if file is not None:
        told = {**where, "seconds": round(took_s), **as_json(entries), "not_measured": failures}
        file.write_text(json.dumps(told, indent=2) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
