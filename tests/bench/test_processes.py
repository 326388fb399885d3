"""Programs with their families: what they cost, and that they end whole."""

import sys
import time
from pathlib import Path

from bench.imports import REST, Start, owner_of, profile
from bench.processes import Program, cost, cpu_s

PARENT = """
import subprocess, sys, time
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.3: pass"])
child = subprocess.Popen(["/bin/sh", "-c", "sleep 600 & echo ready; wait"], start_new_session=True)
child.wait()
"""


def ready(log):
    deadline = time.monotonic() + 60
    while "ready" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_family_is_counted_and_ended_whole(tmp_path):
    log = tmp_path / "log"
    with Program((sys.executable, "-c", PARENT), log) as program:
        ready(log)
        family = program.family()
        assert len(family) == 3
        # Of the child that has ended, too.
        assert cpu_s([program]) >= 0.25
        found = cost([program])
        assert found.cpu_s >= 0.25
        assert found.peak_bytes > found.bytes > 1_000_000
        program.kill_family()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in family):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    # A zombie has ended; who collects it is not our business.
    return state != "Z"


def test_imports_are_read_from_pythons_own_report():
    text = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:       150 |        150 |   zipimport\n"
        "import time:      1500 |       9000 |     botocore.config\n"
        "something else\n"
    )
    assert profile(text) == {"zipimport": 150, "botocore.config": 1500}


def test_imports_have_owners():
    assert owner_of("botocore.config") == owner_of("urllib3") == "boto3 and botocore"
    assert owner_of("observerd.core.run") == "observerd"
    assert owner_of("json") == REST


def test_what_is_no_import_is_the_rest():
    start = Start(100.0, {"observerd": 20_000, "observerd.core": 10_000, "json": 30_000})
    assert start.of("observerd") == (2, 30.0)
    assert start.of(REST) == (1, 30.0)
    assert start.rest_ms(interpreter_ms=15.0) == 25.0
