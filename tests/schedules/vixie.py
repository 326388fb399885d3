"""cron's own loop, minute by minute: when Debian's cron and cronie start a line, whatever happens to clocks.

An oracle of another kind than cronsim: it searches nothing. It waits like the daemon, whose main() has a
clock on the wall and a virtual one that catches up with it.
"""

from datetime import timedelta

MINUTE = timedelta(minutes=1)
# What the daemon takes for being late, and for somebody setting the clock.
LATE, SET = 5 * MINUTE, 180 * MINUTE


def started(cron, zone, start, end):
    """The minutes of (start, end] in which the daemon starts the line. No clock is changed right at start."""
    at, virtual, found = start, _wall(start, zone), set()
    while at < end:
        at += MINUTE
        wall = _wall(at, zone)
        due, virtual = _due(cron, wall, virtual)
        if any(_matches(cron, each) for each in due):
            found.add(at)
    return found


def _due(cron, wall, virtual):
    """The times on the wall that are looked at now, and what the virtual clock says then."""
    late = wall - virtual
    if -SET < late <= timedelta():
        # Put back: all was done already but what follows the clock, until it has caught up.
        return ([wall] if cron.follows_clock else []), virtual
    passed = [virtual + n * MINUTE for n in range(1, late // MINUTE + 1)]
    if late > SET or late < timedelta() or (late > LATE and cron.follows_clock):
        passed = [wall]
    return passed, wall


def _wall(at, zone):
    return at.astimezone(zone).replace(tzinfo=None)


def _matches(cron, wall):
    day, weekday = wall.day in cron.days, wall.isoweekday() % 7 in cron.weekdays
    of_day = (day or weekday) if cron.either_day else (day and weekday)
    return of_day and wall.minute in cron.minutes and wall.hour in cron.hours and wall.month in cron.months
