"""Tools that cannot share our environment: each has its own under build/, made when its lock changes."""

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(name):
    """The bin directory of the environment that requirements/NAME.txt describes.

    Raises CalledProcessError when it cannot be made: a gate that does not run is not passed.
    """
    lock = ROOT / "requirements" / f"{name}.txt"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    home = ROOT / "build" / f"{name}-{digest}"
    home.parent.mkdir(exist_ok=True)
    # Tests run side by side: the first to come makes it, the others wait.
    with home.with_suffix(".lock").open("w") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            _make(home, lock)
    return home / "bin"


def _make(home, lock):
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", home], check=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--quiet", "--python", home / "bin" / "python", "install"]
    subprocess.run([*pip, "--no-compile", "--require-hashes", "--requirement", lock], check=True)
    (home / "complete").touch()
