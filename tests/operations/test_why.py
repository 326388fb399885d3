"""The timeline of one run, and what to look at next."""

import json

import pytest

from observerd.operations import why
from observerd.operations.screen import Screen
from observerd.operations.timeline import hop_values, picture
from observerd.operations.trouble import Trouble
from tests.operations.cloud import AT, PLACE, PRODUCER, RUN, Cloud

NOW = AT + 900
FULL = "We currently do not have sufficient t4g.small capacity"


@pytest.fixture
def cloud():
    return Cloud()


def known(cloud, asked="feed@2026-11-23T18:00Z"):
    story, found = why.story_of(cloud.account, PLACE, why.read_asked(asked), AT - 86_400)
    return why.evidence(cloud.account, PLACE, story, found)


def drawn(cloud, asked="feed@2026-11-23T18:00Z", now=NOW, width=None):
    return picture(known(cloud, asked), now, Screen(width))


def advice(cloud, now=NOW):
    return "\n".join(why.advice(why.look(cloud.account, PLACE, known(cloud), now), PLACE))


def failed_run(cloud):
    run = cloud.sent()
    cloud.worker_up()
    cloud.received(run)
    cloud.started(run)
    cloud.ended(run, AT + 70.6, "failed", "back in 60 s", exit_code=3, reason="exit code 3", back_in_s=60)
    cloud.received(run, AT + 131, 2)
    cloud.started(run, AT + 131.1, 2)
    cloud.ended(run, AT + 140, "failed", "dead-lettered, deleted", 2, exit_code=3, reason="exit code 3")
    return run


def test_a_good_run_is_drawn_from_due_to_given_up(cloud):
    cloud.good_run()

    assert drawn(cloud).splitlines() == [
        "feed  succeeded",
        "run cc303edba9d27fd3  due 2026-11-23 18:00:00Z",
        "1 attempt, over 2m 41s after it was due",
        "",
        "  18:00:00.0  due",
        "  18:00:03.0  sent                   3.0s  █",
        "  18:00:03.4  woken                  0.4s                        asked for a worker",
        "  18:00:10.0  instance launched      6.6s  █                     i-0abc",
        "  18:00:30.0  machine booted        20.0s  ████",
        "  18:01:00.0  daemon up             30.0s  ██████                ◀ slowest wait  ip-10-0-0-7",
        "  18:01:00.5  received               0.5s",
        "  18:01:00.6  started                0.1s",
        "  18:02:40.6  ended                1m 40s  ████████████████████  ◀ slowest  succeeded",
        "  18:02:40.9  settled                0.3s                        deleted",
        "  18:04:41.0  given up             2m 00s",
    ]


@pytest.mark.parametrize("asked", [RUN, "feed", "feed@2026-11-23T18:00:00Z", "feed@2026-11-23T19:00+01:00"])
def test_a_run_is_found_by_id_by_time_or_as_the_last_of_its_job(asked, cloud):
    cloud.good_run(due="2026-11-23T17:00:00Z")
    cloud.good_run()

    assert f"run {RUN}" in drawn(cloud, asked)


@pytest.mark.parametrize("asked", [RUN, "feed"])
def test_another_run_is_never_taken_for_the_one_that_was_asked_for(asked, cloud):
    cloud.logs.filters = False
    cloud.good_run()
    cloud.sent(AT + 20, "tidy")
    cloud.sent(AT - 20, "tidy", "2026-11-23T17:59:00Z")

    assert f"run {RUN}" in drawn(cloud, asked)


def test_each_attempt_is_drawn_and_the_worker_came_once(cloud):
    failed_run(cloud)
    names = [line[14:32].strip() for line in drawn(cloud).splitlines()[4:]]

    assert [
        "due", "sent", "woken", "instance launched", "machine booted", "daemon up",
        "received", "started", "ended", "settled", "received", "started", "ended", "settled",
    ] == names  # fmt: skip


