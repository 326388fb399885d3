"""`python -m tests.fuzz`: each target for a while, or those named, with bytes that take new branches.

What it finds is a file below build/fuzz/NAME; `python -m tests.fuzz NAME --replay FILE` shows it again.
"""

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

from tests.fuzz.seeds import SEEDS

# libFuzzer's limits for one input: longer or larger than this is a defect as well.
SECONDS_AT_MOST, MIB_AT_MOST = 10, 2_048


def main():
    arguments = _arguments()
    if arguments.replay:
        return _replay(arguments.names[0], arguments.replay.read_bytes())
    if arguments.inside:
        return _fuzz(arguments.names[0], arguments.seconds)
    return max([_apart(name, arguments.seconds) for name in arguments.names or SEEDS])


def _arguments():
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", choices=[*SEEDS, []], metavar="NAME", help=", ".join(SEEDS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="show once more what one input does")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _apart(name, seconds):
    """In a process of its own, which libFuzzer ends."""
    command = (sys.executable, "-m", "tests.fuzz", name, "--inside", "--seconds", str(seconds))
    with _log(name).open("wb") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    lines = _log(name).read_text(errors="replace").splitlines()
    print(
        f"{name}: {lines[-1] if lines else 'nothing said'} (status {done.returncode}, {_log(name)})",
        flush=True,
    )
    return 1 if done.returncode else 0


def _replay(name, data):
    from tests.fuzz.targets import TARGETS

    TARGETS[name](data)
    print(f"{name}: nothing is wrong with it")
    return 0


def _fuzz(name, seconds):
    import atheris

    with atheris.instrument_imports(include=["observerd"]):
        from tests.fuzz.targets import TARGETS
    corpus = _log(name).with_suffix("")
    corpus.mkdir(exist_ok=True)
    for seed in SEEDS[name]:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    limits = (f"-max_total_time={seconds}", f"-timeout={SECONDS_AT_MOST}", f"-rss_limit_mb={MIB_AT_MOST}")
    options = [*limits, "-max_len=8192", f"-artifact_prefix={corpus}-", str(corpus)]
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()
    return 0


def _log(name):
    directory = Path("build", "fuzz")
    directory.mkdir(parents=True, exist_ok=True)
    return directory / f"{name}.log"


if __name__ == "__main__":
    sys.exit(main())
