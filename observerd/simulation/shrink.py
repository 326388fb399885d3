"""Makes a failing plan smaller for as long as it breaks the same promise."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from observerd.simulation.faults import Plan

# Each try is a whole history; beyond this a person is better served soon.
TRIES_AT_MOST = 400


def shrink(plan: Plan, breaks: Callable[[Plan], bool]) -> Plan:
    """The smallest plan found: fewer faults, fewer schedules, fewer days. breaks(plan) must hold."""
    tries = 0
    shrinking = True
    while shrinking:
        shrinking = False
        for smaller in _smaller(plan):
            tries += 1
            if tries > TRIES_AT_MOST:
                return plan
            if breaks(smaller):
                plan, shrinking = smaller, True
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    """The boldest first."""
    count = len(plan.faults)
    width = count
    while width:
        for begin in range(0, count, width):
            yield replace(plan, faults=plan.faults[:begin] + plan.faults[begin + width :])
        width //= 2
    if plan.jobs_fail:
        yield replace(plan, jobs_fail=False)
    if len(plan.schedules) > 1:
        for gone in range(len(plan.schedules)):
            yield replace(plan, schedules=plan.schedules[:gone] + plan.schedules[gone + 1 :])
    for share in (0.25, 0.5, 0.75, 0.9):
        shorter = replace(plan, days=round(plan.days * share, 3))
        if shorter.due() and len(shorter.due()) < len(plan.due()):
            yield shorter
