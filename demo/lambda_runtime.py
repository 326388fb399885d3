"""Stands in for the Lambda runtime: `python lambda_runtime.py DIRECTORY MODULE.FUNCTION`.

The event comes as JSON on standard input, the answer goes as JSON to standard output. What the function
prints goes to standard error, as its log: each line behind its Unix time in milliseconds. Runs by itself, in
a process with nothing of the demo's in it.
"""

import contextlib
import importlib
import io
import json
import sys
import time


class Log(io.TextIOBase):
    """Takes whole lines."""

    def write(self, line: str) -> int:
        return sys.stderr.write(f"{time.time() * 1000:.0f} {line}")


def main() -> None:
    directory, handler = sys.argv[1:]
    module, function = handler.split(".")
    event = json.load(sys.stdin)
    sys.path.insert(0, directory)
    # Nothing may be left beside the source.
    sys.dont_write_bytecode = True
    with contextlib.redirect_stdout(Log()):
        answer = getattr(importlib.import_module(module), function)(event, None)
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
