"""What the daemon on this machine says it is doing."""

import socket
from http import HTTPStatus

import pytest

from observerd.keys import Config
from observerd.operations.screen import Screen
from observerd.operations.status import fetch, text
from observerd.operations.trouble import Trouble
from observerd.web.server import Answer, Server
from tests.web.scenes import busy_night, site, status


def served(status):
    server = Server("127.0.0.1:0", None, site(status)[0].answer)
    return Config(metrics_listen=f"127.0.0.1:{server.port}")


def test_a_busy_worker_shows_what_runs_and_what_failed():
    shown = text(fetch(served(busy_night())), Screen())

    assert shown.startswith("running, 2/4 slots busy, queue nightly-jobs.fifo in ap-northeast-1\n")
    for words in (
        "RUNNING       RUN               TRY  FOR",
        "billing-run   c9f0f895fb98ab91  1/3  12m 34s",
        "rebuild-search  failed     2m 01s   in the dead-letter queue: a person must look",
        "exit code 3",
    ):
        assert words in shown, shown


def test_an_idle_worker_says_when_it_leaves():
    idle = status()

    assert "no job" not in text(fetch(served(idle)), Screen())
    assert "slots busy" in text(fetch(served(idle)), Screen())


def test_the_screen_fits_the_terminal():
    shown = text(fetch(served(busy_night())), Screen(width=80))

    assert [] == [line for line in shown.splitlines()[2:] if len(line) > 80]


def test_nobody_there_is_one_line():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"

        with pytest.raises(Trouble, match=f"no daemon answers at {listen}"):
            fetch(Config(metrics_listen=listen))


def test_a_stranger_on_the_port_is_not_believed():
    stranger = Server("127.0.0.1:0", None, lambda _: Answer(HTTPStatus.NOT_FOUND, b"[]"))

    with pytest.raises(Trouble, match="answers 404"):
        fetch(Config(metrics_listen=f"127.0.0.1:{stranger.port}"))


def test_a_daemon_that_listens_nowhere_cannot_be_asked():
    with pytest.raises(Trouble, match="tells nobody"):
        fetch(Config(metrics_listen=""))
