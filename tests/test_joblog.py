"""The way of a run's output to CloudWatch Logs, and where it goes when that does not answer."""

import gc
import itertools
import logging
import math
import threading
import time
import tracemalloc
import weakref

import boto3
import pytest
import watchtower
from botocore.exceptions import EndpointConnectionError, NoCredentialsError, ReadTimeoutError
from moto.server import ThreadedMotoServer

from observerd.cloudwatch_logs import CloudWatchLogs
from observerd.joblog import OWN_BYTES, JobLogs, Pace
from observerd.logstream import LINE_BYTES, Buffer
from tests.fake_logs import GROUP, HOUR_MS, FakeLogs, refusal
from tests.support import eventually

START = "CloudWatch Logs does not answer, output goes to the journal"
END = "CloudWatch Logs answers again"

# An outage is believed at once, and nobody looks for its end.
PACE = Pace(send_interval_s=0.02, patience_s=0.0, probe_every_s=math.inf)
PROBING = Pace(send_interval_s=0.02, patience_s=0.0, probe_every_s=0.0)
PATIENT = Pace(send_interval_s=0.02, patience_s=60.0)


class Rig:
    """JobLogs on a fake CloudWatch Logs."""

    def __init__(self, pace=PACE, group=GROUP, wall=time.time, **options):
        self.fake = FakeLogs(wall)
        self.journal = []
        self.connected = []
        options = {"flush_timeout_s": 30.0, "journal": self.journal.append, **options}
        self.logs = JobLogs(self.connect, group, pace=pace, wall=wall, **options)

    def connect(self):
        self.connected.append(threading.current_thread())
        return self.fake

    def run(self, stream, *lines, timeout_s=None):
        log = self.logs.open(stream)
        log.write("".join(f"{line}\n" for line in lines).encode())
        return log.close(timeout_s)

    def buffered_bytes(self):
        return self.logs._buffer.used


@pytest.fixture
def rig(request):
    made = []

    def make(*args, **options):
        made.append(Rig(*args, **options))
        return made[-1]

    before = set(threading.enumerate())
    yield make
    for each in made:
        each.fake.lets_through.set()
        each.logs.close(30.0)
    eventually(lambda: not set(threading.enumerate()) - before)


@pytest.fixture(autouse=True)
def _hear_everything(caplog):
    caplog.set_level(logging.INFO, "observerd")


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.name.startswith("observerd")]


def our_handlers():
    """What logging remembers of watchtower: here a leak of handlers, and of all they hold, would show."""
    known = (reference() for reference in list(logging._handlerList))
    return [handler for handler in known if isinstance(handler, watchtower.CloudWatchLogHandler)]


# ---- delivered


