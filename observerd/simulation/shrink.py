"""Makes a failing plan smaller for as long as it breaks the same promise."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from observerd.simulation.faults import Plan

# Each try is a whole history; beyond this a person is better served soon.
TRIES_AT_MOST = 400


def shrink(plan: Plan, breaks: Callable[[Plan], bool]) -> Plan:
    """The smallest plan found: fewer faults, schedules, days and runs. breaks(plan) must hold."""
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
    for chunk in _chunks(len(plan.faults)):
        left = (fault for number, fault in enumerate(plan.faults) if number not in chunk)
        yield replace(plan, faults=tuple(left))
    if plan.jobs_fail:
        yield replace(plan, jobs_fail=False)
    if len(plan.schedules) > 1:
        for gone in range(len(plan.schedules)):
            yield replace(plan, schedules=plan.schedules[:gone] + plan.schedules[gone + 1 :])
    for share in (0.25, 0.5, 0.75, 0.9):
        shorter = replace(plan, days=round(plan.days * share, 3))
        if not plan.left_out and shorter.due() and len(shorter.due()) < len(plan.due()):
            yield shorter
    there = [number for number in range(len(plan.due()) + len(plan.left_out)) if number not in plan.left_out]
    for chunk in _chunks(len(there)):
        if len(chunk) < len(there):
            yield replace(plan, left_out=plan.left_out.union(there[place] for place in chunk))


def _chunks(count: int) -> Iterator[range]:
    """All of so many, then each half, each quarter, and so on down to each one."""
    width = count
    while width:
        yield from (range(begin, min(begin + width, count)) for begin in range(0, count, width))
        width //= 2
