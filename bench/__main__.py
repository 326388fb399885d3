"""`python -m bench [--quick] [--only PART ...] [--json FILE]`. Status 1 if something was not measured.
Slow is no error. FILE keeps what other parts have measured before. `--page FILE` measures nothing: it puts
such figures into docs/performance.md.
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
from typing import Any

from bench import contest, crash, drain, growth, idle, imports, latency, machine, page, rest, startup
from bench.patience import NotMeasured
from bench.processes import kill_the_rest
from bench.report import Entry, Remark, Row, Section, Table, as_json


@dataclass(frozen=True, slots=True)
class Part:
    """Something that can be measured by itself."""

    title: str
    measure: Callable[[Path], Iterator[Entry]]
    compares: bool = True
    """Whether it has rows that compare us with something, and not only tables with titles of their own."""


def main() -> int:
    arguments = _arguments()
    if arguments.page is not None:
        return _page(arguments.page)
    # Ends like Ctrl-C: with no process left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parts = _parts(quick=arguments.quick, rounds=arguments.rounds)
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
    parser.add_argument(
        "--rounds", type=int, choices=range(1, 21), metavar="N", help="of drain and contest; default: 3, or 1"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put its figures into docs/performance.md")
    return parser.parse_args()


def _page(file: Path) -> int:
    try:
        for written in page.write(json.loads(file.read_text())):
            print(f"wrote {written}")
    except (OSError, ValueError, KeyError, page.NoPlace) as fault:
        print(f"bench: {file}: {fault}", file=sys.stderr)
        return 1
    return 0


def _parts(*, quick: bool, rounds: int | None = None) -> dict[str, Part]:
    pairs, messages, jobs, watched_s = (5, 100, 200, 5) if quick else (20, 400, 1_000, 20)
    rounds = rounds or (1 if quick else 3)
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
        "rest": Part(
            "One message at a time", lambda at: rest.measure(at, starts, messages, watched_s), compares=False
        ),
        "contest": Part(
            "A queue full", lambda at: contest.measure(at, courses, slots, rounds, seconds), compares=False
        ),
        "crash": Part("A machine dies", lambda at: crash.measure(at, kills), compares=False),
        "growth": Part("Growth", lambda at: growth.measure(at, scale), compares=False),
    }


def _run(parts: Mapping[str, Part], file: Path | None) -> int:
    began_at = time.monotonic()
    table = Table(sys.stdout)
    table.head(machine.description().values())
    everything: list[Entry] = []
    complete = True
    for name, part in parts.items():
        where, part_at, entries = machine.description(), time.monotonic(), []
        try:
            for entry in _measured(part, table):
                table.show(entry)
                entries.append(entry)
        except NotMeasured as fault:
            table.failed(str(fault))
            entries.append(Remark(f"not measured: {fault}"))
            complete = False
        everything += entries
        if file is not None:
            seconds = round(time.monotonic() - part_at)
            keep(file, name, {"title": part.title, "where": where, "seconds": seconds, **as_json(entries)})
    table.foot([entry for entry in everything if isinstance(entry, Row)], time.monotonic() - began_at)
    return 0 if complete else 1


def _measured(part: Part, table: Table) -> Iterator[Entry]:
    if part.compares:
        table.section(Section(part.title))
    with tempfile.TemporaryDirectory(prefix="observerd-bench-") as directory:
        # Jobs of another user write here, too.
        Path(directory).chmod(0o755)
        yield from part.measure(Path(directory))


def keep(file: Path, name: str, measured: Mapping[str, Any]) -> None:
    """Put a part's figures into file, in the place of its former ones; those of other parts stay."""
    parts = json.loads(file.read_text())["parts"] if file.exists() else {}
    parts[name] = measured
    in_order = {name: parts[name] for name in _parts(quick=True) if name in parts}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"parts": in_order}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
