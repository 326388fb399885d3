"""What a terminal gets, and what does not go to a pipe."""

import io
import os
import pty

import pytest

from observerd.operations.screen import Progress, Screen, Waiting, screen_of


@pytest.fixture
def terminal():
    master, slave = pty.openpty()
    with open(slave, "w", encoding="utf-8") as stream:  # noqa: PTH123 a descriptor
        yield master, stream
    os.close(master)


def shown(master, text):
    # The kernel hands a terminal's output on piece by piece.
    return text.encode() == b"".join(os.read(master, 1) for _ in text.encode())


def test_a_pipe_gets_whole_lines_without_colours():
    assert Screen() == screen_of(io.StringIO(), {})


@pytest.mark.parametrize(
    ("environ", "colour"), [({"TERM": "xterm"}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_a_terminal_gets_colours_unless_told_otherwise(environ, colour, terminal):
    assert colour == screen_of(terminal[1], environ).colour


def test_progress_is_wiped_at_the_end(terminal):
    master, stream = terminal
    with Progress("reading", stream) as progress:
        progress.at(1_200)

    assert shown(master, "\r\033[Kreading .  \r\033[Kreading ..  1,200\r\033[K")


def test_progress_says_nothing_to_a_pipe():
    stream = io.StringIO()
    with Progress("reading", stream) as progress:
        progress.at(1)

    assert "" == stream.getvalue()


def test_a_terminal_is_told_that_aws_is_asked_again(terminal):
    master, stream = terminal
    waiting = Waiting(stream)
    for outcome in ("unreachable", "ok", "ok"):
        waiting.sent("logs", "FilterLogEvents")
        waiting.answered("logs", "FilterLogEvents", outcome, 10.2)

    assert shown(master, "\r\033[Klogs FilterLogEvents: unreachable after 10 s, asking again …\r\033[K")