def test_eight_runs_at_once_lose_no_line_while_their_streams_are_made_slowly(rig):
    it = rig()
    it.fake.creating_s = 0.3

    def run(stream):
        log = it.logs.open(stream)
        for number in range(200):
            log.write(b"line %d\n" % number)
        log.close()

    jobs = [threading.Thread(target=run, args=(f"s{number}",)) for number in range(8)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()

    expected = [f"line {number}" for number in range(200)]
    assert {f"s{number}": expected for number in range(8)} == {
        stream: it.fake.lines(stream) for stream in it.fake.streams
    }


def test_a_line_is_there_while_the_run_goes_on(rig):
    it = rig()
    it.logs.open("s").write(b"early\nand the res")

    eventually(lambda: it.fake.lines("s") == ["early"])


def test_a_delivery_is_counted(rig):
    assert (3, 0, 0) == rig().run("s", "one", "two", "three")


def test_a_run_without_output_costs_no_call_and_no_thread(rig):
    it = rig()
    before = set(threading.enumerate())
    log = it.logs.open("s")

    assert (0, 0, 0) == log.close()
    assert set() == set(threading.enumerate()) - before
    assert ({}, []) == (it.fake.calls, it.connected)


def test_one_client_is_made_for_all_streams_and_not_on_the_threads_of_jobs(rig):
    it = rig()
    it.run("a", "line")
    it.run("b", "line")

    (where,) = it.connected
    assert where is not threading.current_thread()


def test_a_stream_that_exists_is_gone_on_with(rig):
    it = rig()
    it.fake.streams["s"] = []
    it.run("s", "line")

    assert ["line"] == it.fake.lines("s")


def test_the_name_of_a_stream_is_no_format_string(rig):
    it = rig()
    it.run("{machine_name}/{nothing}", "line")

    assert ["line"] == it.fake.lines("{machine_name}/{nothing}")


def test_whatever_a_job_writes_is_accepted(rig):
    it = rig()
    log = it.logs.open("s")
    long_line = "0123456789é" * 200_000
    log.write(bytes(range(256)) + b"\n\n\r\n" + long_line.encode() + b"\n\xf0\x9f")
    log.write(b"\x98\x80 no newline")

    delivery = log.close()

    lines = it.fake.lines("s")
    assert ("😀 no newline", (len(lines), 0, 0)) == (lines[-1], delivery)
    assert long_line in "".join(lines)


def test_a_flood_that_is_sent_arrives_whole_and_in_order(rig):
    it = rig(buffer_bytes=1 << 30, total_bytes=1 << 30)
    lines = [f"line {number}" for number in range(12_000)]

    assert (12_000, 0, 0) == it.run("s", *lines)
    assert lines == it.fake.lines("s")


def test_a_line_of_ours_stands_for_itself_after_an_unfinished_one(rig):
    it = rig()
    log = it.logs.open("s")
    log.write(b"50 %")
    log.line("told to end: \udc80")
    log.write(b"bye\n")
    log.close()

    assert ["50 %", "told to end: ?", "bye"] == it.fake.lines("s")


def test_output_after_the_end_is_ignored(rig):
    it = rig()
    log = it.logs.open("s")
    log.write(b"line\n")
    delivery = log.close()
    log.write(b"late\n")
    log.line("late")

    assert delivery == log.close() == (1, 0, 0)
    assert ["line"] == it.fake.lines("s")


def test_no_thread_and_no_memory_is_left_of_two_thousand_runs(rig):
    it = rig()
    it.run("first", "line")
    gc.collect()
    gc.disable()
    before = set(threading.enumerate())
    handlers = our_handlers()
    try:
        gone = [weakref.ref(it.logs.open(f"s{number}")._sink) for number in range(2)]
        for number in range(2_000):
            it.run(f"s{number}", "line")
        log = it.logs.open("last")
        log.write(b"line\n")
        gone.append(weakref.ref(log._sink))
        log.close()
        del log
        it.logs.close(0.0)

        assert [None] * 3 == [reference() for reference in gone]
        assert handlers == our_handlers()
        assert (set(), 0) == (set(threading.enumerate()) - before, it.buffered_bytes())
    finally:
        gc.enable()


# ---- too much


def test_a_flood_into_a_hanging_service_neither_holds_the_job_nor_fills_the_memory(rig):
    it = rig(Pace(send_interval_s=0.001, patience_s=0.0))
    it.fake.lets_through.clear()
    logs = [it.logs.open(f"s{number}") for number in range(4)]
    chunk = (b"x" * 99 + b"\n") * 655
    tracemalloc.start()
    try:
        for _ in range(200):  # 50 MB in all
            for log in logs:
                log.write(chunk)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 32_000_000
    assert it.buffered_bytes() <= 16 * 1024 * 1024
    it.fake.lets_through.set()
    for number, log in enumerate(logs):
        delivery = log.close()
        sent = [line for line in it.fake.lines(f"s{number}") if line.startswith("x")]
        assert (131_000, 0) == (delivery.lines, delivery.to_journal)
        assert len(sent) == 131_000 - delivery.dropped > 1_000


def test_what_is_buffered_is_charged_with_what_it_takes(rig):
    it = rig(buffer_bytes=1 << 30, total_bytes=1 << 30)
    it.fake.lets_through.clear()
    log = it.logs.open("s")
    log.write(b"x\n")
    eventually(lambda: it.fake.calls)
    chunk = b"".join(b"line %5d" % number + b"x" * 90 + b"\n" for number in range(5_000))
    tracemalloc.start()
    try:
        log.write(chunk)
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 0.5 * it.buffered_bytes() < held_bytes < 1.05 * it.buffered_bytes()


def test_a_gap_is_told_where_it_is_and_counted(rig):
    it = rig(buffer_bytes=40 * (LINE_BYTES + 100))
    it.fake.lets_through.clear()
    log = it.logs.open("s")
    for number in range(100):
        log.write(b"before %2d\n" % number)
    it.fake.lets_through.set()
    eventually(lambda: it.buffered_bytes() == 0)
    log.write(b"after\n")
    delivery = log.close()

    lines = it.fake.lines("s")
    kept = len(lines) - 2
    assert [f"before {number:2}" for number in range(kept)] == lines[:kept]
    assert [f"[observerd] lines dropped here: {100 - kept} (too many to send in time)", "after"] == lines[
        kept:
    ]
    assert (101, 100 - kept, 0) == delivery


def test_a_gap_at_the_end_is_told_too(rig):
    it = rig(buffer_bytes=2 * (LINE_BYTES + 100))
    it.fake.lets_through.clear()
    log = it.logs.open("s")
    log.write(b"one\ntwo\nthree\nfour\nfive\n")
    log.finish()
    it.fake.lets_through.set()

    assert (5, 3, 0) == log.close()
    assert ["one", "two", "[observerd] lines dropped here: 3 (too many to send in time)"] == it.fake.lines(
        "s"
    )


def test_a_line_of_ours_is_not_counted_among_the_jobs(rig):
    it = rig(buffer_bytes=2 * (LINE_BYTES + 100))
    it.fake.fault = TROUBLES["refused"]

    assert (5, 3, 2) == it.run("s", *range(5))
    assert ["s: 0", "s: 1"] == it.journal


def test_a_full_buffer_takes_lines_again_when_there_is_room_for_many():
    buffer = Buffer(stream_bytes=100, total_bytes=200)
    assert buffer.take(0, 100)
    assert not buffer.take(100, 1)

    assert [False, True] == [buffer.has_room(held=51), buffer.has_room(held=50)]
    buffer.adjust(76)
    assert not buffer.has_room(held=0)


def test_all_streams_together_are_bounded_too(rig):
    it = rig(total_bytes=20 * (LINE_BYTES + 60))
    it.fake.lets_through.clear()
    logs = [it.logs.open(f"s{number}") for number in range(10)]
    for log in logs:
        log.write(b"line\n" * 10)
    it.fake.lets_through.set()

    deliveries = [log.close() for log in logs]

    assert [10] * 10 == [delivery.lines for delivery in deliveries]
    assert [0, 0] == [delivery.dropped for delivery in deliveries[:2]]
    assert [10] * 7 == [delivery.dropped for delivery in deliveries[3:]]


def test_the_tail_is_the_end_of_the_output_even_where_that_was_dropped(rig):
    it = rig(buffer_bytes=400)
    it.fake.lets_through.clear()
    log = it.logs.open("s")
    log.write(b"line\n" * 50)
    log.write(b"Traceback: \x1bthe cause")
    log.close(0.0)

    assert ["line"] * 19 + ["Traceback: ␛the cause"] == log.tail().split("\n")


# ---- down

TROUBLES = {
    "refused": EndpointConnectionError(endpoint_url="https://logs"),
    "timeout": ReadTimeoutError(endpoint_url="https://logs"),
    "throttled": refusal("ThrottlingException"),
    "error 500": refusal("InternalFailure", 500),
    "denied": refusal("AccessDeniedException"),
    "no group": refusal("ResourceNotFoundException"),
    "no credentials": NoCredentialsError(),
    "anything": RuntimeError("a bug of somebody's"),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_what_cannot_be_sent_goes_to_the_journal_and_the_outage_is_said_once(rig, caplog, trouble):
    it = rig()
    it.fake.fault = trouble

    assert (2, 0, 2) == it.run("a", "one", "two")
    assert (1, 0, 1) == it.run("b", "three")
    assert ["a: one", "a: two", "b: three"] == it.journal
    assert [START] == said(caplog)
    assert 0 == it.buffered_bytes()


def test_a_client_that_cannot_be_made_is_an_outage_like_any_other(rig):
    it = rig()
    it.logs._logs._connect = lambda: 1 // 0

    assert (1, 0, 1) == it.run("s", "line")


def test_a_missing_group_is_not_asked_for_again_and_again(rig):
    it = rig(PATIENT, group="/another")

    assert (1, 0, 1) == it.run("s", "line")
    assert {"create_log_stream": 1} == it.fake.calls


def test_trouble_that_passes_costs_nothing(rig, caplog):
    it = rig(PATIENT)
    it.fake.faults = [TROUBLES["refused"], TROUBLES["throttled"], TROUBLES["timeout"]]

    assert (2, 0, 0) == it.run("s", "one", "two")
    assert ["one", "two"] == it.fake.lines("s")
    assert ([], []) == (it.journal, said(caplog))


def test_a_stream_that_is_deleted_under_a_run_is_made_again(rig):
    it = rig(PATIENT)
    log = it.logs.open("s")
    log.write(b"one\n")
    eventually(lambda: it.fake.lines("s"))
    del it.fake.streams["s"]
    log.write(b"two\n")

    assert (2, 0, 0) == log.close()
    assert ["two"] == it.fake.lines("s")


def test_the_journal_gets_so_much_of_a_run_and_no_more(rig):
    it = rig(Pace(send_interval_s=0.02, patience_s=0.0, probe_every_s=math.inf, journal_lines=10))
    it.fake.fault = TROUBLES["refused"]

    assert (25, 15, 10) == it.run("s", *range(25))
    assert [f"s: {number}" for number in range(10)] == it.journal
    assert (1, 0, 1) == it.run("another", "line")


def test_a_journal_that_cannot_be_written_is_counted_as_dropped(rig):
    def broken(line):
        raise BrokenPipeError(line)

    it = rig(journal=broken)
    it.fake.fault = TROUBLES["refused"]

    assert (3, 3, 0) == it.run("s", 1, 2, 3)


def test_lines_that_the_journal_has_anyway_are_not_written_there_again(rig):
    it = rig()
    it.fake.fault = TROUBLES["refused"]
    log = it.logs.open("_observerd/host", journalled=True)
    for number in range(2_000):
        log.line(f"observerd's own {number}")

    assert (2_000, 0, 2_000) == log.close()
    assert [] == it.journal


def test_a_batch_that_is_refused_for_its_content_is_no_outage(rig, caplog):
    it = rig(PATIENT)
    it.fake.faults = [refusal("InvalidParameterException")]

    assert (1, 0, 1) == it.run("a", "odd")
    assert (1, 0, 0) == it.run("b", "fine")
    assert [] == said(caplog)


def test_lines_that_are_rejected_go_to_the_journal(rig):
    it = rig()
    it.fake.rejected = {"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 3}

    assert (5, 0, 3) == it.run("s", "old", "a", "b", "new", "newer")
    assert ["s: old", "s: new", "s: newer"] == it.journal
    assert ["a", "b"] == it.fake.lines("s")


def test_a_stream_tells_what_it_lacks_when_the_service_is_back(rig, caplog):
    it = rig(PROBING)
    log = it.logs.open("s")
    log.write(b"one\n")
    eventually(lambda: it.fake.lines("s"))
    it.fake.fault = TROUBLES["error 500"]
    log.write(b"two\nthree\n")
    eventually(lambda: len(it.journal) == 2)
    it.fake.fault = None
    # Rejection is told by index, and the line that tells of the gap must not shift it.
    it.fake.rejected = {"tooNewLogEventStartIndex": 2}
    log.write(b"four\nfive\n")
    eventually(lambda: len(it.journal) == 3)
    log.write(b"six\n")
    eventually(lambda: "six" in it.fake.lines("s"))
    log.write(b"seven\n")

    assert (7, 0, 3) == log.close()
    notice = "[observerd] lines missing here: 2 (in the machine's journal, or dropped)"
    assert ["one", notice, "four", notice.replace("2", "1"), "six", "seven"] == it.fake.lines("s")
    assert ["s: two", "s: three", "s: five"] == it.journal
    assert [START, END] == said(caplog)


def test_a_hanging_service_holds_a_run_up_for_the_flush_timeout_and_the_next_not_at_all(rig, caplog):
    it = rig(flush_timeout_s=0.2)
    it.fake.lets_through.clear()

    assert (2, 0, 2) == it.run("a", "one", "two")
    calls = dict(it.fake.calls)
    it.logs.open("b").write(b"three\n")
    eventually(lambda: it.journal == ["a: one", "a: two", "b: three"])
    assert (1, 0, 1) == it.run("c", "four", timeout_s=30.0)
    assert calls == it.fake.calls
    assert [START] == said(caplog)


def test_nothing_is_counted_twice_when_a_call_that_was_given_up_ends_after_all(rig):
    it = rig(flush_timeout_s=0.1)
    it.fake.lets_through.clear()
    log = it.logs.open("s")
    log.write(b"one\n")
    eventually(lambda: it.fake.threads)
    log.write(b"two\n")
    delivery = log.close()
    it.fake.lets_through.set()
    eventually(lambda: not any(thread.is_alive() for thread in it.fake.threads))

    assert (2, 0, 2) == delivery == log.close()
    assert (["s: one", "s: two"], ["one"]) == (it.journal, it.fake.lines("s"))
    assert 0 == it.buffered_bytes()


def test_a_try_under_way_is_given_up_with_its_run(rig):
    it = rig(PATIENT)
    it.fake.fault = TROUBLES["throttled"]
    log = it.logs.open("s")
    log.write(b"one\n")
    eventually(lambda: it.fake.threads)
    log.close(0.0)

    # It would go on for a minute.
    eventually(lambda: not any(thread.is_alive() for thread in it.fake.threads), timeout_s=15.0)


def test_a_try_under_way_ends_when_the_service_is_found_down_elsewhere(rig):
    it = rig(PATIENT)
    it.fake.fault = TROUBLES["throttled"]
    it.logs.open("s").write(b"one\n")
    eventually(lambda: it.fake.calls)
    it.logs._logs.failed("no answer to another stream")

    eventually(lambda: it.journal == ["s: one"], timeout_s=15.0)


def test_of_a_log_that_is_closed_a_hanging_call_holds_no_more_than_its_own_batch(rig):
    it = rig()
    it.fake.lets_through.clear()
    log = it.logs.open("s")
    log.write(b"in the call\n")
    eventually(lambda: it.fake.calls)
    tracemalloc.start()
    try:
        for _ in range(30):
            log.write(b"waiting for it\n" * 200)
        log.close(0.0)
        del it.journal[:]
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held_bytes < 200_000


def test_a_hurried_close_proves_nothing_of_the_service(rig, caplog):
    it = rig(flush_timeout_s=30.0)
    it.fake.lets_through.clear()

    assert (1, 0, 1) == it.run("s", "one", timeout_s=0.0)
    assert [] == said(caplog)


def test_a_slow_service_is_not_a_dead_one(rig, caplog):
    it = rig(flush_timeout_s=0.5)
    it.fake.lets_through.clear()
    log = it.logs.open("s")
    log.write(b"one\n")
    eventually(lambda: it.fake.calls["create_log_stream"])
    log.write(b"two\n")
    closing = threading.Thread(target=log.close)
    closing.start()
    eventually(lambda: log._sink._changed._waiters)
    put, closed = it.fake.put_log_events, threading.Event()

    def answer(**request):
        it.fake.put_log_events = hang
        return put(**request)

    def hang(**_):
        closed.wait(30)
        return {}

    it.fake.put_log_events = answer
    it.fake.lets_through.set()
    closing.join()
    closed.set()

    assert (["one"], ["s: two"]) == (it.fake.lines("s"), it.journal)
    assert [] == said(caplog)


def test_a_log_is_closed_when_the_journal_has_its_lines(rig):
    written = []

    def slow(line):
        time.sleep(0.1)
        written.append(line)

    it = rig(journal=slow)
    it.fake.fault = TROUBLES["refused"]
    it.run("s", "one", "two")

    assert ["s: one", "s: two"] == written


def test_one_batch_is_risked_in_an_outage_and_the_others_wait_for_what_becomes_of_it():
    logs = CloudWatchLogs(FakeLogs, GROUP, PACE, 5.0, time.time)
    logs.failed("no answer")
    assert not logs.may_try()

    logs._probe_at = 0.0

    assert [True, False, False] == [logs.may_try() for _ in range(3)]


def test_the_first_line_that_gets_through_ends_the_outage_for_everybody(rig, caplog):
    it = rig(PROBING)
    it.fake.fault = TROUBLES["refused"]
    it.run("a", "one")
    it.run("b", "two")
    it.fake.fault = None

    assert (1, 0, 0) == it.run("c", "three")
    assert [START, END] == said(caplog)
    (start, end) = (record for record in caplog.records if record.name.startswith("observerd"))
    assert (GROUP, True) == (start.log_group, "connect" in start.fault)
    assert end.outage_s >= 0


@pytest.mark.timeout(30)
def test_closing_takes_its_time_once_and_not_for_each_stream(rig):
    it = rig()
    it.fake.lets_through.clear()
    for number in range(100):
        it.logs.open(f"s{number}").write(b"line\n")

    it.logs.close(0.5)

    assert 100 == len(it.journal)
    assert not it.logs._open


def test_streams_are_flushed_side_by_side_at_the_end(rig):
    it = rig(Pace(send_interval_s=60.0, patience_s=0.0))
    together = threading.Barrier(4)
    create = it.fake.create_log_stream
    it.fake.create_log_stream = lambda **names: (together.wait(20), create(**names))
    for number in range(4):
        it.logs.open(f"s{number}").write(b"line\n")

    it.logs.close(30.0)

    assert {f"s{number}" for number in range(4)} == set(it.fake.streams)


def test_a_thread_that_cannot_be_started_costs_no_line(rig, monkeypatch, capsys):
    it = rig()
    log = it.logs.open("s")

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        log.write(b"one\ntwo\n")

    assert (2, 0, 2) == log.close(0.1)
    assert ["s: one", "s: two"] == it.journal
    assert "" == capsys.readouterr().err


def test_what_the_library_logs_of_our_calls_is_not_sent_by_further_calls(rig):
    """With DEBUG on, a line about every call would need another call, and so on for ever."""
    it = rig()
    own = it.logs.open("own")
    library = logging.getLogger("botocore.fake")

    class Forwarder(logging.Handler):
        def emit(self, record):
            own.line(record.getMessage())

    forwarder = Forwarder()
    put, library.propagate = it.fake.put_log_events, False
    it.fake.put_log_events = lambda **request: (library.debug("sending"), put(**request))[1]
    library.setLevel(logging.DEBUG)
    library.addHandler(forwarder)
    try:
        library.debug("one")
        eventually(lambda: it.fake.lines("own"))
        library.debug("two")
        own.close()
    finally:
        library.removeHandler(forwarder)
        library.setLevel(logging.NOTSET)

    assert ["one", "two"] == it.fake.lines("own")


# ---- without a group


def test_without_a_group_every_line_is_in_the_journal(rig):
    it = rig(group=None)
    log = it.logs.open("s")
    log.write(b"one\ntwo\nthr")
    early = list(it.journal)
    log.write(b"ee")

    assert (3, 0, 3) == log.close()
    assert (["s: one", "s: two"], ["s: one", "s: two", "s: three"]) == (early, it.journal)
    assert "one\ntwo\nthree" == log.tail()
    assert ([], 1_500) == (it.connected, it.run("s", *range(1_500)).to_journal)


# ---- clocks


class Clock:
    """A wall clock that can be stepped."""

    def __init__(self):
        self.step_s = 0.0

    def __call__(self):
        return time.time() + self.step_s


@pytest.mark.parametrize("step_s", [-3_600.0, -86_400.0, 3 * 86_400.0, 0.0])
def test_lines_keep_their_order_and_are_taken_when_the_clock_is_stepped(rig, step_s):
    clock = Clock()
    it = rig(Pace(send_interval_s=60.0), wall=clock)
    log = it.logs.open("s")
    for number in range(20):
        if number == 10:
            clock.step_s = step_s
        log.write(b"%d\n" % number)

    assert (20, 0, 0) == log.close()
    assert [str(number) for number in range(20)] == it.fake.lines("s")


def test_a_line_bears_the_time_it_was_written(rig):
    clock = Clock()
    it = rig(Pace(send_interval_s=60.0), wall=clock)
    log = it.logs.open("s")
    written_at = time.time()
    log.write(b"one\n")
    clock.step_s = 600.0
    log.write(b"two\n")
    log.close()

    one, two = (event["timestamp"] / 1000 - written_at for event in it.fake.streams["s"])
    assert -0.01 < one < 60
    assert 599.9 < two < 660


def test_batches_keep_their_order_when_the_clock_is_stepped_back(rig):
    clock = Clock()
    it = rig(wall=clock)
    log = it.logs.open("s")
    log.write(b"before\n")
    eventually(lambda: it.fake.lines("s"))
    clock.step_s = -3_600.0
    log.write(b"after\n")
    log.close()

    before, after = (event["timestamp"] for event in it.fake.streams["s"])
    assert before <= after <= clock() * 1000 + 2 * HOUR_MS


def test_a_clock_that_is_stepped_back_does_not_hold_lines_back(rig, monkeypatch):
    """watchtower waits for a moment of the wall clock, which is an hour away by then."""
    clock = Clock()
    stepping = type("Time", (), {"time": staticmethod(clock)})
    monkeypatch.setattr(watchtower, "time", stepping)
    it = rig(Pace(send_interval_s=0.3))
    log = it.logs.open("s")
    log.write(b"0\n")
    clock.step_s = -3_600.0
    numbers = itertools.count(1)

    def arrived():
        log.write(b"%d\n" % next(numbers))
        return len(it.fake.lines("s")) > 1

    eventually(arrived, timeout_s=20.0)


# ---- the real library against an emulator


def test_lines_are_read_back_in_order_from_an_emulated_service():
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        client = boto3.client("logs", region_name="us-east-1", endpoint_url=f"http://{host}:{port}")
        client.create_log_group(logGroupName=GROUP)
        logs = JobLogs(lambda: client, GROUP, journal=print)
        log = logs.open("feed/2026-11-23T18-00-00Z/0123456789abcdef-1")
        for number in range(500):
            log.write(b"line %d\n" % number)
        log.write(b"\x00\x1b odd \xff")

        assert (501, 0, 0) == log.close(30.0)
        names = {"logGroupName": GROUP, "logStreamName": "feed/2026-11-23T18-00-00Z/0123456789abcdef-1"}
        events = client.get_log_events(**names, startFromHead=True)["events"]
        client.close()
    finally:
        server.stop()

    assert [*(f"line {number}" for number in range(500)), "␀␛ odd \ufffd"] == [
        event["message"] for event in events
    ]


def test_what_the_daemon_says_of_itself_does_not_give_way_to_a_flood():
    client = FakeLogs()
    client.lets_through.clear()
    logs = JobLogs(lambda: client, GROUP, journal=lambda _: None, buffer_bytes=10_000, total_bytes=10_000)
    flood = logs.open("feed/flood")
    flood.write(b"x" * 90 + b"\n" * 1 + b"y\n" * 10_000)
    own = logs.open_record("_events/host")
    own.line("ended")
    client.lets_through.set()

    assert 0 < flood.close(10.0).dropped
    assert 0 == own.close(10.0).dropped
    assert ["ended"] == client.lines("_events/host")


# ---- a record waits for an outage to end


def test_a_record_is_kept_until_cloudwatch_logs_answers_again(rig):
    """CloudWatch counts runs by these lines: in the journal they would be metrics lost."""
    it = rig(PROBING)
    it.fake.fault = EndpointConnectionError(endpoint_url="x")
    record = it.logs.open_record("_events/host")
    record.line("ended 1")
    eventually(lambda: it.fake.calls["create_log_stream"] > 2)
    record.line("ended 2")
    it.fake.fault = None
    eventually(lambda: it.fake.lines("_events/host") == ["ended 1", "ended 2"])

    assert ((2, 0, 0), []) == (record.close(10.0), it.journal)


def test_a_record_that_ends_in_an_outage_is_tried_once_more_and_then_journalled(rig):
    it = rig(PACE)
    it.fake.fault = EndpointConnectionError(endpoint_url="x")
    record = it.logs.open_record("_events/host")
    record.line("ended")
    eventually(it.logs._logs.is_down)
    tried = it.fake.calls["create_log_stream"]

    assert (1, 0, 1) == record.close(10.0)
    assert (["_events/host: ended"], tried + 1) == (it.journal, it.fake.calls["create_log_stream"])


def test_a_record_that_ends_when_the_outage_is_over_leaves_nothing_behind(rig):
    it = rig(PACE)
    it.fake.fault = EndpointConnectionError(endpoint_url="x")
    record = it.logs.open_record("_events/host")
    record.line("ended")
    eventually(it.logs._logs.is_down)
    it.fake.fault = None

    assert (1, 0, 0) == record.close(10.0)
    assert (["ended"], []) == (it.fake.lines("_events/host"), it.journal)


def test_a_record_that_ends_within_a_try_that_fails_is_tried_once_more(rig):
    it = rig(PACE)
    it.fake.lets_through.clear()
    it.fake.faults = [EndpointConnectionError(endpoint_url="x")]
    record = it.logs.open_record("_events/host")
    record.line("ended")
    eventually(lambda: it.fake.calls["create_log_stream"])
    record.finish()
    it.fake.lets_through.set()

    assert (1, 0, 0) == record.close(10.0)


def test_a_record_that_will_never_be_taken_does_not_hold_up_the_next(rig):
    it = rig(PROBING)
    it.fake.faults = [refusal("InvalidParameterException")]
    record = it.logs.open_record("_events/host")
    record.line("bad")
    eventually(lambda: it.journal == ["_events/host: bad"])
    record.line("good")

    assert (2, 0, 1) == record.close(10.0)
    assert "good" in it.fake.lines("_events/host")


def test_an_outage_costs_a_record_no_more_than_its_buffer(rig):
    it = rig(PACE)
    it.fake.fault = EndpointConnectionError(endpoint_url="x")
    record = it.logs.open_record("_events/host")
    for _ in range(5_000):
        record.line("x" * 1_000)
    used = it.logs._record_buffer.used
    delivery = record.close(10.0)

    assert (True, True, 1_000) == (used <= OWN_BYTES, delivery.dropped > 3_000, delivery.to_journal)


def test_without_a_log_group_a_record_is_nowhere(rig):
    it = rig(group=None)
    record = it.logs.open_record("_events/host")
    record.line("ended")
    record.close()

    assert [] == it.journal