def test_what_interrupted_a_run_is_a_hop_of_it(cloud):
    run = cloud.sent()
    cloud.received(run)
    cloud.logs.worker("spot_notice", AT + 65, action="terminate")
    cloud.logs.worker("told_to_end", AT + 65.1, **run)
    cloud.ended(run, AT + 66, "interrupted", "back in 0 s", back_in_s=0.0)
    cloud.logs.worker("terminating", AT + 90)

    assert ["received", "spot notice", "told to end", "ended", "settled", "now"] == [
        line[14:25].strip() for line in drawn(cloud).splitlines()[7:]
    ]


def test_a_worker_that_was_up_before_is_no_hop(cloud):
    run = cloud.sent(AT + 3, woken=False)
    cloud.worker_up(AT - 600, AT - 640)
    cloud.received(run, AT + 3.5)

    assert ("a worker was wanted already" in drawn(cloud), "daemon up" in drawn(cloud)) == (True, False)


def test_what_goes_on_is_measured_until_now(cloud):
    cloud.sent()

    assert "18:15:00.0  now     14m 57s  ████████████████████  ◀ slowest  still waiting" in drawn(cloud)


def test_failed_launches_that_are_alike_are_one_hop(cloud):
    cloud.sent()
    for at in (AT + 5, AT + 65, AT + 125):
        cloud.autoscaling.launched(at, fault=FULL)

    assert f"{FULL} (3 times until 18:02:05.0)" in drawn(cloud)
    assert f"3 launches failed since, the last: {FULL}" in advice(cloud)


def test_a_launch_that_the_group_has_forgotten_is_told_by_the_worker(cloud):
    run = cloud.sent()
    cloud.worker_up(launched_at="2026-11-23T18:00:11.000Z")
    cloud.received(run)
    assert "18:00:10.0  instance launched" in drawn(cloud)

    cloud.autoscaling.activities.clear()
    assert "18:00:11.0  instance launched      7.6s" in drawn(cloud)


@pytest.mark.parametrize("asked", ["0badcafe", "0badcafe-22ed-42b5-8a20-0107711d3690"])
@pytest.mark.parametrize("filters", [True, False])
def test_a_message_that_could_not_be_read_is_found_by_its_own_id(filters, asked, cloud):
    cloud.logs.filters = filters
    cloud.good_run()
    facts = {"message_id": "0badcafe-22ed-42b5-8a20-0107711d3690", "attempt": 1}
    cloud.logs.worker("received", AT + 5, **facts)
    cloud.logs.worker("ended", AT + 6, **facts, outcome="rejected", reason="not JSON")
    shown = drawn(cloud, asked)

    assert shown.startswith("a message that names no job  rejected\nrun 0badcafe\n")
    assert "rejected: not JSON" in shown


def test_a_run_is_found_by_its_message_too(cloud):
    run = cloud.sent()
    facts = {**run, "message_id": "0badcafe-22ed-42b5-8a20-0107711d3690"}
    cloud.logs.worker("received", AT + 5, **facts, attempt=1)

    assert f"run {RUN}  due" in drawn(cloud, "0badcafe")


def test_programs_get_each_hop_with_its_seconds(cloud):
    cloud.good_run()

    assert [
        {"at": "2026-11-23T18:00:00.000Z", "hop": "due", "after_s": 0.0, "note": ""},
        {"at": "2026-11-23T18:00:03.000Z", "hop": "sent", "after_s": 3.0, "note": ""},
        {"at": "2026-11-23T18:00:03.400Z", "hop": "woken", "after_s": 0.4, "note": "asked for a worker"},
    ] == hop_values(known(cloud), NOW)[:3]


def test_no_more_of_the_group_is_read_than_the_run_needs(cloud):
    for hours in range(20):
        cloud.autoscaling.launched(AT - hours * 3_600)
    cloud.good_run()

    assert "instance launched" in drawn(cloud)
    assert 1 == cloud.autoscaling.asked


def test_an_instance_that_ended_under_its_run_is_a_hop_with_the_groups_reason(cloud):
    run = cloud.sent()
    cloud.worker_up()
    cloud.received(run)
    cloud.started(run)
    cloud.autoscaling.ended(AT + 300, cause="an instance failed its EC2 health check")
    shown = drawn(cloud, now=AT + 3_700)

    assert "18:05:00.0  instance ended" in shown
    assert "an instance failed its EC2 health check. it was over." in shown
    assert "i-0abc ended at 2026-11-23T18:05:00Z: an instance failed" in advice(cloud, now=AT + 3_700)


