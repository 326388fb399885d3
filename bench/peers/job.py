"""What every Python peer's task does: run the command of BENCH_COMMAND, and fail if it fails."""

import json
import os
import subprocess

COMMAND = json.loads(os.environ["BENCH_COMMAND"])


def run(number: int) -> None:
    subprocess.run([part.replace("{number}", str(number)) for part in COMMAND], check=True)
