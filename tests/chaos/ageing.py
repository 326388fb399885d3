"""Whether a worker ages: a line fitted through what it had, and a picture of that. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from statistics import fmean, linear_regression

# What is loaded, cached and allocated once is there after this share of the time.
WARM_UP = 0.25
# The most that a fitted line may climb from there to the end. A run more or less at the moment of a sample
# is a thread and some descriptors; an allocator's memory moves by a few percent without growing.
RSS_SHARE, DESCRIPTORS, THREADS, ZOMBIES = 0.05, 2.0, 2.0, 0.5
MIB = 1 << 20

WIDTH, LEFT, RIGHT, STRIP, TOP = 960, 92, 800, 120, 62
STYLE = """
svg{font:13px/1.4 system-ui,-apple-system,"Segoe UI",sans-serif;--ground:#fff;--ink:#1c2430;--faint:#6b7684;
--rule:#dfe4ea;--line:#11766d;--bad:#c22a35}
@media(prefers-color-scheme:dark){svg{--ground:#12171e;--ink:#e6ebf1;--faint:#93a0af;--rule:#2b343f;
--line:#4cc3b5;--bad:#ff6b72}}
.ground{fill:var(--ground)}text{fill:var(--ink)}.faint{fill:var(--faint)}.end{text-anchor:end}
.h1{font-size:18px;font-weight:650}.rule{stroke:var(--rule)}polyline{fill:none}
.lasting{stroke:var(--line);stroke-width:1.5}.other{stroke:var(--faint);stroke-opacity:.35}
.fit{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:5 4}.trouble{stroke:var(--bad);stroke-opacity:.6}
"""


@dataclass(frozen=True)
class Trend:
    """How one figure of one worker moved, from the end of its warm-up on. at is in seconds."""

    name: str
    first_at: float
    last_at: float
    first: float
    """Of the fitted line."""
    growth: float
    limit: float

    @property
    def is_flat(self):
        return self.growth <= self.limit

    @property
    def text(self):
        return f"{self.first:.1f} {self.growth:+.2f} (at most {self.limit:+.2f})"


def trends(samples):
    """A trend for each figure of one worker's samples."""
    figures = _figures(samples)
    rss = fmean(figures["RSS, MiB"])
    limits = (RSS_SHARE * rss, DESCRIPTORS, THREADS, ZOMBIES)
    times = [sample.at for sample in samples]
    return [
        _trend(name, times, values, limit)
        for (name, values), limit in zip(figures.items(), limits, strict=True)
    ]


def _figures(samples):
    return {
        "RSS, MiB": [sample.rss_bytes / MIB for sample in samples],
        "descriptors": [sample.descriptors for sample in samples],
        "threads": [sample.threads for sample in samples],
        "zombies": [sample.zombies for sample in samples],
    }


def _trend(name, times, values, limit):
    start = round(len(times) * WARM_UP)
    slope, intercept = linear_regression(times[start:], values[start:])
    first_at, last_at = times[start], times[-1]
    return Trend(name, first_at, last_at, intercept + slope * first_at, slope * (last_at - first_at), limit)


# ---- the picture


def svg(samples: Sequence, lasting: str, troubles: Sequence[float], caption: str) -> str:
    """Every figure over time, the lasting worker's with its fitted line; troubles are moments."""
    samples = sorted(samples, key=lambda sample: (sample.worker, sample.at))
    lives = {name: list(of) for name, of in groupby(samples, key=lambda sample: sample.worker)}
    begin, end = min(each.at for each in samples), max(each.at for each in samples)

    def x(at):
        return round(LEFT + (RIGHT - LEFT) * (at - begin) / (end - begin), 1)

    strips = [
        _strip(
            trend,
            {name: (life, _figures(life)[trend.name]) for name, life in lives.items()},
            lasting,
            place,
            x,
        )
        for place, trend in enumerate(trends(lives[lasting]))
    ]
    bottom = TOP + STRIP * len(strips)
    ticks = "".join(
        f'<line class="trouble" x1="{x(at)}" x2="{x(at)}" y1="{bottom}" y2="{bottom + 12}"/>'
        for at in troubles
    )
    minutes = (end - begin) / 60
    labels = "".join(
        f'<text class="faint end" x="{LEFT + (RIGHT - LEFT) * part / 4:.0f}" y="{bottom + 32}">'
        f"{minutes * part / 4:.3g} min</text>"
        for part in range(5)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 48}" role="img" '
        f'aria-label="{escape(caption)}"><style>{STYLE}</style>'
        f'<rect class="ground" width="{WIDTH}" height="{bottom + 48}"/>'
        f'<text class="h1" x="24" y="32">{escape(caption)}</text>\n' + "\n".join(strips) + f"\n{ticks}"
        f'<text class="end" x="{LEFT - 10}" y="{bottom + 11}">troubles</text>{labels}</svg>\n'
    )


def _strip(trend, lines, lasting, place, x):
    top = TOP + STRIP * place
    peak = max(max(values) for _, values in lines.values()) or 1.0
    most = 1.15 * peak

    def y(value):
        return round(top + (STRIP - 14) * (1 - value / most), 1)

    drawn = "".join(
        f'<polyline class="{"lasting" if name == lasting else "other"}" points="'
        + " ".join(f"{x(sample.at)},{y(value)}" for sample, value in zip(life, values, strict=True))
        + '"/>'
        for name, (life, values) in lines.items()
    )
    fit = (
        f'<line class="fit" x1="{x(trend.first_at)}" x2="{x(trend.last_at)}" '
        f'y1="{y(trend.first)}" y2="{y(trend.first + trend.growth)}"/>'
    )
    return (
        f'<line class="rule" x1="{LEFT}" x2="{RIGHT}" y1="{y(0)}" y2="{y(0)}"/>{drawn}{fit}'
        f'<line class="rule" x1="{LEFT}" x2="{RIGHT}" y1="{y(peak)}" y2="{y(peak)}" stroke-dasharray="2 4"/>'
        f'<text class="faint end" x="{LEFT - 10}" y="{y(peak) + 4}">{peak:.0f}</text>'
        f'<text class="faint end" x="{LEFT - 10}" y="{y(0) + 4}">0</text>'
        f'<text class="end" x="{LEFT - 10}" y="{top + STRIP / 2:.0f}">{escape(trend.name)}</text>'
        f'<text x="{RIGHT + 10}" y="{y(trend.first + trend.growth) + 4}">'
        f"{trend.first:.1f} {trend.growth:+.2f}</text>"
    )