def test_an_instance_that_ended_after_its_run_is_none_of_its_hops(cloud):
    cloud.good_run()
    cloud.autoscaling.ended(AT + 300)

    assert "instance ended" not in drawn(cloud)


def test_a_retry_on_another_day_says_so(cloud):
    run = cloud.sent()
    cloud.received(run, AT + 30_000)

    assert "\n      18:00:00.0  due\n" in drawn(cloud)
    assert "\n  +1d 02:20:00.0  received" in drawn(cloud)


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal_and_why_it_failed_is_told_whole(width, cloud):
    failed_run(cloud)
    cloud.autoscaling.launched(AT + 5, fault=FULL)
    shown = drawn(cloud, width=width)

    assert [] == [line for line in shown.splitlines() if len(line) > width]
    assert "failed: exit code 3" in shown
    assert FULL in " ".join(shown.split())


def test_what_a_stranger_wrote_does_not_act_on_the_terminal(cloud):
    run = {**cloud.sent(), "job": "\x1b[2Jfeed"}
    cloud.received(run)
    cloud.ended(run, AT + 70, "failed", "dead-lettered", reason="\x1b]0;taken\x07\nand a line")

    assert "\x1b" not in drawn(cloud, RUN)
    assert "\\x1b]0;taken" in drawn(cloud, RUN)


def test_a_story_without_end_is_cut(cloud):
    cloud.sent()
    cloud.autoscaling.launched(AT + 5, fault="no capacity " * 100)

    assert 12 > len(drawn(cloud, width=80).splitlines())


def test_a_run_that_went_well_needs_no_advice(cloud):
    cloud.good_run()

    assert "" == advice(cloud)


def test_a_dead_letter_is_shown_and_retried_by_commands_to_paste(cloud):
    failed_run(cloud)

    assert [
        f"  observerd logs {RUN} --stack cron",
        f"  observerd dlq show {RUN} --stack cron",
        f"  observerd dlq retry {RUN} --stack cron",
    ] == advice(cloud).splitlines()[1:]


def test_a_launched_instance_without_a_daemon_is_looked_into(cloud):
    cloud.sent()
    cloud.autoscaling.launched(AT + 5)

    assert "get-console-output --latest --output text --instance-id i-0abc" in advice(cloud)


def test_a_run_behind_another_of_its_job_says_which(cloud):
    before = cloud.sent(AT - 3_600, due="2026-11-23T17:00:00Z")
    cloud.received(before, AT - 3_599)
    cloud.logs.worker("heartbeat", NOW - 20, **before, attempt=1)
    cloud.sent()

    assert f"run {before['run_id']} is running" in advice(cloud)


def test_a_run_of_another_job_holds_nothing_back(cloud):
    cloud.logs.filters = False
    other = cloud.sent(AT - 3_600, "tidy", "2026-11-23T17:00:00Z")
    cloud.received(other, NOW - 30)
    cloud.sent()

    assert "wait for each other" not in advice(cloud)


def test_a_worker_that_came_up_and_does_not_receive_is_doubted(cloud):
    cloud.sent()
    cloud.worker_up()

    assert "1 worker has come up since and not received it:" in advice(cloud)


def test_a_failed_wake_is_told_with_its_error(cloud):
    run = cloud.sent()
    cloud.logs.producer("wake_failed", AT + 4, **run, error="no Auto Scaling group gone")

    assert "could not wake the group (the Wake alarm mends that): no Auto Scaling group gone" in advice(cloud)


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (None, "No schedule of this stack names feed."),
        ({"state": "DISABLED"}, "Schedule feed is switched off."),
        ({"changed_at": AT + 60}, "made or changed at 2026-11-23T18:01:00Z, after that time."),
        ({"expression": "cron(30 * * * ? *)"}, "The nearest: 2026-11-23T17:30:00Z, 2026-11-23T18:30:00Z."),
        ({}, "It was due, and no message was sent."),
    ],
)
def test_a_run_that_was_never_sent_is_explained_by_its_schedule(schedule, text, cloud):
    if schedule is not None:
        cloud.scheduler.add("feed", **{"expression": "cron(0 18 * * ? *)"} | schedule)

    assert text in advice(cloud)


