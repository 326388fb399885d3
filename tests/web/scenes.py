"""Moments in a daemon's life, as its status tells them, and a site that shows one."""

import time
from types import MappingProxyType, SimpleNamespace

from observerd import clock
from observerd.core.events import Outcome
from observerd.core.job import Job
from observerd.metrics import Metrics
from observerd.status import History, InProgress, Past, State, Status
from observerd.web.report import About
from observerd.web.site import Site

HOSTILE = "</pre></td><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
ABOUT = About(
    host="ip-10-0-1-17",
    pid=711,
    queue="nightly-jobs.fifo",
    region="ap-northeast-1",
    executor="systemd",
    log_group="/observerd/nightly/jobs",
    started_at=time.time() - 95_000,
)
JOBS = MappingProxyType(
    {
        name: Job(name, ("/bin/true",), description=text, attempts=3, timeout_s=7_200.0)
        for name, text in (
            ("billing-run", "Invoices of the day, to the ledger"),
            ("nightly-feed", "Product feed for the shops"),
            ("prune-uploads", "Uploads that nobody finished"),
            ("rebuild-search", ""),
        )
    }
)


def past(job="nightly-feed", outcome=Outcome.SUCCEEDED, ago_s=60.0, **facts):
    given = {
        "run_id": "8f14e45fceea167a",
        "attempt": 1,
        "duration_s": 42.0,
        "exit_code": 0,
        "signal": None,
        "reason": None,
        "settled": "deleted",
        "back_in_s": None,
        "log_stream": f"{job}/2026-11-23T18-00-00Z/8f14e45fceea167a/1",
        "last_lines": "",
        **facts,
    }
    return Past(job=job, outcome=outcome, ended_at=clock.now() - ago_s, **given)


def failed(job="prune-uploads", **facts):
    given = {
        "exit_code": 3,
        "reason": "exit code 3",
        "settled": "released",
        "back_in_s": 60.0,
        "last_lines": "connecting to store-7\nstore-7: no space left on device",
        **facts,
    }
    return past(job, Outcome.FAILED, **given)


def in_progress(job="billing-run", since_s=754.0, **facts):
    given = {
        "message_id": "m-1",
        "run_id": "c9f0f895fb98ab91",
        "attempt": 1,
        "log_stream": f"{job}/2026-11-24T02-00-00Z/c9f0f895fb98ab91/1",
        "start_delay_s": 48.3,
        **facts,
    }
    return InProgress(job=job, began_at=clock.now() - since_s, **given)


def history(last, *durations_s):
    bars = tuple((Outcome.SUCCEEDED, took_s) for took_s in durations_s)
    return History(last, (*bars, (last.outcome, last.duration_s or 0.0)), last.ended_at)


def status(state=State.IDLE, **facts):
    now = clock.now()
    return Status(now, state, **{"jobs": JOBS, "slots": 4, "received_at": now - 3, **facts})


def busy_night():
    """What a person finds at three in the morning."""
    feed = past(ago_s=31.0, duration_s=48.2, run_id="45c48cce2e2d7fbd")
    pruned = failed(ago_s=12.0, duration_s=6.4, attempt=2, run_id="d3d9446802a44259")
    dead = failed(
        "rebuild-search",
        ago_s=140.0,
        run_id="6512bd43d9caa6e0",
        duration_s=121.0,
        attempt=3,
        back_in_s=None,
        settled="dead-lettered: attempts used up",
        last_lines="index: shard 4 of 7\nindex: merge failed: checksum differs",
    )
    return status(
        State.RUNNING,
        running=(
            in_progress(),
            in_progress("nightly-feed", 187.0, run_id="c51ce410c124a10e", start_delay_s=3.1),
        ),
        recent=(
            pruned,
            feed,
            dead,
            past(ago_s=200.0, duration_s=39.0, run_id="c20ad4d76fe97759"),
            past(ago_s=290.0),
        ),
        histories={
            "billing-run": history(past("billing-run", ago_s=90_000.0, duration_s=1_210.0), 1_180.0, 1_302.0),
            "nightly-feed": history(feed, 41, 44, 39, 52, 47, 40, 90, 43, 45, 41, 42, 39.0),
            "prune-uploads": history(pruned, 5, 7, 6.2, 5.9),
            "rebuild-search": history(dead, 610, 595, 640),
        },
    )


LONG = "rebuild-the-search-index-of-the-shops-in-all-the-countries-that-we-deliver-to-12"  # Of 80.


def unwieldy_night():
    """Names and reasons as long as they may be, in a worker that leaves."""
    shard = failed(LONG, reason=f"cannot start {'x' * 300}", last_lines="y" * 500)
    return status(
        State.DRAINING,
        fault="z" * 300,
        slots=64,
        jobs={LONG: Job(LONG, ("x",), description="of every shop " * 12)},
        running=tuple(in_progress(LONG, 400.0 * count) for count in range(9)),
        recent=(
            shard,
            past(None, Outcome.REJECTED, run_id=None, duration_s=None, log_stream=None, reason="not JSON"),
            past(LONG, Outcome.INTERRUPTED, reason="Spot", settled="released", back_in_s=0.0),
        ),
        histories={LONG: history(shard, *range(30))},
    )


def site(status, about=ABOUT, hosts=()):
    """A Site that shows status: a value, or a function that gives the one of the moment."""
    board = SimpleNamespace(status=status)
    metrics = Metrics(JOBS, 4)
    metrics.show(lambda: board.status)
    metrics.start_at_zero()
    return Site(metrics, board, about, frozenset(hosts)), board
