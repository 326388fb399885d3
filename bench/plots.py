"""Pictures of the figures for docs/performance.md: plain SVG, for a light ground or a dark one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from math import log10
from typing import Any

from bench.contenders import OURS
from bench.imports import INTERPRETER, WORK
from bench.report import figure

Table = Mapping[str, Any]

WIDTH, MARGIN, GAP = 1000, 24, 28
HEAD = 74
STYLE = """
svg{font:13px/1.4 system-ui,-apple-system,"Segoe UI",sans-serif;--ground:#fff;--ink:#1c2430;--faint:#5f6b78;
--rule:#dfe4ea;--ours:#11766d;--other:#a9b4c0;--bad:#c22a35;--second:#c4631d}
@media(prefers-color-scheme:dark){svg{--ground:#12171e;--ink:#e6ebf1;--faint:#93a0af;--rule:#2b343f;--ours:#4cc3b5;
--other:#5a6675;--bad:#ff6b72;--second:#ef9a54}}
.ground{fill:var(--ground)}text{fill:var(--ink)}.faint{fill:var(--faint)}.h1{font-size:20px;font-weight:650}
.h2{font-size:14px;font-weight:650}.small{font-size:12px}.end{text-anchor:end}.mid{text-anchor:middle}
.strong{font-weight:650}.rule{stroke:var(--rule)}.ours{fill:var(--ours)}.other{fill:var(--other)}.bad{fill:var(--bad)}
.second{fill:var(--second)}.line{fill:none;stroke:var(--ours);stroke-width:2}.ideal{fill:none;stroke:var(--faint);
stroke-dasharray:4 4}
"""


def pictures(tables: Sequence[Table]) -> dict[str, str]:
    """By name, those that there are figures for."""
    by_key = {table["key"]: table for table in tables}
    contests = [table for table in tables if table["key"].startswith("contest-")]
    growths = [(by_key[key], axis) for key, axis in GROWTH.items() if key in by_key]
    drawn = {
        "contest": contest(contests) if contests else "",
        "crash": crash(by_key["crash"]) if "crash" in by_key else "",
        "growth": growth(growths) if growths else "",
        "start": start(by_key["imports"]) if "imports" in by_key else "",
    }
    return {name: picture for name, picture in drawn.items() if picture}


# ---- the contest


BAR, NAME_W, VALUE_W = 20, 96, 46


def contest(tables: Sequence[Table]) -> str:
    """Jobs a second, a row for each kind of work, a column for each number of slots."""
    slots = sorted({line[1] for table in tables for line in table["lines"]})
    width = (WIDTH - 2 * MARGIN - GAP * (len(slots) - 1)) / len(slots)
    parts, top = [_heading("Jobs a second", "longer is better; the same jobs on the same emulated SQS")], HEAD
    for table in tables:
        parts.append(_text(MARGIN, top + 14, table["title"].partition(": ")[2], "h2"))
        most = 0
        for column, count in enumerate(slots):
            left = MARGIN + column * (width + GAP)
            bars = [(line[0], line[2]) for line in table["lines"] if line[1] == count]
            parts.append(_text(left, top + 36, f"{count} slot{'s' if count > 1 else ''}", "faint"))
            parts += _bars(bars, left, top + 46, width)
            most = max(most, len(bars))
        top += 46 + most * BAR + 26
    return _svg(parts, top)


def _bars(bars: Sequence[tuple[str, float | None]], left: float, top: float, width: float) -> Iterator[str]:
    longest = max((value or 0.0 for _, value in bars), default=0.0) or 1.0
    room = width - NAME_W - VALUE_W
    for place, (name, value) in enumerate(bars):
        y = top + place * BAR
        kind = "ours" if name == OURS.name else "other"
        yield _text(left + NAME_W - 6, y + 14, name, "end small" + (" strong" if kind == "ours" else ""))
        length = (value or 0.0) / longest * room
        yield _rect(left + NAME_W, y + 3, length, BAR - 6, kind)
        told = "not measured" if value is None else figure(value)
        yield _text(left + NAME_W + length + 5, y + 14, told, "small faint")


# ---- the crash


def crash(table: Table) -> str:
    """What was done twice, and what never, of a hundred jobs."""
    parts = [
        _heading("Killed in the middle of its work", f"of 100 jobs; {table['title'].partition(': ')[2]}")
    ]
    half = (WIDTH - 2 * MARGIN - GAP) / 2
    lines = [line for line in table["lines"] if line[1] is not None]
    for place, (title, column, kind) in enumerate((("done twice", 3, "second"), ("never done", 4, "bad"))):
        left = MARGIN + place * (half + GAP)
        parts.append(_text(left, HEAD + 14, title, "h2"))
        shares = [(line[0], 100 * line[column] / line[2]) for line in lines]
        longest = max((share for _, share in shares), default=0.0) or 1.0
        for row, (name, share) in enumerate(shares):
            y = HEAD + 26 + row * BAR
            parts.append(_text(left + NAME_W - 6, y + 14, name, "end small"))
            length = share / longest * (half - NAME_W - VALUE_W)
            parts.append(_rect(left + NAME_W, y + 3, length, BAR - 6, kind))
            parts.append(_text(left + NAME_W + length + 5, y + 14, f"{share:.1f}", "small faint"))
    return _svg(parts, HEAD + 26 + len(lines) * BAR + 16)


# ---- growth


GROWTH: dict[str, tuple[int, str]] = {
    # Which column is drawn, and what it is called.
    "growth-slots": (3, "CPU seconds a minute, by slots with a running job"),
    "growth-messages": (2, "CPU ms a job, by messages in the queue"),
    "growth-daemons": (1, "100 ms jobs a second, by daemons (dashed: 10 each)"),
    "growth-output": (7, "peak RSS in MB, by bytes of output of one job"),
    "growth-jobs": (1, "ms from exec to first receive, by jobs defined"),
}
PANEL_H = 150


def growth(tables: Sequence[tuple[Table, tuple[int, str]]]) -> str:
    """A panel for each kind: what it costs against how much of it there is."""
    parts = [_heading("How cost grows", "up is more; each from zero; to the right in powers of ten or two")]
    width = (WIDTH - 2 * MARGIN - GAP) / 2
    for place, (table, (column, title)) in enumerate(tables):
        left = MARGIN + (place % 2) * (width + GAP)
        top = HEAD + (place // 2) * (PANEL_H + 64)
        points = [(line[0], line[column]) for line in table["lines"] if line[column] is not None]
        ideal = (lambda count: 10.0 * count) if table["key"] == "growth-daemons" else None
        parts.append(_text(left, top + 14, title, "h2"))
        parts += _panel(points, left, top + 24, width, ideal)
    return _svg(parts, HEAD + (len(tables) + 1) // 2 * (PANEL_H + 64))


def _panel(
    points: Sequence[tuple[float, float]],
    left: float,
    top: float,
    width: float,
    ideal: Callable[[float], float] | None,
) -> Iterator[str]:
    low, high = log10(points[0][0]), log10(points[-1][0])
    most = max(value for _, value in points)
    if ideal is not None:
        most = max(most, ideal(points[-1][0]))
    inner_left, inner_width = left + 24, width - 60

    def at(count: float, value: float) -> tuple[float, float]:
        share = (log10(count) - low) / ((high - low) or 1.0)
        return inner_left + share * inner_width, top + PANEL_H - value / most * (PANEL_H - 26)

    yield f'<line class="rule" x1="{left}" y1="{top + PANEL_H}" x2="{left + width}" y2="{top + PANEL_H}"/>'
    if ideal is not None:
        yield _path([at(count, ideal(count)) for count, _ in points], "ideal")
    yield _path([at(*point) for point in points], "line")
    for count, value in points:
        x, y = at(count, value)
        yield f'<circle class="ours" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
        yield _text(x, y - 9, figure(value), "small mid")
        yield _text(x, top + PANEL_H + 17, _short(count), "small faint mid")


def _short(count: float) -> str:
    for power, letter in ((1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")):
        if count >= power:
            return f"{count / (1_000 if letter == 'k' else power):g} {letter}"
    return f"{count:,.0f}"


# ---- the start


# Owners after the interpreter and observerd itself, from dark to light.
SHADES = (1.0, 1.0, 0.9, 0.6, 0.35, 0.55)


def start(table: Table) -> str:
    """Where imports spend their time, ours above the bare program's."""
    parts = [
        _heading(
            "Where a start goes",
            "ms until the first receive, with Python timing its imports, which slows them",
        )
    ]
    lines = table["lines"]
    sums = [sum(line[column] or 0.0 for line in lines) for column in (2, 4)]
    scale = (WIDTH - 2 * MARGIN - 120 - 60) / (max(sums) or 1.0)
    for place, (name, column) in enumerate(((OURS.name, 2), ("bare boto3", 4))):
        x, y = float(MARGIN + 120), HEAD + 6 + place * 44
        parts.append(_text(x - 10, y + 20, name, "end"))
        for shade, line in zip(SHADES, lines, strict=False):
            length = (line[column] or 0.0) * scale
            parts.append(_shaded(x, y, length, 28, line[0], shade))
            x += length
        parts.append(_text(x + 8, y + 20, figure(sums[place]), "faint"))
    x = float(MARGIN + 120)
    for shade, line in zip(SHADES, lines, strict=False):
        parts.append(_shaded(x, HEAD + 100, 12, 12, line[0], shade))
        parts.append(_text(x + 18, HEAD + 111, line[0], "small"))
        x += 40 + 7.2 * len(line[0])
    return _svg(parts, HEAD + 132)


def _shaded(x: float, y: float, width: float, height: float, owner: str, shade: float) -> str:
    kind = "ours" if owner == OURS.name else "other" if owner in (INTERPRETER, WORK) else "second"
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}"'
    return f'<rect class="{kind}" fill-opacity="{shade}" {place}/>'


# ---- SVG


def _svg(parts: Sequence[str], height: float) -> str:
    body = "\n".join(parts)
    size = f'width="{WIDTH}" height="{height:.0f}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">'
        f'<style>{STYLE}</style><rect class="ground" {size}/>\n{body}\n</svg>\n'
    )


def _heading(title: str, rest: str) -> str:
    return (
        f"<title>{escape(title)}</title>" + _text(MARGIN, 34, title, "h1") + _text(MARGIN, 54, rest, "faint")
    )


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" rx="2"/>'


def _path(points: Sequence[tuple[float, float]], kind: str) -> str:
    return f'<path class="{kind}" d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>'
