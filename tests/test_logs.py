"""The daemon's own lines on standard error: none is late for a caller, whatever reads them."""

import errno
import json
import logging
import os
import subprocess
import sys
import threading

import pytest

from observerd import logs
from observerd.logs import JsonFormatter, Output, TextFormatter, Writer
from tests.support import eventually


class Journal:
    """A stream whose reader may hang, or go away, or have a disk with so much room."""

    def __init__(self):
        self.text = ""
        self.reads = threading.Event()
        self.reads.set()
        self.fault = None
        self.room = 1_000_000
        self.buffer = self

    def write(self, data):
        assert self.reads.wait(60)
        if self.fault:
            raise self.fault
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = bytes(data[: self.room])
        self.text, self.room = self.text + taken.decode(), self.room - len(taken)
        return len(taken)


@pytest.fixture
def journal():
    made = Journal()
    yield made
    made.reads.set()


@pytest.fixture
def log(journal):
    """A logger of its own, on that stream."""
    made = logging.Logger("observerd.test")  # noqa: LOG001 one that nobody else hears
    made.addHandler(Writer(Output(journal)))
    return made


def test_lines_are_written_in_order_and_all_of_them_by_flush(log, journal):
    for number in range(1_000):
        log.warning("line %d", number)
    log.handlers[0].flush()

    assert [f"line {number}" for number in range(1_000)] == journal.text.splitlines()


def test_a_journal_that_hangs_holds_up_nobody_and_what_was_lost_is_counted(log, journal, monkeypatch):
    monkeypatch.setattr(logs, "WAITING_LINES", 10)
    log.handlers[:] = [Writer(Output(journal))]
    journal.reads.clear()
    log.warning("first")
    eventually(log.handlers[0]._lines.empty)
    for number in range(13):
        log.warning("line %d", number)
    journal.reads.set()
    log.handlers[0].flush()

    lines = ["first", "log lines lost here", *(f"line {number}" for number in range(10))]
    assert lines == journal.text.splitlines()


def test_what_was_lost_is_told_with_the_facts_format(log, journal, monkeypatch):
    monkeypatch.setattr(logs, "WAITING_LINES", 1)
    log.handlers[:] = [Writer(Output(journal))]
    log.handlers[0].setFormatter(logs.TextFormatter(priorities=True))
    journal.reads.clear()
    log.warning("first")
    eventually(log.handlers[0]._lines.empty)
    for _ in range(4):
        log.warning("line")
    journal.reads.set()
    log.handlers[0].flush()

    assert ["<4>first", "<4>log lines lost here lines=3", "<4>line"] == journal.text.splitlines()


def test_flush_gives_up_on_a_journal_that_hangs(log, journal, monkeypatch):
    monkeypatch.setattr(logs, "FLUSH_S", 0.01)
    journal.reads.clear()
    log.warning("line")

    log.handlers[0].flush()
    assert "" == journal.text


@pytest.mark.parametrize("fault", [BrokenPipeError(), ValueError("I/O operation on closed file")])
def test_a_journal_that_is_gone_ends_nothing(fault, log, journal):
    journal.fault = fault
    log.warning("lost")
    log.handlers[0].flush()
    journal.fault = None
    log.warning("line")
    log.handlers[0].flush()

    assert "log lines lost here\nline\n" == journal.text


def test_a_full_disk_tears_no_line_that_follows_and_what_was_lost_is_counted(log, journal):
    """A line may fit in half. The next one must not be taken for the rest of it."""
    log.handlers[0].setFormatter(TextFormatter(priorities=True))
    log.warning("before")
    log.handlers[0].flush()
    journal.room = 5
    for number in range(3):
        log.warning("line %d", number)
    log.handlers[0].flush()
    journal.room = 1_000_000
    log.warning("after")
    log.handlers[0].flush()

    assert ["<4>before", "<4>li", "<4>log lines lost here lines=3", "<4>after"] == journal.text.splitlines()


PROGRAM = """
import logging
from observerd.logs import set_up
set_up("info", "text", {})
for number in range(5_000):
    logging.getLogger("observerd").info("line %d", number)
print("done", flush=True)
"""


def test_a_process_that_ends_has_written_every_line():
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )

    assert "line 4999" == ended.stderr.splitlines()[-1].partition("info    ")[2]
    assert 5_000 == len(ended.stderr.splitlines())


def test_a_process_whose_standard_error_nobody_reads_goes_on_and_ends():
    """5,000 lines are more than a pipe takes."""
    reader, writer = os.pipe()
    try:
        command = [sys.executable, "-c", PROGRAM]
        ended = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=writer, text=True, timeout=60, check=False
        )
    finally:
        os.close(reader)
        os.close(writer)

    assert ("done\n", 0) == (ended.stdout, ended.returncode)


AGAIN = """
import logging, threading, time
from observerd.logs import set_up
for number in range(5):
    set_up("info", "text", {})
    logging.getLogger("observerd").info("line %d", number)
ends_at = time.monotonic() + 30
while (left := threading.active_count()) > 2 and time.monotonic() < ends_at:
    time.sleep(0.01)
print(left)
"""


def test_a_log_that_is_set_up_again_leaves_no_thread_behind():
    command = [sys.executable, "-c", AGAIN]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert ("2\n", 5) == (ended.stdout, len(ended.stderr.splitlines()))


# A bell, a title, a colour, C1's own introducer, and text that runs backwards.
HOSTILE = "\a\x1b]0;owned\x07\x1b[31m\x9b2J\u202e\u2028\r\n<0>forged level=info"


FORMATTERS = [TextFormatter(priorities=True), TextFormatter(priorities=False), JsonFormatter()]


def hostile_record():
    try:
        raise ValueError(HOSTILE)  # noqa: TRY301 a traceback is wanted
    except ValueError:
        trace = sys.exc_info()
    facts = {"fault": HOSTILE, "short": "\x9b", "exc_info": trace}
    return logging.makeLogRecord({"msg": f"phrase {HOSTILE}", "levelno": 40, "levelname": "ERROR", **facts})


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_what_a_stranger_wrote_does_not_act_on_a_terminal(formatter):
    lines = formatter.format(hostile_record()).split("\n")

    assert [] == [line for line in lines if not line.isprintable()]


def test_what_a_stranger_wrote_makes_no_line_of_the_journal():
    first, *trace = FORMATTERS[0].format(hostile_record()).split("\n")

    assert first.startswith("<3>phrase ")
    assert all(line.startswith("<3>") for line in trace)


def test_what_a_stranger_wrote_is_one_object_of_json():
    assert HOSTILE == json.loads(FORMATTERS[2].format(hostile_record()))["fault"]


def test_a_closed_standard_error_is_no_journal(monkeypatch):
    """observerd run 2>&- makes it None."""
    monkeypatch.setattr(sys, "stderr", None)

    assert not logs._is_journal({"JOURNAL_STREAM": "1:2"})
