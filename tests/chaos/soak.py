"""`python -m tests.chaos.soak`: the fleet for as long as you like, with steady work and steady trouble.

Status 1 if a message is not accounted for, if a worker misbehaved, or if the one that lived through all of it
has aged. The picture shows what it had.
"""

import argparse
import itertools
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.chaos.accounts import complaints
from tests.chaos.ageing import svg, trends
from tests.chaos.fleet import Fleet
from tests.chaos.ledger import BEGIN, END
from tests.support import eventually

WORKERS = 8
SAMPLE_S, TROUBLE_S, TELL_S = 2.0, 5.0, 60.0
SETTLE_S = 180.0
TROUBLES = (
    "foul_weather", "kill", "throttle", "hang", "stand_still", "no_cloudwatch", "no_descriptors", "cut_off",
    "leave", "clock_step", "full_disk", "no_memory", "outage", "no_processes", "expired_credentials",
    "leave_on_a_full_disk",
)  # fmt: skip


def main():
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="observerd-soak-") as directory:
        fleet = Fleet(Path(directory), WORKERS, arguments.seed)
        with fleet:
            lasting = fleet.workers[0]
            troubles = _work(fleet, arguments.minutes * 60, arguments.messages)
            settled = fleet.settle(SETTLE_S)
            facts = fleet.facts()
            fleet.errors = fleet.aws.count()
        eventually(lambda: not fleet.jobs_left())
        outlived = [] if lasting is fleet.workers[0] else [f"{lasting.name} did not live to the end"]
    of_lasting = [sample for sample in fleet.samples if sample.worker == lasting.name]
    aged = [f"{each.name} grew: {each.text}" for each in trends(of_lasting) if not each.is_flat]
    wrong = [*fleet.faults, *complaints(facts), *outlived, *aged]
    caption = f"One worker of {WORKERS}, {arguments.minutes:g} minutes, {len(facts.kinds)} messages"
    arguments.svg.write_text(svg(fleet.samples, lasting.name, troubles, caption))
    _tell(fleet, facts, of_lasting, wrong if settled else ["the queue was not empty in time", *wrong])
    print(f"the picture is {arguments.svg}")
    return 1 if wrong or not settled else 0


def _arguments():
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="how long work keeps coming (default 60)")
    parser.add_argument("--messages", type=int, default=2_000, help="how many are sent (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of what happens to whom (default 0)")
    parser.add_argument("--svg", type=Path, default=Path("soak.svg"), help="the picture (default soak.svg)")
    return parser.parse_args()


def _work(fleet, for_s, messages):
    """Send, trouble and watch; the moments of trouble."""
    began_at = now = told_at = time.monotonic()
    troubles, kinds = [], itertools.cycle(TROUBLES)
    while now < began_at + for_s:
        fleet.send(round(messages * (now - began_at) / for_s) - len(fleet.kinds))
        if now - began_at >= TROUBLE_S * (len(troubles) + 1):
            fleet.befall(next(kinds))
            troubles.append(now)
        fleet.live(SAMPLE_S)
        fleet.sample()
        now = time.monotonic()
        if now - told_at >= TELL_S:
            told_at = now
            print(
                f"{(now - began_at) / 60:5.1f} min: {len(fleet.kinds)} sent, {len(fleet.sqs.bodies())} in the"
                f" queue, {len(troubles)} troubles, {fleet.faults or 'all well'}",
                flush=True,
            )
    fleet.send(messages - len(fleet.kinds))
    return troubles


def _tell(fleet, facts, of_lasting, wrong):
    written = Counter(entry.what for entry in facts.entries)
    rows = {
        "messages sent": len(facts.kinds),
        "jobs started": written[BEGIN],
        "jobs that succeeded": written[END],
        "messages deleted": len(facts.deleted),
        "in the dead-letter queue": len(facts.dead),
        "in the queue": len(facts.left),
        "workers that lived": len(facts.lives),
        "troubles": ", ".join(f"{count} {name}" for name, count in sorted(fleet.befallen.items())),
        "answers of AWS that were errors": fleet.errors,
        "bad connections": ", ".join(f"{count} {name}" for name, count in fleet.network.troubles.items()),
        **{f"{each.name} of the first": each.text for each in trends(of_lasting)},
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")
    print(
        "\n".join(f"WRONG: {each}" for each in wrong) or "every message is accounted for; nothing has grown"
    )


if __name__ == "__main__":
    sys.exit(main())
