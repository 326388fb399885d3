"""Where it was measured."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.contenders import versions


def description() -> dict[str, str]:
    return {
        "machine": f"{len(os.sched_getaffinity(0))} cores, {_processor()}",
        "load": " ".join(f"{each:.1f}" for each in os.getloadavg()),
        "system": f"Linux {platform.release()}, Python {platform.python_version()}",
        "software": f"observerd {version('observerd')}, boto3 {version('boto3')}",
        "peers": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
