"""One formula for every wait that grows."""


def backoff_s(base_s: float, failures: int, cap_s: float, jitter: float) -> float:
    """Seconds to wait after the given number of failures (1 or more): base, doubled each time, capped.

    jitter is a number in [0, 1) from the caller's random source: it takes off up to half, so that workers
    which failed together do not come back together.
    """
    # 2.0**64 is past every cap; without the bound a long outage overflows the float.
    full_s = min(cap_s, base_s * 2.0 ** min(failures - 1, 64))
    return full_s * (1.0 - jitter / 2.0)
