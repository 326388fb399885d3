"""The clock by which leases, deadlines and ages are told.

SQS goes on counting while a machine is hibernated or suspended. CLOCK_MONOTONIC, which is Python's
time.monotonic(), stands still meanwhile, and would show a lease alive that others have been given. What only
bounds a wait on this machine (a socket, a flush) may go by that.
"""

import time

# Waits in the kernel count by CLOCK_MONOTONIC. Whoever keeps a lease, or has a job to end, waits no longer at
# a time: so long after the machine is awake again, it knows.
LOOK_S = 5.0


def now() -> float:
    """Seconds since the boot: never stepped, and not stopped by a suspension (CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def asleep_s() -> float:
    """For how long the machine has been suspended since its boot."""
    return now() - time.monotonic()
