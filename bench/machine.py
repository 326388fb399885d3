"""Where it was measured."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def description() -> dict[str, str]:
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    return {
        "machine": f"{len(os.sched_getaffinity(0))} cores, {_processor()}, load {load} before",
        "system": f"Linux {platform.release()}, Python {platform.python_version()}",
        "software": f"observerd {version('observerd')}, boto3 {version('boto3')}",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
