"""Runs jobs with limits by the systemd executor, and prints how each ended: one JSON object a line."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from observerd.bell import Bell
from observerd.core.events import Message
from observerd.core.job import Job
from observerd.core.request import Request
from observerd.core.run import Run, outcome_of, reason_of
from observerd.executors.systemd import SystemdExecutor

EATS_MEMORY = "/usr/bin/python3 -c 'bytearray(400_000_000)'"
BURNS_A_SECOND = """
import time
began, used = time.monotonic(), time.process_time()
while time.process_time() < used + 1:
    pass
print(time.monotonic() - began)
"""
JOBS = (
    Job("memory", ("/bin/sh", "-c", f"exec {EATS_MEMORY}"), memory_max=64 << 20),
    Job("memory-of-a-child", ("/bin/sh", "-c", f"{EATS_MEMORY}; echo went on; exit 0"), memory_max=64 << 20),
    Job("enough-memory", ("/bin/sh", "-c", f"exec {EATS_MEMORY}"), memory_max=1 << 30),
    Job("tasks", ("/bin/sh", "-c", "for n in 1 2 3 4 5; do sleep 3 & done; wait"), tasks_max=4),
    Job("cpu", ("/usr/bin/python3", "-c", BURNS_A_SECOND), cpu_quota="20%"),
    Job("killed", ("/bin/sh", "-c", "kill -KILL $$"), memory_max=64 << 20),
)


def told(executor, job):
    chunks, bell = [], Bell()
    run = Run(job, Request(job.name, "0123456789abcdef", 0.0, ""), Message("m-1", "", "", received_at=0.0))
    ended = executor.run(run, chunks.append, bell)
    bell.close()
    return {
        "job": job.name,
        "outcome": outcome_of(ended, job).value,
        "reason": reason_of(ended, job),
        "max_rss_bytes": ended.max_rss_bytes,
        "output": b"".join(chunks).decode(),
    }


def main():
    executor = SystemdExecutor("nobody", {}, 20.0, {})
    for job in JOBS:
        sys.stdout.write(json.dumps(told(executor, job)) + "\n")
        sys.stdout.flush()
    executor.close()


main()
