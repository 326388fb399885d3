"""How observerd's cost grows with what it is asked for: slots, messages, daemons, output, jobs defined."""

import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.daemon import SLOTS, messages, observerd
from bench.logsink import LogSink
from bench.patience import until
from bench.processes import Program
from bench.report import Heading, Line
from bench.sqs import Sqs
from bench.startup import FirstCall
from bench.witness import Witness

READY_S = 60.0
# Not faster than this, whatever the machine: what a point waits for at most.
SLOWEST_RATE, SLOWEST_OUTPUT, LEAST_S = 20.0, 1e6, 60.0
HEARTBEATS_A_LEASE = 3
OUTPUT_LINE = "x" * 99
JOB = "work"


@dataclass(frozen=True, slots=True)
class Scale:
    """How far each table goes."""

    slots: Sequence[int] = (1, 8, 64, 256)
    lease_s: int = 30
    messages: Sequence[int] = (10, 100, 1_000, 10_000, 100_000)
    daemons: Sequence[int] = (1, 2, 4, 8, 16)
    output_bytes: Sequence[int] = (100, 1_000_000, 100_000_000, 1_000_000_000)
    jobs: Sequence[int] = (1, 10, 100, 1_000, 5_000)
    starts: int = 5


QUICK = Scale((1, 64), 6, (10, 1_000), (1, 4), (100, 10_000_000), (1, 1_000), 2)


def measure(directory: Path, scale: Scale) -> Iterator[Heading | Line]:
    """Raises NotMeasured."""
    yield from _slots(directory, scale)
    yield from _messages(directory, scale)
    yield from _daemons(directory, scale)
    yield from _output(directory, scale)
    yield from _jobs(directory, scale)


def _slots(directory: Path, scale: Scale) -> Iterator[Heading | Line]:
    lease = (
        f"visibility timeout {scale.lease_s} s, a heartbeat every {scale.lease_s / HEARTBEATS_A_LEASE:g} s"
    )
    columns = ("extend calls / min", "other calls / min", "CPU s / min", "RSS MB")
    yield Heading("growth-slots", f"Slots with a running job: {lease}", columns)
    for slots in scale.slots:
        yield Line((slots, *_held(directory, slots, scale.lease_s)))


def _held(directory: Path, slots: int, lease_s: int) -> tuple[float, ...]:
    """What it costs to hold so many leases, a minute."""
    witness = Witness(directory / "witness")
    command = (*witness.command[:2], f"{witness.command[2]}; exec sleep 3600")
    with Sqs() as sqs:
        argv = observerd(
            directory, sqs.queue_url, {JOB: command}, slots=slots, visibility_timeout=f"{lease_s}s"
        )
        with Program(argv, directory / "slots.log") as daemon:
            sqs.offer(messages(JOB, slots))
            until(lambda: witness.jobs() >= slots, READY_S, f"{slots} jobs run", [daemon])
            # The first heartbeats bear the traces of the start.
            time.sleep(lease_s / HEARTBEATS_A_LEASE)
            before, cpu_s, began_at = Counter(sqs.calls), daemon.cpu_s(), time.monotonic()
            # Some heartbeats: how many of them fall into it is a part of the figure.
            time.sleep(2 * lease_s)
            minutes = (time.monotonic() - began_at) / 60
            made = sqs.calls - before
            extended = sum(
                count for name, count in made.items() if name.startswith("ChangeMessageVisibility")
            )
            others = made.total() - extended
            spent_s = daemon.cpu_s() - cpu_s
            return extended / minutes, others / minutes, spent_s / minutes, daemon.rss_bytes() / 1e6


def _messages(directory: Path, scale: Scale) -> Iterator[Heading | Line]:
    columns = ("jobs/s", "its CPU ms / job", "calls / job", "peak RSS MB")
    yield Heading("growth-messages", f"Messages in the queue: short jobs, {SLOTS} slots", columns)
    for count in scale.messages:
        witness = Witness(directory / "witness")
        with Sqs() as sqs:
            argv = observerd(directory, sqs.queue_url, {JOB: witness.command})
            with Program(argv, directory / "messages.log") as daemon:
                until(lambda: sqs.waiting() > 0, READY_S, "the daemon waits", [daemon])
                _work_off(sqs, witness, 2 * SLOTS)
                cpu_s, calls = daemon.cpu_s(), sqs.calls.total()
                took_s = _work_off(sqs, witness, count)
                spent_ms = (daemon.cpu_s() - cpu_s) / count * 1_000
                made = (sqs.calls.total() - calls) / count
                yield Line((count, count / took_s, spent_ms, made, daemon.peak_bytes() / 1e6))


def _work_off(sqs: Sqs, witness: Witness, count: int, job: str = JOB) -> float:
    """Seconds for so many jobs."""
    witness.reset()
    within_s = max(LEAST_S, count / SLOWEST_RATE)
    began_at = time.monotonic()
    sqs.offer(messages(job, count))
    done_at = until(lambda: sqs.is_drained() and witness.jobs() >= count, within_s, f"{count} jobs are done")
    witness.check(count)
    return done_at - began_at


