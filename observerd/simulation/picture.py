"""The picture of a simulation: start delays and the first hour of work, one design above the other."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from math import log10

from observerd.simulation.books import Attempt, Run
from observerd.simulation.figures import Figures
from observerd.simulation.tally import Tally, percentile, rows, seconds_text
from observerd.simulation.world import History

WIDTH, LEFT, RIGHT = 1000, 118, 870
STRIP = 118
# Of a design's hour: above the first job, for each job, and below the last.
ABOVE, LANE, BELOW = 56, 34, 22
# The axis of start delays, in seconds, and what is written at it.
AXIS = ((1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"), (3_600, "1 h"), (21_600, "6 h"))
# More dots than this are a blur.
DOTS_AT_MOST = 600
# How much of the first history is drawn, and how much of that lies before the first run.
WINDOW_S, BEFORE_S = 3_600.0, 120.0
JOBS_AT_MOST = 6

STYLE = """
svg{font:13px/1.4 system-ui,-apple-system,"Segoe UI",sans-serif;--ground:#fff;--ink:#1c2430;--faint:#6b7684;
--rule:#dfe4ea;--band:#eef1f5;--seed:#c4631d;--observerd:#11766d;--bad:#c22a35;--wait:#e0b64c}
@media(prefers-color-scheme:dark){svg{--ground:#12171e;--ink:#e6ebf1;--faint:#93a0af;--rule:#2b343f;--band:#1d252f;
--seed:#ef9a54;--observerd:#4cc3b5;--bad:#ff6b72;--wait:#d8ac3e}}
.ground{fill:var(--ground)}text{fill:var(--ink)}.faint{fill:var(--faint)}.rule{stroke:var(--rule);fill:none}
.band{fill:var(--band)}.box{fill:var(--band);stroke:var(--faint);stroke-opacity:.5}.h1{font-size:21px;font-weight:650}.h2{font-size:14px;font-weight:650}.end{text-anchor:end}
.mid{text-anchor:middle}.seed{fill:var(--seed)}.observerd{fill:var(--observerd)}.dot{fill-opacity:.4}
.bad{fill:var(--bad)}.cross{stroke:var(--bad);stroke-width:2}.wait{stroke:var(--wait);stroke-width:3}
.mark{stroke:var(--ink);stroke-width:2}.told{fill:var(--wait)}
"""


def svg(
    tallies: Mapping[str, Tally], histories: Mapping[str, History], caption: str, figures: Figures
) -> str:
    """A picture of its own, for a light ground or a dark one."""
    parts, top = _drawn(tallies, histories, caption)
    parts.append(_figures(tallies, figures, top))
    return _framed(parts, top + 24 * (1 + len(SHOWN)) + 20, caption)


def _drawn(
    tallies: Mapping[str, Tally], histories: Mapping[str, History], caption: str
) -> tuple[list[str], float]:
    """All but the figures, and how high it is."""
    parts, top = [_heading(caption)], 122.0
    parts.append(_title(top - 16, "From the scheduled time to the job's first process", "each dot is a run"))
    end = top + STRIP * len(tallies)
    # What lies behind first: a line through a word makes it hard to read.
    parts += [_band(top + STRIP * place) for place in range(len(tallies))]
    parts.append(_axis(top, end))
    parts += [_strip(name, tally, top + STRIP * place) for place, (name, tally) in enumerate(tallies.items())]
    top = end + 74
    parts.append(_title(top - 22, "The first hour with work", "of the first seed, in UTC"))
    start = _window_start(next(iter(histories.values())))
    heights = {name: _lanes_height(history, start) for name, history in histories.items()}
    parts.append(_clock_axis(start, top, top + sum(heights.values())))
    for name, history in histories.items():
        parts.append(_lanes(name, history, start, top))
        top += heights[name]
    parts.append(_legend(top + 42))
    return parts, top + 90


def _framed(parts: Sequence[str], height: float, caption: str) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(caption)}"><style>{STYLE}</style>'
        f'<rect class="ground" width="{WIDTH}" height="{height:.0f}"/>\n{body}\n</svg>\n'
    )


def html(
    tallies: Mapping[str, Tally], histories: Mapping[str, History], caption: str, figures: Figures
) -> str:
    """A page with the picture, every figure and the timelines."""
    parts, height = _drawn(tallies, histories, caption)
    timelines = "".join(
        f"<details><summary>{escape(name)}: the first seed's timeline</summary>"
        f"<pre>{escape(chr(10).join(map(str, history.timeline)))}</pre></details>"
        for name, history in histories.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>observerd simulate</title>'
        '<meta name="viewport" content="width=device-width"><style>:root{color-scheme:light dark}'
        "body{max-width:1000px;margin:2rem auto;padding:0 1rem;font:15px/1.5 system-ui,sans-serif}"
        "pre{overflow:auto;font-size:12px}table{border-collapse:collapse;margin:1.5rem 0}"
        "td,th{padding:.2rem 1rem;text-align:right}th:first-child,td:first-child{text-align:left}"
        "tr+tr{border-top:1px solid #8884}</style></head><body>"
        f"{_framed(parts, height - 30, caption)}{_html_table(tallies, figures)}{timelines}</body></html>\n"
    )


def _html_table(tallies: Mapping[str, Tally], figures: Figures) -> str:
    columns = [rows(tally, figures) for tally in tallies.values()]
    head = "".join(f"<th>{escape(name)}</th>" for name in tallies)
    lines = "".join(
        f"<tr><td>{escape(label)}</td>"
        + "".join(f"<td>{escape(each[label])}</td>" for each in columns)
        + "</tr>"
        for label in columns[0]
    )
    return f"<table><tr><th></th>{head}</tr>{lines}</table>"


# ---- words


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>'


def _heading(caption: str) -> str:
    return _text(24, 36, "observerd simulate", "h1") + _text(24, 57, caption, "faint")


def _title(y: float, text: str, rest: str) -> str:
    return _text(24, y, text, "h2") + _text(WIDTH - 24, y, rest, "faint end")


# ---- start delays


def _delay_x(seconds: float) -> float:
    low, high = log10(AXIS[0][0]), log10(AXIS[-1][0])
    share = (log10(min(max(seconds, AXIS[0][0]), AXIS[-1][0])) - low) / (high - low)
    return LEFT + share * (RIGHT - LEFT)


def _band(top: float) -> str:
    width = WIDTH - 24 - LEFT + 10
    return f'<rect class="band" x="{LEFT - 10}" y="{top + 4}" width="{width}" height="{STRIP - 14}" rx="6"/>'


def _strip(name: str, tally: Tally, top: float) -> str:
    delays = sorted(tally.delays_s)
    middle = top + 58
    lost = tally.ended["lost"]
    return "".join(
        [
            _text(24, middle + 4, name, f"h2 {name}"),
            *_dots(name, delays, middle),
            *_marks(delays, top),
            _text((RIGHT + WIDTH) / 2, middle - 4, str(lost), "h1 mid bad" if lost else "h1 mid faint"),
            _text((RIGHT + WIDTH) / 2, middle + 14, "lost", "mid faint"),
        ]
    )


def _dots(name: str, delays: Sequence[float], middle: float) -> Iterator[str]:
    step = max(1, len(delays) // DOTS_AT_MOST)
    for place, delay in enumerate(delays[::step]):
        # The golden ratio spreads neighbours evenly, and the same way every time.
        offset = ((place * 0.618034) % 1.0 - 0.5) * 62
        yield f'<circle class="dot {name}" cx="{_delay_x(delay):.1f}" cy="{middle + offset:.1f}" r="3"/>'


def _marks(delays: Sequence[float], top: float) -> Iterator[str]:
    # One to the left of its line, the other to the right: the lines may be close together.
    for label, share, side in (("median", 0.5, "end"), ("99 %", 0.99, "")):
        value = percentile(delays, share)
        if value is not None:
            x = _delay_x(value)
            yield f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{top + 22}" y2="{top + 96}"/>'
            yield _text(x, top + 18, f"{label} {seconds_text(value)}", side)


def _axis(top: float, bottom: float) -> str:
    return "".join(
        f'<line class="rule" x1="{_delay_x(at):.1f}" x2="{_delay_x(at):.1f}" y1="{top + 4}" y2="{bottom - 4}"/>'
        + _text(_delay_x(at), bottom + 12, label, "faint mid")
        for at, label in AXIS
    )


# ---- the first hour


def _window_start(history: History) -> float:
    due = min((run.scheduled_at for run in history.runs), default=history.plan.start)
    return due - BEFORE_S


def _time_x(moment: float, start: float) -> float:
    share = min(max((moment - start) / WINDOW_S, 0.0), 1.0)
    return LEFT + share * (WIDTH - 24 - LEFT)


def _lanes(name: str, history: History, start: float, top: float) -> str:
    end = start + WINDOW_S
    runs = _runs_shown(history, start)
    parts = [_text(24, top + 18, name, f"h2 {name}"), _text(24, top + 37, "instances", "faint")]
    parts += [_bar(f, t, start, top + 26, 12, "box") for f, t in history.lifetimes if f < end and t > start]
    for place, job in enumerate(_jobs_shown(runs)):
        middle = top + ABOVE + LANE * (place + 0.5)
        parts.append(_text(24, middle + 4, job[:13], "faint"))
        its = [run for run in runs if run.job == job]
        parts += [_wait(run, start, middle) for run in its]
        parts += [_ran(run, name, start, middle) for run in its]
    return "".join(parts)


def _lanes_height(history: History, start: float) -> float:
    return ABOVE + LANE * max(1, len(_jobs_shown(_runs_shown(history, start)))) + BELOW


def _runs_shown(history: History, start: float) -> list[Run]:
    return [run for run in history.runs if start <= run.scheduled_at < start + WINDOW_S]


def _jobs_shown(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.job for run in runs))[:JOBS_AT_MOST]


def _bar(since: float, until: float, start: float, y: float, height: float, kind: str) -> str:
    left, right = _time_x(since, start), _time_x(until, start)
    wide = max(1.5, right - left)
    return (
        f'<rect class="{kind}" x="{left:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{height:.1f}" rx="2"/>'
    )


def _wait(run: Run, start: float, middle: float) -> str:
    """A line while it waits."""
    first = run.attempts[0].began_at if run.attempts else start + WINDOW_S
    left, right = _time_x(run.scheduled_at, start), _time_x(first, start)
    return f'<line class="wait" x1="{left:.1f}" x2="{right:.1f}" y1="{middle:.1f}" y2="{middle:.1f}"/>'


def _ran(run: Run, name: str, start: float, middle: float) -> str:
    """A bar while it runs, a cross where it is killed or never started."""
    if not run.attempts:
        return _cross(_time_x(start + WINDOW_S, start) - 4, middle)
    shown = [each for each in run.attempts if each.began_at < start + WINDOW_S]
    return "".join(_attempt(each, name, start, middle) for each in shown)


def _attempt(attempt: Attempt, name: str, start: float, middle: float) -> str:
    until = attempt.ended_at or start + WINDOW_S
    kind = {"succeeded": name, "killed": "bad"}.get(attempt.how, "told")
    bar = _bar(attempt.began_at, until, start, middle - 6, 12, kind)
    return bar + (_cross(_time_x(until, start) + 8, middle) if attempt.how == "killed" else "")


def _cross(x: float, y: float) -> str:
    return f'<path class="cross" d="M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"/>'


def _clock_axis(start: float, top: float, bottom: float) -> str:
    marks = []
    for minutes in range(0, 61, 10):
        moment = start + BEFORE_S + minutes * 60
        if moment <= start + WINDOW_S:
            x = _time_x(moment, start)
            marks.append(f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom - 14}"/>')
            marks.append(_text(x, bottom + 2, f"{datetime.fromtimestamp(moment, UTC):%H:%M}", "faint mid"))
    return "".join(marks)


def _legend(y: float) -> str:
    return "".join(
        [
            f'<line class="wait" x1="{LEFT}" x2="{LEFT + 28}" y1="{y - 4}" y2="{y - 4}"/>',
            _text(LEFT + 36, y, "due, not started", "faint"),
            f'<rect class="seed" x="{LEFT + 170}" y="{y - 10}" width="14" height="12" rx="2"/>',
            f'<rect class="observerd" x="{LEFT + 184}" y="{y - 10}" width="14" height="12" rx="2"/>',
            _text(LEFT + 206, y, "ran and succeeded", "faint"),
            f'<rect class="bad" x="{LEFT + 350}" y="{y - 10}" width="28" height="12" rx="2"/>',
            _cross(LEFT + 386, y - 4),
            _text(LEFT + 398, y, "ran and was killed", "faint"),
            f'<rect class="told" x="{LEFT + 540}" y="{y - 10}" width="28" height="12" rx="2"/>',
            _text(LEFT + 576, y, "failed, told to end, or still runs", "faint"),
        ]
    )


# ---- figures

SHOWN = (
    "runs started", "start delay, median", "start delay, 99 %", "runs lost", "runs repeated", "processes killed",
    "instance-hours a day", "cost a month",
)  # fmt: skip


def _figures(tallies: Mapping[str, Tally], figures: Figures, top: float) -> str:
    columns = {name: rows(tally, figures) for name, tally in tallies.items()}
    place = {name: 420 + 200 * number for number, name in enumerate(columns)}
    parts = [_text(place[name], top, name, f"h2 end {name}") for name in columns]
    for number, label in enumerate(SHOWN, 1):
        y = top + 24 * number
        parts.append(f'<line class="rule" x1="24" x2="{WIDTH - 24}" y1="{y - 17}" y2="{y - 17}"/>')
        parts.append(_text(24, y, label))
        parts += [_text(place[name], y, each[label], "end") for name, each in columns.items()]
    return "".join(parts)
