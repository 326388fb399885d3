"""The figures in docs/performance.md: what stands between two marks there is made from a file of them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.plots import pictures
from bench.processes import REPOSITORY
from bench.report import figure

PAGE = REPOSITORY / "docs" / "performance.md"
BEGIN, END = '<!-- figures: made by `make bench ARGS="--page FILE"` -->', "<!-- end of figures -->"
# Where a picture stands: before the tables of its part.
PICTURES = {"contest": "contest", "crash": "crash", "growth": "growth", "imports": "start"}
ALT = {
    "contest": "Jobs a second of observerd and its peers",
    "crash": "Jobs done twice or never after a kill",
    "growth": "How cost grows with slots, messages, daemons, output and jobs",
    "start": "Where the imports of a start spend their time",
}


class NoPlace(Exception):
    """The page has no marks to put figures between."""


def write(figures: Mapping[str, Any], page: Path = PAGE) -> list[Path]:
    """Put figures into the page and pictures beside it. Returns what was written. Raises NoPlace."""
    drawn = pictures([table for part in figures["parts"].values() for table in part["tables"]])
    files = {page.with_name(f"performance-{name}.svg"): picture for name, picture in drawn.items()}
    text = filled(page.read_text(), markdown(figures, set(drawn)))
    for file, content in {**files, page: text}.items():
        file.write_text(content)
    return [*files, page]


def filled(page: str, figures: str) -> str:
    """The page with these figures instead of those before. Raises NoPlace."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoPlace(f"{PAGE.name} has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{figures}\n{END}{after}"


def markdown(figures: Mapping[str, Any], drawn: set[str]) -> str:
    """The parts one after the other, each with its time and its tables."""
    parts = figures["parts"]
    lines = [f"* {line}" for line in _where(parts)]
    for name, part in parts.items():
        lines += ["", f"### {part['title']}", "", _when(part), ""]
        picture = PICTURES.get(name)
        if picture in drawn:
            lines += [f"![{ALT[picture]}](performance-{picture}.svg)", ""]
        lines += _rows(part["rows"])
        for table in part["tables"]:
            lines += _table(table)
        lines += [f"* {remark}" for remark in part["remarks"]]
    return "\n".join(lines).rstrip() + "\n"


def _where(parts: Mapping[str, Any]) -> list[str]:
    """What is the same for most: machine, system, versions. Each that there was is named once."""
    return list(
        dict.fromkeys(
            part["where"][key]
            for key in ("machine", "system", "software", "peers")
            for part in parts.values()
        )
    )


def _when(part: Mapping[str, Any]) -> str:
    where = part["where"]
    return f"_{where['time']}, {part['seconds']} s, load {where['load']} before._"


def _rows(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield "| | observerd | compared with | ratio | budget | |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    for row in rows:
        other = f"{figure(row['other'])} {row['unit']} {row['against']}" if row["against"] else ""
        cells = (row["what"].strip(), f"{figure(row['ours'])} {row['unit']}", other)
        yield f"| {' | '.join((*cells, _ratio(row['ratio']), _budget(row), row['verdict']))} |"
    yield ""


def _ratio(ratio: dict[str, Any] | None) -> str:
    if ratio is None:
        return ""
    spread = f" ({ratio['low']:.2f}-{ratio['high']:.2f})" if ratio["rounds"] > 1 else ""
    return f"{ratio['median']:.2f}{spread}"


def _budget(row: Mapping[str, Any]) -> str:
    budget = row["budget"]
    if budget is None:
        return ""
    unit = f" {row['unit']}" if budget["of"] == "ours" else ""
    return f"{'≥' if budget['at_least'] else '≤'} {budget['limit']:g}{unit}"


def _table(table: Mapping[str, Any]) -> Iterator[str]:
    """Folded, for there are many; what matters most of them is drawn."""
    yield f"<details><summary>{table['title']}</summary>"
    yield ""
    yield f"| | {' | '.join(title.strip() for title in table['columns'])} |"
    yield f"| --- |{' ---: |' * len(table['columns'])}"
    for line in table["lines"]:
        yield f"| {' | '.join(map(figure, line))} |"
    yield ""
    yield "</details>"
    yield ""