@pytest.mark.parametrize("filters", [True, False])
def test_a_run_that_was_never_sent_is_explained_by_what_the_producer_said(filters, cloud):
    cloud.logs.filters = filters
    cloud.scheduler.add("feed", "cron(0 18 * * ? *)")
    denied = {"level": "ERROR", "errorType": "ClientError", "errorMessage": "AccessDenied: sqs:SendMessage"}
    for at, line in (
        (AT - 400, {**denied, "errorMessage": "of another run"}),
        (AT + 20, denied | {"errorMessage": "first"}),
        (AT + 80, denied),
        (AT + 81, {"level": "INFO", "message": "no fault"}),
    ):
        cloud.logs.put(PRODUCER, "x", at, json.dumps(line))
    cloud.logs.put(PRODUCER, "x", AT + 82, "no JSON")

    told = advice(cloud)
    assert "the producer failed (2 times), the last: ClientError: AccessDenied: sqs:SendMessage" in told
    assert "observerd send feed --scheduled-time 2026-11-23T18:00:00Z" in told


def test_a_producer_that_took_too_long_is_told_so(cloud):
    cloud.logs.filters = False
    cloud.scheduler.add("feed", "cron(0 18 * * ? *)")
    cloud.logs.put(PRODUCER, "x", AT + 60, '{"type": "platform.report", "record": {"status": "timeout"}}')

    assert "the producer failed (1 time), the last: it took too long" in advice(cloud)


def test_what_the_logs_have_forgotten_was_not_unsent(cloud):
    cloud.scheduler.add("feed", "cron(0 18 * * ? *)")
    cloud.logs.kept[PRODUCER] = {"retentionInDays": 3}
    later = AT + 4 * 86_400

    assert "What was before 2026-11-24T18:00:00Z the logs have forgotten." == advice(cloud, now=later)


def test_a_run_of_the_future_is_due_then(cloud):
    assert "It is due in 10m 00s." == advice(cloud, now=AT - 600)


def test_a_missed_run_tells_where_its_time_went(cloud):
    run = cloud.sent()
    cloud.autoscaling.launched(AT + 20_000)
    cloud.worker_up(AT + 20_060, AT + 20_030)
    cloud.received(run, AT + 20_061)
    cloud.ended(run, AT + 20_061, "missed")

    assert "Most of the time went by before: instance launched." in advice(cloud, now=AT + 30_000)


def test_a_vanished_run_tells_what_comes(cloud):
    run = cloud.sent()
    cloud.received(run)
    cloud.started(run)

    assert "has said nothing for 1h 00m" in advice(cloud, now=AT + 3_661)


def test_a_retry_tells_when_it_comes(cloud):
    run = cloud.sent()
    cloud.received(run)
    cloud.ended(run, AT + 100, "failed", "back in 60 s", back_in_s=60.0)

    assert "comes back in 30.3s" in advice(cloud, now=AT + 130)
    assert "came back 39.7s ago" in advice(cloud, now=AT + 200)
    assert "no worker has received it" in advice(cloud, now=AT + 1_200)


def test_an_unknown_run_is_one_line(cloud):
    with pytest.raises(Trouble, match="no run 0000000000000000 since 2026-11-22T18:00:00Z"):
        known(cloud, "0" * 16)


@pytest.mark.parametrize("asked", ['feed" || "1" = "1', "", "@2026-11-23", "../feed"])
def test_what_is_no_job_becomes_no_question(asked):
    with pytest.raises(Trouble, match="neither a run's id nor a job's name"):
        why.read_asked(asked)


def test_a_time_that_cannot_be_read_is_one_line():
    with pytest.raises(Trouble, match="not a time: 'noon'"):
        why.read_asked("feed@noon")
