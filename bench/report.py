"""What a measurement comes to: rows of a table, and the same as JSON."""

import os
import statistics
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

BUDGETS = Path(__file__).parent / "budgets.toml"
BOLD, DIM, GREEN, RED = "1", "2", "32", "31"
# What, ours, the other's, who the other is, ratio, budget.
WIDTHS = (36, 13, 13, 23, 17, 12)
NAME_WIDTH = 22


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of what several rounds have measured."""

    median: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Budget:
    """A bound on the ratio, or on our own value. See budgets.toml."""

    limit: float
    of: str = "ratio"
    at_least: bool = False

    def holds(self, row: "Row") -> bool:
        value = row.ours if self.of == "ours" or row.ratio is None else row.ratio.median
        return value >= self.limit if self.at_least else value <= self.limit


def verdict(row: "Row") -> str:
    """In a word, what the row's budget says of it; empty without one."""
    if row.budget is None:
        return ""
    return "ok" if row.within_budget else "UNDER" if row.budget.at_least else "OVER"


def budget(name: str) -> Budget:
    """The one of that name in budgets.toml."""
    told = tomllib.loads(BUDGETS.read_text())[name]
    at_least = "at_least" in told
    return Budget(told["at_least" if at_least else "at_most"], told["of"], at_least)


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what was measured, ours, the other's, and ours / other's, round by round."""

    what: str
    ours: float
    unit: str
    against: str = ""
    other: float | None = None
    ratio: Spread | None = None
    budget: Budget | None = None

    @property
    def within_budget(self) -> bool | None:
        return None if self.budget is None else self.budget.holds(self)


@dataclass(frozen=True, slots=True)
class Heading:
    """The head of a table of its own. A line names something first; then come its values, one a column."""

    key: str
    title: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table whose heading came last. None: not measured."""

    cells: tuple[str | float | None, ...]


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence that belongs to the figures."""

    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """The head of rows that compare us with something."""

    title: str


Entry = Section | Row | Heading | Line | Remark


def spread(values: Sequence[float]) -> Spread:
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], 1)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high, len(values))


def compared(
    what: str, unit: str, ours: Sequence[float], against: str, others: Sequence[float], budget: Budget | None
) -> Row:
    """A row of medians; the ratio is taken pair by pair, because a noisy moment hits both of a pair."""
    ratios = [our / other for our, other in zip(ours, others, strict=True)]
    return Row(
        what, statistics.median(ours), unit, against, statistics.median(others), spread(ratios), budget
    )


def as_json(entries: Iterable[Entry]) -> dict[str, Any]:
    """The rows, and the tables with their lines, as they came."""
    rows: list[dict[str, Any]] = []
    tables: list[dict[str, Any]] = []
    remarks: list[str] = []
    for entry in entries:
        if isinstance(entry, Row):
            rows.append({**asdict(entry), "verdict": verdict(entry)})
        elif isinstance(entry, Heading):
            tables.append({**asdict(entry), "lines": []})
        elif isinstance(entry, Line):
            tables[-1]["lines"].append(list(entry.cells))
        elif isinstance(entry, Remark):
            remarks.append(entry.text)
    return {"rows": rows, "tables": tables, "remarks": remarks}


class Table:
    """Prints rows as they come; colours only for a terminal whose owner has not refused them."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        # As no-color.org has it.
        self._colours = out.isatty() and not os.environ.get("NO_COLOR")

    def head(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._print(line)

    def section(self, section: Section) -> None:
        titles = _columns((section.title, "   observerd", "    compared with", "", "ratio", "budget"))
        self._print("\n" + self._painted(titles, BOLD))

    def show(self, entry: Entry) -> None:
        if isinstance(entry, Row):
            self.row(entry)
        elif isinstance(entry, Heading):
            self.heading(entry)
        elif isinstance(entry, Line):
            self.line(entry)
        elif isinstance(entry, Section):
            self.section(entry)
        else:
            self.remark(entry)

    def row(self, row: Row) -> None:
        ours, other = _shown(row.ours, row.unit), _shown(row.other, row.unit)
        cells = (f"  {row.what}", ours, other, row.against, _ratio(row.ratio), _budget(row))
        self._print(_columns(cells) + self._verdict(row))

    def heading(self, heading: Heading) -> None:
        self._widths = [max(len(title), 8) for title in heading.columns]
        titles = (f"{title:>{width}}" for title, width in zip(heading.columns, self._widths, strict=True))
        self._print("\n" + self._painted(heading.title, BOLD))
        self._print(self._painted(f"  {'':<{NAME_WIDTH}}  {'  '.join(titles)}", DIM))

    def line(self, line: Line) -> None:
        name, *values = line.cells
        cells = (f"{figure(value):>{width}}" for value, width in zip(values, self._widths, strict=True))
        self._print(f"  {figure(name):<{NAME_WIDTH}}  {'  '.join(cells)}")

    def remark(self, remark: Remark) -> None:
        self._print(self._painted(f"  {remark.text}", DIM))

    def failed(self, text: str) -> None:
        self._print(self._painted(f"  not measured: {text}", RED))

    def foot(self, rows: Sequence[Row], took_s: float) -> None:
        judged = [row.within_budget for row in rows if row.budget is not None]
        summary = f"{sum(map(bool, judged))} of {len(judged)} within budget. {took_s:.0f} s in all."
        self._print("\n" + self._painted(summary, BOLD))
        self._print(self._painted("Ratios are ours / the other's: median of the pairs (quartiles).", DIM))

    def _verdict(self, row: Row) -> str:
        return self._painted(verdict(row), GREEN if row.within_budget else RED) if row.budget else ""

    def _print(self, text: str = "") -> None:
        print(text.rstrip(), file=self._out, flush=True)

    def _painted(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text


def figure(value: str | float | None) -> str:
    """Three figures of a number, which is what is known; what was counted in whole."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or value >= 100:  # noqa: PLR2004 three figures
        return f"{value:,.0f}"
    return f"{value:.{1 if value >= 10 else 2}f}"  # noqa: PLR2004 three figures


def _columns(cells: Iterable[str]) -> str:
    return "".join(f"{cell:<{width}} " for cell, width in zip(cells, WIDTHS, strict=True))


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{figure(value):>7} {unit}"


def _ratio(ratio: Spread | None) -> str:
    if ratio is None:
        return ""
    if ratio.rounds == 1:
        return f"{ratio.median:.2f}"
    return f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def _budget(row: Row) -> str:
    if row.budget is None:
        return ""
    sign = ">=" if row.budget.at_least else "<="
    unit = f" {row.unit}" if row.budget.of == "ours" else ""
    return f"{sign} {row.budget.limit:g}{unit}"
