"""`observerd simulate`: plays histories on every processor, and tells what came of them."""

import gc
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from observerd.core.units import duration_s
from observerd.simulation.books import PROMISES
from observerd.simulation.crontab import BadCrontab, Schedule, read_crontab
from observerd.simulation.faults import KINDS, PRESETS, Plan, draw_plan
from observerd.simulation.figures import Figures
from observerd.simulation.picture import html, svg
from observerd.simulation.seed import SeedWorld
from observerd.simulation.shrink import shrink
from observerd.simulation.stack import Stack
from observerd.simulation.tally import Tally, span, table
from observerd.simulation.world import History, World

DESIGNS: dict[str, type[World]] = {"seed": SeedWorld, "observerd": World}
# The seed has one alarm on one metric.
ALARM_METRICS = {"seed": 1, "observerd": Stack().alarm_metrics}
# Ten years; a person would not wait for more.
DAYS_AT_MOST = 3_660
# So many histories are handed to a process at once.
CHUNK = 25


class BadRequest(Exception):
    """What was asked for cannot be simulated. The text is for people."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is to be played."""

    designs: tuple[str, ...] = tuple(DESIGNS)
    schedules: tuple[Schedule, ...] = ()
    """Empty: each seed makes up its own."""
    days: float = 1.0
    first_seed: int = 0
    seeds: int = 20
    kinds: frozenset[str] = frozenset()
    job_s: float = 120.0
    figures: Figures = field(default_factory=Figures)

    def plan(self, seed: int) -> Plan:
        return draw_plan(seed, self.days, self.schedules, self.kinds, self.job_s)

    def all_seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.seeds)


@dataclass(slots=True)
class Result:
    """What came of some seeds. broken: the first seed that broke a promise."""

    tallies: dict[str, Tally]
    broken: int | None = None


def setting_of(
    *,
    design: str | None,
    crontab: Path | None,
    days: float,
    seeds: range,
    faults: str,
    job_time: str,
    figures: Figures,
) -> Setting:
    """Raises BadRequest."""
    if not seeds:
        raise BadRequest("--seeds: not 1 or more")
    if not 0 < days <= DAYS_AT_MOST:
        raise BadRequest(f"--days: not more than 0 and at most {DAYS_AT_MOST}: {days:g}")
    designs = tuple(DESIGNS) if design is None else (design,)
    schedules = () if crontab is None else _schedules(crontab)
    return Setting(
        designs, schedules, days, seeds.start, len(seeds), kinds_of(faults), _job_s(job_time), figures
    )


def _job_s(text: str) -> float:
    try:
        seconds = duration_s(text)
    except ValueError as fault:
        raise BadRequest(f"--job-time: {fault}") from None
    if not seconds:
        raise BadRequest("--job-time: not more than 0")
    return seconds


def kinds_of(text: str) -> frozenset[str]:
    """The kinds of faults that "all,-spot" or "crash,hang" names. Raises BadRequest."""
    kinds: set[str] = set()
    for word in filter(None, text.split(",")):
        name = word.removeprefix("-")
        if name not in KINDS and name not in PRESETS:
            known = ", ".join([*PRESETS, *KINDS])
            raise BadRequest(f"no kind of fault {name!r} (known: {known})")
        named = PRESETS.get(name, frozenset({name}))
        kinds = kinds - named if word.startswith("-") else kinds | named
    return frozenset(kinds)


def simulate(setting: Setting, plot: Path | None, *, timeline: bool, processes: int | None = None) -> int:
    """Play every seed; print what came of them. 1 when a promise was broken, else 0. Raises BadRequest."""
    if plot is not None and plot.suffix not in (".svg", ".html"):
        raise BadRequest(f"{plot}: neither .svg nor .html")
    # Off since the start of the command, for a quick one. A history is full of circles: 0.15 MB each.
    gc.enable()
    if timeline:
        _print_timelines(setting)
    result = play_all(setting, processes or os.cpu_count() or 1)
    print(f"{span(next(iter(result.tallies.values())))}; {_described(setting)}\n")
    print(table(result.tallies, setting.figures))
    if plot is not None:
        _draw(plot, setting, result)
    if result.broken is not None:
        print(f"\n{told(setting, result.broken)}")
        return 1
    if "observerd" in setting.designs:
        print("\nobserverd kept its promises in every history:")
        print("\n".join(f"  {text}" for text in PROMISES.values()))
    return 0


