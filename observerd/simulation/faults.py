"""What can go wrong, and one seed's choice of it. A plan is a value."""

import random
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from observerd.simulation.crontab import Schedule, instants
from observerd.simulation.stack import Stack

DAY_S = 86_400.0
# 2026-11-23, a Monday, 00:00 UTC. No history depends on the day it is made.
EPOCH = 1_795_392_000.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: how many to expect in a history, and how long one lasts."""

    text: str
    expected: float
    low_s: float = 0.0
    high_s: float = 0.0


# Faults of the cloud first, then of an instance, then of the daemon and of people. Those of which none is
# expected have to be asked for: against never-ready stands a person alone (the Stalled alarm).
KINDS = {
    "queue-down": Kind("SQS answers every call with an error", 0.3, 2, 600),
    "queue-hangs": Kind("SQS answers no call", 0.2, 2, 300),
    "slow-calls": Kind("calls take seconds", 0.6, 60, 1_800),
    "lost-answers": Kind("a call is carried out, but its answer is lost", 0.6, 60, 1_800),
    "empty-answers": Kind("a receive finds nothing although a message waits", 0.3, 60, 900),
    "group-down": Kind("Auto Scaling throttles every call", 0.5, 10, 900),
    "group-hangs": Kind("Auto Scaling answers no call", 0.3, 2, 300),
    "give-up-denied": Kind("no worker may terminate itself", 0.2, 300, 3_600),
    "metadata-silent": Kind("the instance metadata does not answer", 0.4, 5, 900),
    "message-at-exit": Kind("messages are sent just as the next workers give themselves up", 0.8),
    "wake-fails": Kind("the producer cannot wake the group", 0.5, 60, 3_600),
    "producer-fails": Kind("the producer fails before or after it has sent", 0.5, 30, 900),
    "fires-twice": Kind("the scheduler delivers every event twice", 0.3, 60, 3_600),
    "late-metrics": Kind("metrics come minutes late", 0.3, 600, 3_600),
    "launch-fails": Kind("no instance can be launched", 0.3, 60, 1_200),
    "zone-lost": Kind("an Availability Zone and all in it is gone", 0.2, 600, 3_600),
    "dead-letter-denied": Kind("the dead-letter queue takes nothing", 0.2, 300, 3_600),
    "spot": Kind("a Spot instance is reclaimed", 0.5),
    "rebalance": Kind("EC2 recommends to leave a Spot instance", 0.3),
    "hardware": Kind("an instance dies without a word", 0.4),
    "partition": Kind("an instance reaches nothing", 0.5, 5, 900),
    "slow-boot": Kind("the next instance needs minutes to boot", 0.2, 60, 400),
    "never-ready": Kind("the next instance boots, but its daemon never comes up", 0.0),
    "crash": Kind("the daemon is killed", 0.6),
    "hang": Kind("the daemon's main thread stands still", 0.4, 5, 600),
    "crash-loop": Kind("the daemon dies at every start", 0.2),
    "bad-jobs": Kind("jobs fail, hang or ignore TERM (and now and then at any time)", 0.6, 600, 7_200),
    "ended-by-hand": Kind("a person ends an instance", 0.3),
    "given-up-by-hand": Kind("a person calls `observerd terminate`", 0.2),
    "standby-by-hand": Kind("a person puts an instance into standby", 0.2, 60, 1_800),
    "minimum-by-hand": Kind("a person raises the group's minimum to 1", 0.2, 600, 7_200),
    "hook-deleted": Kind("the lifecycle hook is not there", 0.2, 600, 7_200),
    "shrunk-by-hand": Kind("a person sets the desired capacity to 0", 0.3),
    "restarted-by-hand": Kind("a person restarts the daemon", 0.2),
    "reloaded-by-hand": Kind("a person has the daemon reload its configuration", 0.2),
    "drained-by-hand": Kind("a person has the daemon drain", 0.3),
}

# Faults of the network and of services: no worker dies of them, and no receive misses what waits.
OUTSIDE = frozenset(
    {
        "queue-down", "queue-hangs", "slow-calls", "lost-answers", "group-down", "group-hangs",
        "give-up-denied", "metadata-silent", "message-at-exit", "wake-fails", "producer-fails", "fires-twice",
        "late-metrics", "launch-fails", "dead-letter-denied", "bad-jobs", "minimum-by-hand",
        "reloaded-by-hand",
    }
)  # fmt: skip

PRESETS = {
    "none": frozenset[str](),
    "outside": OUTSIDE,
    "all": frozenset(name for name, kind in KINDS.items() if kind.expected),
}


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault: from at (seconds after the start) for so long; where picks the instance or the zone."""

    at: float
    kind: str
    for_s: float
    where: int

    def __str__(self) -> str:
        lasting = f" for {self.for_s:.0f} s" if self.for_s else ""
        return f"{self.kind}: {KINDS[self.kind].text}{lasting}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is settled before a history begins."""

    seed: int
    days: float
    schedules: tuple[Schedule, ...]
    faults: tuple[Fault, ...] = ()
    job_s: float = 120.0
    """The median run time of a job."""
    slots: int = Stack().slots
    jobs_fail: bool = False
    """Whether a job fails now and then, with no fault of anybody else's."""
    left_out: frozenset[int] = frozenset()
    """Which of the runs are not, by their number: what shrinking could do without."""
    start: float = EPOCH

    @property
    def end(self) -> float:
        """After it no schedule fires and no fault begins."""
        return self.start + self.days * DAY_S

    def due(self) -> list[tuple[float, Schedule]]:
        """Every run: its instant and its schedule."""
        runs = [(at, line) for line in self.schedules for at in instants(line, self.start, self.end)]
        runs.sort(key=lambda run: (run[0], run[1].job))
        return [run for number, run in enumerate(runs) if number not in self.left_out]

    def draw(self, *names: object) -> random.Random:
        """The random source of one thing in this history, the same whatever else happens in it."""
        return random.Random("/".join(map(str, (self.seed, *names))))  # noqa: S311 repeatable


