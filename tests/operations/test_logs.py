"""What a run printed."""

import itertools

import pytest

from observerd.operations import logs, why
from observerd.operations.trouble import Trouble
from tests.operations.cloud import AT, JOBS, PLACE, RUN, Cloud


@pytest.fixture
def cloud():
    return Cloud()


def story(cloud):
    return why.story_of(cloud.account, PLACE, why.read_asked(RUN), AT - 60)[0]


def followed(cloud, sleep, now=lambda: AT + 90):
    """The lines that are shown."""
    told, shown = story(cloud), []
    logs.follow(
        cloud.account, PLACE, told, told.attempts[0], lambda line: shown.append(line.text), sleep, now
    )
    return shown


def test_every_page_is_read(cloud):
    for count in range(5):
        cloud.logs.put(JOBS, "feed/x", AT + count, f"line {count}")
    tape = logs.Tape(cloud.logs, JOBS, "feed/x")

    assert [(AT + count, f"line {count}") for count in range(5)] == list(tape.more())
    cloud.logs.put(JOBS, "feed/x", AT + 9, "new")
    assert [(AT + 9, "new")] == list(tape.more())


def test_the_last_attempt_that_was_started_is_meant(cloud):
    run = cloud.sent()
    for attempt in (1, 2):
        cloud.received(run, AT + 60 * attempt, attempt)
        cloud.started(run, AT + 60 * attempt, attempt)
    cloud.received(run, AT + 200, 3)

    assert (f"feed/x/{RUN}-2", f"feed/x/{RUN}-1") == (
        logs.attempt_of(story(cloud), None).log_stream,
        logs.attempt_of(story(cloud), 1).log_stream,
    )
    with pytest.raises(Trouble, match=r"no attempt 7 was started \(started: 1, 2\)"):
        logs.attempt_of(story(cloud), 7)


def test_following_shows_what_comes_until_after_the_end(cloud):
    run = cloud.sent()
    cloud.received(run)
    stream = cloud.started(run)
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        cloud.logs.put(JOBS, stream, AT + 70 + len(slept), f"later {len(slept)}")
        if len(slept) == 2:
            cloud.ended(run, AT + 80)

    shown = followed(cloud, sleep)

    assert (["line of attempt 1", "later 1", "later 2", "later 3"], [2.0, 2.0, 10.0]) == (shown, slept)


def test_following_waits_for_the_first_line(cloud):
    run = cloud.sent()
    cloud.received(run)
    stream = cloud.started(run)
    lines = cloud.logs.groups[JOBS].pop(stream)
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 2:
            cloud.logs.groups[JOBS][stream] = lines
            cloud.ended(run, AT + 80)

    assert ["line of attempt 1"] == followed(cloud, sleep)


def test_following_ends_when_the_worker_has_fallen_silent(cloud):
    run = cloud.sent()
    cloud.received(run)
    cloud.started(run)
    cloud.logs.worker("heartbeat", AT + 100, **run, attempt=1)
    clock = itertools.count(AT, 60)

    with pytest.raises(Trouble, match=f"ip-10-0-0-7 has said nothing for 15m 20s: observerd why {RUN}"):
        followed(cloud, lambda _: None, lambda: next(clock))


def test_following_a_run_that_is_over_waits_for_nothing(cloud):
    cloud.good_run()

    assert ["line of attempt 1"] == followed(cloud, lambda _: 1 / 0)


def test_the_end_of_a_stream_is_read_backwards(cloud):
    for count in range(5):
        cloud.logs.put(JOBS, "feed/x", AT + count, f"line {count}")

    assert ["line 3", "line 4"] == logs.last_lines(cloud.logs, JOBS, "feed/x", 2)


def test_a_stream_that_is_not_there_says_where_the_lines_may_be():
    with pytest.raises(Trouble, match="in the worker's journal"):
        list(logs.Tape(Cloud().logs, JOBS, "feed/none").more())
