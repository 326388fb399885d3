"""What many histories of one design add up to."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil, inf

from observerd.simulation.books import ENDINGS, Run
from observerd.simulation.figures import Figures
from observerd.simulation.world import History

DAYS_A_MONTH = 30.0


@dataclass(slots=True)
class Tally:
    """Counts of runs, and what the instances cost."""

    alarm_metrics: int
    """How many metrics the design's alarms are billed for."""
    days: float = 0.0
    histories: int = 0
    delays_s: list[float] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    behind: int = 0
    """Runs that were due while an earlier run of their job was still to end."""
    repeated: int = 0
    """Successes beyond the first of a run."""
    killed: int = 0
    """Processes that died with their machine or their daemon, or by its scaling."""
    instance_s: float = 0.0
    launches: int = 0

    def add(self, history: History) -> None:
        self.days += history.plan.days
        self.histories += 1
        self.instance_s += history.instance_s
        self.launches += history.launches
        runs = [run for run in history.runs if not run.by_hand]
        self.behind += _behind(runs)
        for run in runs:
            self.runs += 1
            self.ended[run.ended_as or "lost"] += 1
            self.repeated += max(0, run.successes - 1)
            self.killed += run.count("killed")
            if run.delay_s is not None:
                self.delays_s.append(run.delay_s)

    def merge(self, other: "Tally") -> None:
        self.days += other.days
        self.histories += other.histories
        self.delays_s += other.delays_s
        self.ended += other.ended
        self.runs += other.runs
        self.behind += other.behind
        self.repeated += other.repeated
        self.killed += other.killed
        self.instance_s += other.instance_s
        self.launches += other.launches

    def hours_a_day(self) -> float:
        return self.instance_s / 3_600.0 / self.days

    def cost_a_month(self, figures: Figures) -> float:
        """In US dollars: instances, their addresses, and the alarms."""
        hours = self.hours_a_day() * DAYS_A_MONTH
        alarms = self.alarm_metrics * figures.alarm_metric_price_month
        return hours * (figures.instance_price_h + figures.address_price_h) + alarms


def _behind(runs: Iterable[Run]) -> int:
    count, ends_at = 0, dict[str, float]()
    for run in sorted(runs, key=lambda each: each.scheduled_at):
        count += not run.overlaps and ends_at.get(run.job, -inf) > run.scheduled_at
        ended = [attempt.ended_at for attempt in run.attempts if attempt.ended_at is not None]
        ends_at[run.job] = max([ends_at.get(run.job, -inf), *ended])
    return count


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile of sorted values; None of none."""
    return values[max(0, ceil(share * len(values)) - 1)] if values else None


def seconds_text(seconds: float | None) -> str:
    """Seconds as people say them: 48 s, 9 min 40 s, 3 h 05 min."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 100:  # noqa: PLR2004 a person's "90 seconds"
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:  # noqa: PLR2004 minutes of an hour
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def rows(tally: Tally, figures: Figures) -> dict[str, str]:
    """What is shown of a design, in this order."""
    delays = sorted(tally.delays_s)
    shown = {"runs started": f"{len(delays)} of {tally.runs}"}
    shown |= {
        f"start delay, {name}": seconds_text(percentile(delays, share))
        for name, share in (("median", 0.5), ("90 %", 0.9), ("99 %", 0.99), ("longest", 1.0))
    }
    shown["runs due behind their own job"] = str(tally.behind)
    shown |= {f"runs {ending}": str(tally.ended[ending]) for ending in ENDINGS}
    return shown | {
        "runs repeated": str(tally.repeated),
        "processes killed": str(tally.killed),
        "instances launched": str(tally.launches),
        "instance-hours a day": f"{tally.hours_a_day():.2f}",
        "cost a month": f"${tally.cost_a_month(figures):.2f}",
    }


def table(tallies: dict[str, Tally], figures: Figures) -> str:
    """The designs side by side, one figure a line."""
    columns = {name: rows(tally, figures) for name, tally in tallies.items()}
    labels = list(next(iter(columns.values())))
    wide = max(map(len, labels))
    lines = [" " * wide + "".join(f"{name:>16}" for name in columns)]
    lines += [
        f"{label:{wide}}" + "".join(f"{each[label]:>16}" for each in columns.values()) for label in labels
    ]
    return "\n".join(lines)


def span(tally: Tally) -> str:
    return f"{tally.histories} histories, {tally.days:g} days, {tally.runs} runs"