def play_all(setting: Setting, processes: int) -> Result:
    """The results of all seeds, up to the first chunk with a broken promise."""
    whole = Result({name: Tally(ALARM_METRICS[name]) for name in setting.designs})
    for part in _parts(setting, processes):
        for name, tally in part.tallies.items():
            whole.tallies[name].merge(tally)
        whole.broken = part.broken
        if part.broken is not None:
            break
    return whole


def _parts(setting: Setting, processes: int) -> Iterator[Result]:
    chunks = [setting.all_seeds()[start : start + CHUNK] for start in range(0, setting.seeds, CHUNK)]
    if processes == 1 or len(chunks) == 1:
        yield from (_play(setting, chunk) for chunk in chunks)
        return
    with ProcessPoolExecutor(processes) as pool:
        try:
            yield from pool.map(_play, [setting] * len(chunks), chunks)
        finally:
            pool.shutdown(cancel_futures=True)


def _play(setting: Setting, seeds: range) -> Result:
    result = Result({name: Tally(ALARM_METRICS[name]) for name in setting.designs})
    for seed in seeds:
        plan = setting.plan(seed)
        for name in setting.designs:
            history = DESIGNS[name](plan, setting.figures).play()
            result.tallies[name].add(history)
            if history.broken is not None and result.broken is None:
                result.broken = seed
    return result


def told(setting: Setting, seed: int) -> str:
    """The smallest form of a history that breaks a promise, as a person reads it."""
    design = DESIGNS["observerd"]
    whole = design(setting.plan(seed), setting.figures).play()
    assert whole.broken is not None  # noqa: S101 the same seed is the same history
    name = whole.broken.name

    def breaks(plan: Plan) -> bool:
        broken = design(plan, setting.figures).play().broken
        return broken is not None and broken.name == name

    small = design(shrink(whole.plan, breaks), setting.figures).play()
    lines = [
        f"seed {seed} breaks a promise: {whole.broken}",
        f"Shrunk from {_size(whole.plan)} to {_size(small.plan)}:",
        "  runs of: " + "; ".join(map(str, small.plan.schedules)),
        *(f"  {fault}" for fault in small.plan.faults),
        "",
        *map(str, small.timeline),
        "",
        f"The whole of it: {_command(setting, seed)}",
    ]
    return "\n".join(lines)


def _command(setting: Setting, seed: int) -> str:
    command = "observerd simulate --design observerd --timeline"
    return f"{command} --first-seed {seed} --seeds 1 {_options(setting)}"


def _size(plan: Plan) -> str:
    faults, runs = len(plan.faults), len(plan.due())
    return f"{faults} fault{'s' * (faults != 1)} and {runs} run{'s' * (runs != 1)}"


def _options(setting: Setting) -> str:
    faults = next((name for name, known in PRESETS.items() if known == setting.kinds), None)
    faults = faults or ",".join(sorted(setting.kinds))
    return f"--days {setting.days:g} --job-time {setting.job_s:g}s --faults {faults}"


def _described(setting: Setting) -> str:
    return f"jobs of about {setting.job_s:g} s; faults: {_faults_text(setting)}"


def _faults_text(setting: Setting) -> str:
    kinds = ", ".join(sorted(setting.kinds))
    preset = next((name for name, known in PRESETS.items() if known == setting.kinds), None)
    if preset:
        return f"{preset} ({len(setting.kinds)} kinds)" if setting.kinds else preset
    return kinds if len(setting.kinds) <= 3 else f"{len(setting.kinds)} kinds"  # noqa: PLR2004 a line's worth


def _print_timelines(setting: Setting) -> None:
    for name, history in first_histories(setting).items():
        print(f"---- {name}, seed {setting.first_seed}")
        print("\n".join(map(str, history.timeline)), end="\n\n")


def first_histories(setting: Setting) -> dict[str, History]:
    """Each design's history of the first seed."""
    plan = setting.plan(setting.first_seed)
    return {name: DESIGNS[name](plan, setting.figures).play() for name in setting.designs}


def _draw(plot: Path, setting: Setting, result: Result) -> None:
    caption = f"{span(next(iter(result.tallies.values())))}; {_described(setting)}"
    draw = svg if plot.suffix == ".svg" else html
    try:
        plot.write_text(draw(result.tallies, first_histories(setting), caption, setting.figures))
    except OSError as error:
        raise BadRequest(f"{plot}: {error.strerror}") from None
    print(f"\n{plot} written", file=sys.stderr)


def _schedules(path: Path) -> tuple[Schedule, ...]:
    try:
        text = path.read_text()
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadRequest(f"{path}: not a text of UTF-8") from None
    try:
        return read_crontab(text)
    except BadCrontab as bad:
        raise BadRequest("\n".join(f"{path}: {line}" for line in str(bad).splitlines())) from None