def _daemons(directory: Path, scale: Scale) -> Iterator[Heading | Line]:
    columns = ("100 ms jobs/s", "of the possible", "calls / job", "short jobs/s", "calls / short job")
    yield Heading("growth-daemons", "Daemons on one queue, a slot each", columns)
    for count in scale.daemons:
        yield Line((count, *_shared(directory, count)))


def _shared(directory: Path, count: int) -> tuple[float, ...]:
    short, sleeper = Witness(directory / "witness"), Witness(directory / "sleepers", ms=100)
    with Sqs() as sqs, contextlib.ExitStack() as stack:
        jobs = {JOB: short.command, "sleep": sleeper.command}
        argv = observerd(directory, sqs.queue_url, jobs, slots=1)
        for number in range(count):
            stack.enter_context(Program(argv, directory / f"daemon-{number}.log"))
        until(lambda: sqs.waiting() >= count, READY_S, f"{count} daemons wait")
        sleepers, shorts, calls = 30 * count, 150 * count, sqs.calls.total()
        sleepers_s = _work_off(sqs, sleeper, sleepers, "sleep")
        sleepers_calls = sqs.calls.total() - calls
        shorts_s = _work_off(sqs, short, shorts)
        shorts_calls = sqs.calls.total() - calls - sleepers_calls
        rate = sleepers / sleepers_s
        return rate, rate / (10 * count), sleepers_calls / sleepers, shorts / shorts_s, shorts_calls / shorts


def _output(directory: Path, scale: Scale) -> Iterator[Heading | Line]:
    columns = ("job's seconds", "without us", "until deleted", "our CPU s", "lines", "sent", "peak RSS MB")
    yield Heading("growth-output", "Bytes of output of one job, to CloudWatch Logs", columns)
    for size in scale.output_bytes:
        yield Line((size, *_written(directory, size)))


def _written(directory: Path, size: int) -> tuple[float, ...]:
    writing, done = f"yes {OUTPUT_LINE} | head -c {size}", directory / "done"
    with Sqs() as sqs, LogSink(OUTPUT_LINE) as logs:
        jobs = {JOB: ("/bin/sh", "-c", f"{writing}; touch {done}"), "warm-up": ("/bin/true",)}
        argv = observerd(directory, sqs.queue_url, jobs, log_group="/bench")
        log = directory / "output.log"
        with Program(argv, log, AWS_ENDPOINT_URL_CLOUDWATCH_LOGS=logs.endpoint) as daemon:
            # A first job finds the daemon still loading what a first poll does not need.
            sqs.offer(messages("warm-up", 1))
            until(lambda: sqs.is_drained() and sqs.waiting() > 0, READY_S, "the daemon waits", [daemon])
            cpu_s, began_at = daemon.cpu_s(), time.monotonic()
            sqs.offer(messages(JOB, 1))
            within_s = max(LEAST_S, size / SLOWEST_OUTPUT)
            written_at = until(done.exists, within_s, f"{size} bytes are written", [daemon])
            deleted_at = until(sqs.is_drained, within_s, "the job's message is deleted", [daemon])
            peak = daemon.peak_bytes() / 1e6
            spent_s = daemon.cpu_s() - cpu_s
    done.unlink()
    lines = size // len(f"{OUTPUT_LINE}\n")
    alone_s = _piped_s(("/bin/sh", "-c", writing))
    return written_at - began_at, alone_s, deleted_at - began_at, spent_s, lines, logs.lines, peak


def _piped_s(command: Sequence[str]) -> float:
    """How long the command takes when its output is read and forgotten."""
    began_at = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while process.stdout.read(65_536):
            pass
    return time.monotonic() - began_at


def _jobs(directory: Path, scale: Scale) -> Iterator[Heading | Line]:
    columns = ("exec to first receive ms", "CPU ms", "RSS MB then")
    yield Heading("growth-jobs", "Jobs defined", columns)
    with FirstCall() as sqs:
        for count in scale.jobs:
            jobs = {f"job-{number}": ("/usr/local/bin/job", f"--number={number}") for number in range(count)}
            argv = observerd(directory, sqs.queue_url, jobs)
            starts = [_start(directory, sqs, argv) for _ in range(scale.starts)]
            # The least disturbed of some: the rest is other people's work.
            yield Line((count, *(min(each) for each in zip(*starts, strict=True))))


def _start(directory: Path, sqs: FirstCall, argv: Sequence[str]) -> tuple[float, float, float]:
    with Program(argv, directory / "start.log") as program:
        arrived_at = sqs.arrived_at()
        resident = program.rss_bytes() / 1e6
        return (arrived_at - program.began_at) * 1_000, program.kill() * 1_000, resident
