"""What the jobs of the world are like: how long a run takes, how it ends, and how it takes being told to."""

import random
from dataclasses import dataclass
from math import exp

from observerd.core.job import Job

# A run's time spreads around the median by this much (sigma of the log-normal).
SPREAD = 0.6


@dataclass(frozen=True, slots=True)
class Health:
    """What share of the attempts fails, hangs for ever, or ignores TERM."""

    fail: float = 0.0
    hang: float = 0.0
    deaf: float = 0.0


WELL, USUAL, BAD = Health(), Health(fail=0.03, hang=0.005, deaf=0.05), Health(fail=0.35, hang=0.2, deaf=0.4)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One attempt of one run, left alone. run_s is infinite for one that hangs."""

    run_s: float
    exit_code: int
    is_deaf: bool
    """Whether it ignores TERM."""
    tidy_s: float
    """What it takes to end after TERM."""


def job_of(name: str, median_s: float, max_lateness_s: float) -> Job:
    """The job's rules on the machine image."""
    return Job(
        name=name,
        command=("/bin/true",),
        timeout_s=max(600.0, 5.0 * median_s),
        max_lateness_s=max_lateness_s,
    )


def behaviour(draw: random.Random, median_s: float, health: Health) -> Behaviour:
    run_s = median_s * exp(draw.gauss(0.0, SPREAD))
    chance = draw.random()
    return Behaviour(
        run_s=float("inf") if chance < health.hang else run_s,
        # 64 is one of those that forbid another attempt.
        exit_code=0 if chance >= health.hang + health.fail else draw.choice((1, 1, 1, 64)),
        is_deaf=draw.random() < health.deaf,
        tidy_s=draw.uniform(0.05, 5.0),
    )
