"""How durations and sizes are written in configuration files and messages."""

import re
import reprlib

# Twelve digits are enough for every use, and too few to overflow a float.
_DURATION = re.compile(
    r"(?:(\d{1,12})d)?(?:(\d{1,12})h)?(?:(\d{1,12})m)?(?:(\d{1,12}(?:\.\d{1,3})?)s)?", re.ASCII
)
_SIZE = re.compile(r"(\d{1,18})([KMGT]?)", re.ASCII)
_SECONDS = (86_400, 3_600, 60, 1)


def duration_s(text: str) -> float:
    """Seconds in a duration such as "90s", "2h", "1h30m" or "1d". Raises ValueError."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if not text or found is None:
        raise ValueError(f'not a duration: {reprlib.repr(text)} (write "90s", "15m", "2h" or "1h30m")')
    return float(
        sum(float(count) * unit for count, unit in zip(found.groups(), _SECONDS, strict=True) if count)
    )


def size_bytes(text: str) -> int:
    """Bytes in a size such as "512M" or "2G", in powers of 1024 as systemd counts. Raises ValueError."""
    found = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f'not a size: {reprlib.repr(text)} (write "512M" or "2G")')
    return int(found[1]) << 10 * " KMGT".index(found[2] or " ")


def size_text(size: int) -> str:
    """The shortest way to write bytes that size_bytes reads back: 536870912 is "512M"."""
    power = next(power for power in (4, 3, 2, 1, 0) if size % (1 << 10 * power) == 0)
    return f"{size >> 10 * power}{' KMGT'[power].strip()}"


def duration_text(seconds: float) -> str:
    """The shortest way to write seconds that duration_s reads back: 5400 is "1h30m"."""
    seconds = round(seconds, 3)
    if seconds != int(seconds):
        return f"{seconds:.3f}".rstrip("0") + "s"
    left, parts = int(seconds), []
    for unit, letter in zip(_SECONDS, "dhms", strict=True):
        count, left = divmod(left, unit)
        parts.append(f"{count}{letter}" if count else "")
    return "".join(parts) or "0s"
