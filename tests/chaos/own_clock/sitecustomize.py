"""A process's own clocks. The file OWN_CLOCK has the error of its wall clock in seconds, the file SUSPENDED
for how long its machine has been suspended.

Python imports this first where the directory is in PYTHONPATH. libfaketime would be the usual tool; with it
Python's sleep() fails (0.9.10, clock_nanosleep).
"""

import os
import time

_wall, _of = time.time, time.clock_gettime


def _told(name: str) -> float:
    try:
        with open(os.environ[name]) as file:  # noqa: PTH123 pathlib is not there yet
            return float(file.read() or 0)
    except (KeyError, OSError, ValueError):
        return 0.0  # It is written just now, or there is no descriptor left.


def _clock_gettime(clock: int) -> float:
    return _of(clock) + (_told("SUSPENDED") if clock == time.CLOCK_BOOTTIME else 0.0)


time.time = lambda: _wall() + _told("OWN_CLOCK")
time.clock_gettime = _clock_gettime
