"""`python -m bench [--quick] [--json FILE]`. Status 1 if something was not measured; slow is no error."""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import drain, idle, latency, machine, startup
from bench.patience import NotMeasured
from bench.processes import kill_the_rest
from bench.report import Row, Table, as_json

Measurement = Callable[[Path], Iterator[Row]]


def main() -> int:
    arguments = _arguments()
    # Ends like Ctrl-C: with no process left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(_measurements(quick=arguments.quick), arguments.json)
    except KeyboardInterrupt:
        print("\ninterrupted: nothing is left running", file=sys.stderr)
        return 130
    finally:
        kill_the_rest()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="How fast observerd is, as ratios.")
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds: half a minute, and less to rely on"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here, too")
    return parser.parse_args()


def _measurements(*, quick: bool) -> dict[str, Measurement]:
    pairs, messages, jobs, rounds, watched_s = (5, 100, 200, 1, 5) if quick else (20, 400, 1_000, 3, 20)
    return {
        "Start": lambda directory: startup.measure(directory, pairs),
        "Latency": lambda directory: latency.measure(directory, messages),
        "Drain": lambda directory: drain.measure(directory, jobs, rounds),
        "Idle": lambda directory: idle.measure(directory, watched_s),
    }


def _run(measurements: dict[str, Measurement], file: Path | None) -> int:
    began_at = time.monotonic()
    table, where, rows, failures = Table(sys.stdout), machine.description(), [], []
    table.head(where.values())
    for title, measure in measurements.items():
        table.section(title)
        try:
            with tempfile.TemporaryDirectory(prefix="observerd-bench-") as directory:
                # Jobs of another user write here, too.
                Path(directory).chmod(0o755)
                for row in measure(Path(directory)):
                    table.row(row)
                    rows.append(row)
        except NotMeasured as fault:
            table.failed(str(fault))
            failures.append(f"{title}: {fault}")
    table.foot(rows, time.monotonic() - began_at)
    if file is not None:
        file.write_text(
            json.dumps({**where, "rows": as_json(rows), "not_measured": failures}, indent=2) + "\n"
        )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
