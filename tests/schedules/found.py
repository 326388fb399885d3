"""What becomes of crontab lines as they were found: docs/found-crontabs.md, which running this writes.

found.txt has the schedule and the shape of each command (… stands for what was left out), by source.
"""

from datetime import UTC, datetime
from pathlib import Path

from observerd.schedules.importing import Imported, Line, Settings, import_crontab

FOUND = Path(__file__).with_name("found.txt")
TABLE = Path(__file__).parents[2] / "docs" / "found-crontabs.md"
NOW = datetime(2026, 11, 24, tzinfo=UTC)
ZONE = "Europe/Berlin"
HEADING = f"""\
# Crontab lines as found, and what becomes of them

Of distributions' packages, of projects that bring a `cron.d` file and of public documentation: the
schedule and the shape of each command (… stands for what was left out), no more. The time zone is
{ZONE}; a schedule in UTC besides is what makes up for a night when clocks are changed. A test
(`tests/schedules/test_found.py`) keeps this page true and proves each line that is carried over;
`python -m tests.schedules.found` writes it.
"""


def imported():
    """Each source's (heading, Imported), lines numbered as in its own file."""
    for block in FOUND.read_text().split("== ")[1:]:
        heading, _, text = block.partition("\n")
        system = not heading.endswith(", a user's")
        home_of = (lambda _user: "/") if system else {"batch": "/"}.get
        settings = Settings(system, None if system else "batch", ZONE, True, home_of, NOW)
        yield heading, import_crontab(heading, text, settings, {})


def page(sources):
    carried = sum(len(each.lines) for _, each in sources)
    refused = sum(len(each.refusals) for _, each in sources)
    counted = f"\n{carried + refused} lines: {carried} carried over, {refused} refused with a reason.\n"
    return HEADING + counted + "".join(_section(heading, each) for heading, each in sources)


def _section(heading: str, found: Imported) -> str:
    rows = {line.entry.number: _carried(line) for line in found.lines}
    rows |= {each.number: (f"`{each.line}`", f"refused: {each.reason}", "") for each in found.refusals}
    table = [("line", "EventBridge", "job"), ("---",) * 3, *(rows[number] for number in sorted(rows))]
    body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table)
    return f"\n## {heading}\n\n{body}\n"


def _carried(line: Line) -> tuple[str, str, str]:
    entry, schedule = line.entry, line.schedule
    written = f"{entry.schedule} {entry.command}" + ("" if entry.stdin is None else "%…")
    parts = [f"`{part.expression}` {part.timezone}" for part in schedule.parts(NOW.date())]
    command = line.job.get("shell") or " ".join(map(str, line.job["command"]))
    # Before the colon is what, after it why.
    notes = "; ".join(note.partition(":")[0] for note in line.notes)
    job = f"`{command}`".replace("\n", "⏎")
    return f"`{written}`", "<br>".join(parts), f"{job} ({notes})" if notes else job


if __name__ == "__main__":
    TABLE.write_text(page(list(imported())))
