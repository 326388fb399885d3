"""A worker's own wall clock: its error in seconds is what the file OWN_CLOCK holds.

Python imports this first where the directory is in PYTHONPATH. libfaketime would be the usual tool; with it
Python's sleep() fails (0.9.10, clock_nanosleep).
"""

import os
import time

_true = time.time


def _stepped() -> float:
    try:
        with open(os.environ["OWN_CLOCK"]) as file:  # noqa: PTH123 pathlib is not there yet
            return _true() + float(file.read() or 0)
    except (OSError, ValueError):
        return _true()  # It is written just now, or there is no descriptor left.


time.time = _stepped
