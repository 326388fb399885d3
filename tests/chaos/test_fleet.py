"""Eight daemons, one queue, and much that goes wrong: every message is accounted for."""

import subprocess
import sys
from pathlib import Path

from tests.chaos.accounts import complaints
from tests.chaos.fleet import Fleet
from tests.daemon import ROOT, Daemon
from tests.support import eventually

MESSAGES = 160
# One after the other, so that none hides what another does; the rest of the time they overlap. While one
# hangs, SQS is well: another worker is soon given what that one let go of.
TROUBLES = (
    "kill",
    "stand_still",
    "foul_weather",
    "throttle",
    "kill",
    "cut_off",
    "expired_credentials",
    "outage",
    "clock_step",
    "hang",
    "no_processes",
    "no_cloudwatch",
    "full_disk",
    "leave",
    "no_memory",
    "no_descriptors",
    "leave_on_a_full_disk",
    "kill",
    "stand_still",
)


def test_a_fleet_in_trouble_accounts_for_every_message(tmp_path):
    with Fleet(tmp_path, 8) as fleet:
        for trouble in TROUBLES:
            fleet.send(MESSAGES // len(TROUBLES))
            fleet.live(0.7)
            fleet.befall(trouble)
        assert fleet.settle(60.0), f"not done: {len(fleet.sqs.bodies())} messages left; {fleet.faults[:3]}"
        facts = fleet.facts()

    eventually(lambda: not fleet.jobs_left())
    assert ([], []) == (fleet.faults, complaints(facts))


def test_a_full_disk_under_its_journal_costs_no_run(sqs, tmp_path):
    daemon = Daemon(sqs, tmp_path, "[job.note]\nshell = 'echo talks; echo note >> LEDGER'\n", slots=2)
    for _ in range(6):
        sqs.send_job("note")
    command = (sys.executable, "-m", "observerd", "run", "--drain", "--config", daemon.config)

    with Path("/dev/full").open("w") as full:
        left = subprocess.run(
            command, cwd=ROOT, env=daemon.environ, stdout=full, stderr=full, timeout=60, check=False
        )

    assert (6, [], 0) == (daemon.ledger.read_text().count("note"), sqs.bodies(), left.returncode)