def draw_plan(
    seed: int, days: float, schedules: tuple[Schedule, ...], kinds: Collection[str], job_s: float = 120.0
) -> Plan:
    """One seed's plan; without schedules, with a crontab of its own."""
    bare = Plan(seed, days, schedules, job_s=job_s, jobs_fail="bad-jobs" in kinds)
    if not schedules:
        # With one slot a burst is soon more than one worker can do.
        slots = bare.draw("slots").choice((1, Stack().slots))
        bare = replace(bare, schedules=made_up(bare.draw("crontab")), slots=slots)
    return replace(bare, faults=tuple(sorted(_faults(bare, kinds))))


def made_up(draw: random.Random) -> tuple[Schedule, ...]:
    """A crontab with bursts, lone runs and jobs that meet: what shows a scheduler's corners in one day."""
    hour = draw.randrange(24)
    minute = draw.randrange(60)
    candidates = (
        f"{minute} {hour} * * *",
        f"*/{draw.choice((1, 2, 3, 4, 5, 6))} {hour} * * *",
        f"{minute}-{min(59, minute + draw.randrange(4))} {draw.randrange(24)} * * *",
        f"{draw.randrange(60)} */{draw.choice((4, 6, 8))} * * *",
        f"{minute},{(minute + draw.choice((3, 4, 5))) % 60} {draw.randrange(24)} * * *",
    )
    chosen = draw.sample(candidates, draw.choice((1, 2, 2, 3)))
    return tuple(
        Schedule(expression, f"job-{number}", overlaps=draw.random() < 0.3)  # noqa: PLR2004 some
        for number, expression in enumerate(chosen, 1)
    )


def _faults(plan: Plan, kinds: Iterable[str]) -> Iterator[Fault]:
    due = plan.due()
    for kind in sorted(kinds):
        # Each kind has a source of its own: leaving one out moves no other.
        draw = plan.draw("faults", kind)
        expected = KINDS[kind].expected or 1.0
        # A history is about one day's trouble however long it is; a longer one has more of it.
        count = sum(draw.random() < expected / 2 for _ in range(round(2 * max(1.0, plan.days))))
        for _ in range(count):
            yield _fault(plan, kind, due, draw)


def _fault(plan: Plan, kind: str, due: list[tuple[float, Schedule]], draw: random.Random) -> Fault:
    low_s, high_s = KINDS[kind].low_s, KINDS[kind].high_s
    # Trouble at rest shows nothing: most faults come while there is something to break.
    near = draw.choice(due)[0] - plan.start + draw.uniform(-120.0, 600.0) if due else 0.0
    at = near if due and draw.random() < 0.9 else draw.uniform(0.0, plan.days * DAY_S)  # noqa: PLR2004 as above
    # Short ones are as likely as long ones.
    for_s = low_s * (high_s / low_s) ** draw.random() if low_s else 0.0
    return Fault(max(0.0, at), kind, round(for_s, 1), draw.randrange(1_000))
