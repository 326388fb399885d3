"""What `runs` lists: runs on every worker, and those that never reached one."""

import json

import pytest

from observerd.operations.runs import Wanted, history, json_text, moment, outcomes, span, table
from observerd.operations.screen import Screen
from observerd.operations.trouble import Trouble
from tests.operations.cloud import AT, DUE, JOBS, PLACE, PRODUCER, RUN, Cloud, refused

DAY = Wanted(AT - 86_400)


@pytest.fixture
def cloud():
    return Cloud()


def told(cloud, wanted=DAY, now=AT + 900, place=PLACE):
    return history(cloud.account, place, wanted, now)[0]


def outcome_of(cloud, now=AT + 900):
    [story] = told(cloud, now=now)
    return story.outcome(now)


def test_a_run_that_succeeded_is_one_line_with_its_delay_and_duration(cloud):
    cloud.good_run()

    assert (
        "DUE (UTC)            JOB   OUTCOME    TRY  DELAY   TOOK    RUN               WHY\n"
        "2026-11-23 18:00:00  feed  succeeded  1    1m 01s  1m 40s  cc303edba9d27fd3"
    ) == table(told(cloud), AT + 900, Screen())


def test_attempts_on_two_workers_are_one_run(cloud):
    run = cloud.sent()
    cloud.received(run)
    cloud.ended(run, AT + 70, "interrupted", "back in 0 s", back_in_s=0.0)
    cloud.received(run, AT + 90, attempt=2, worker="other/1")
    cloud.ended(run, AT + 99, attempt=2, worker="other/1", exit_code=0)
    [story] = json.loads(json_text(told(cloud), AT + 900))

    assert ("succeeded", [("interrupted", 1), ("succeeded", 2)]) == (
        story["outcome"],
        [(each["outcome"], each["attempt"]) for each in story["attempts"]],
    )


def test_a_run_that_was_sent_and_never_received_is_waiting(cloud):
    cloud.sent()

    assert "waiting" == outcome_of(cloud)


def test_a_run_that_failed_and_will_be_tried_again_is_retrying(cloud):
    run = cloud.sent()
    cloud.received(run)
    cloud.ended(run, AT + 70, "failed", "back in 60 s", back_in_s=60)

    assert "retrying" == outcome_of(cloud)


def test_a_run_that_a_worker_lost_is_taken_over_by_another(cloud):
    run = cloud.sent()
    cloud.received(run)
    cloud.ended(run, AT + 70, "lost", "left alone")

    assert "retrying" == outcome_of(cloud)


@pytest.mark.parametrize(("quiet_s", "outcome"), [(60, "running"), (3_600, "vanished")])
def test_a_run_without_an_end_runs_as_long_as_it_gives_signs_of_life(quiet_s, outcome, cloud):
    run = cloud.sent()
    cloud.received(run)
    cloud.started(run)
    cloud.logs.worker("heartbeat", AT + 7_200, **run, attempt=1)

    assert outcome == outcome_of(cloud, now=AT + 7_200 + quiet_s)


def test_a_run_sent_anew_after_its_end_is_waiting_again(cloud):
    run = cloud.good_run()
    cloud.logs.producer("sent", AT + 800, **run)

    assert "waiting" == outcome_of(cloud)


def test_a_missed_run_is_listed_with_its_reason(cloud):
    run = cloud.sent()
    cloud.received(run)
    cloud.ended(run, AT + 61, "missed", reason="30000 s after its scheduled time, later than allowed")
    [story] = told(cloud)

    assert ("missed", True) == (story.outcome(AT + 900), "later than" in table([story], AT, Screen()))


def test_a_run_that_was_due_and_never_sent_is_listed_too(cloud):
    cloud.good_run()
    cloud.scheduler.add("feed", "cron(0 18 * * ? *)")
    cloud.scheduler.add("tidy", "cron(0/30 17-18 * * ? *)", changed_at=AT - 1_801)

    assert [
        ("tidy", "2026-11-23T17:30:00Z", "unsent"),
        ("feed", DUE, "succeeded"),
        ("tidy", DUE, "unsent"),
    ] == [
        (each["job"], each["scheduled_time"], each["outcome"])
        for each in json.loads(json_text(told(cloud), AT + 900))
    ]


def test_a_schedule_is_given_time_to_send(cloud):
    cloud.scheduler.add("feed", "cron(0 18 * * ? *)")

    assert [] == told(cloud, Wanted(AT - 60), now=AT + 299)
    assert 1 == len(told(cloud, Wanted(AT - 60), now=AT + 301))


@pytest.mark.parametrize("kept", [{"retentionInDays": 3}, {"creationTime": (AT - 3 * 86_400 - 60) * 1000}])
def test_what_the_logs_have_forgotten_was_not_unsent(kept, cloud):
    cloud.logs.kept[PRODUCER] = kept
    cloud.scheduler.add("feed", "cron(0 18 * * ? *)")

    assert 3 == len(told(cloud, Wanted(AT - 30 * 86_400), now=AT - 60))


@pytest.mark.parametrize("change", [{"state": "DISABLED"}, {"changed_at": AT + 1}, {"zone": "Asia/Tokyo"}])
def test_a_schedule_that_was_not_due_then_has_no_missing_run(change, cloud):
    cloud.scheduler.add("feed", "cron(0 18 * * ? *)", **change)

    assert [] == told(cloud, Wanted(AT - 60))


def test_where_schedules_may_not_be_read_it_is_said(cloud):
    cloud.good_run()
    cloud.scheduler.fault = refused("AccessDeniedException", "not authorized: scheduler:ListSchedules")
    found, doubt = history(cloud.account, PLACE, DAY, AT + 900)

    assert (1, True) == (len(found), "never sent are not shown" in doubt and "ListSchedules" in doubt)


def test_a_job_and_outcomes_can_be_asked_for(cloud):
    cloud.good_run()
    cloud.sent(AT + 20, "other")

    assert ["other"] == [each.job for each in told(cloud, Wanted(AT - 60, "other"))]
    assert ["feed"] == [each.job for each in told(cloud, Wanted(AT - 60, None, outcomes("succeeded,failed")))]


def test_a_message_that_could_not_be_read_is_on_record(cloud):
    cloud.logs.worker("received", AT, message_id="m-9", attempt=1)
    cloud.logs.worker("ended", AT, message_id="m-9", attempt=1, outcome="rejected", reason="not JSON")
    [story] = told(cloud)

    assert (None, "rejected") == (story.run_id, story.outcome(AT))
    assert "m-9" in table([story], AT, Screen())


def test_what_others_print_into_the_group_is_no_event(cloud):
    cloud.logs.put(JOBS, "_events/stranger", AT, '{"event": "sent"}')
    cloud.logs.put(JOBS, "_events/stranger", AT, '{"at": "soon", "event": "sent", "run_id": "x"}')
    cloud.logs.put(JOBS, "_events/stranger", AT, "no JSON")

    assert [] == told(cloud)


def test_since_ever_is_since_1970(cloud):
    cloud.good_run()

    assert 1 == len(told(cloud, Wanted(moment("999999999999d", AT))))


def test_a_log_group_that_is_not_there_is_named(cloud):
    del cloud.logs.groups[JOBS]

    with pytest.raises(Trouble, match=f"no log group {JOBS}"):
        told(cloud)


def test_a_denied_reader_is_told_so(cloud):
    cloud.logs.fault = refused("AccessDeniedException", "no logs:FilterLogEvents")

    with pytest.raises(Trouble, match="FilterLogEvents") as trouble:
        told(cloud)
    assert 77 == trouble.value.status


def a_night(cloud):
    """A run of each kind that a table must tell of."""
    cloud.good_run()
    run = cloud.sent(job="rebuild-the-search-index-of-the-shops")
    cloud.received(run)
    cloud.ended(run, AT + 61, "failed", reason="\x1b[31m" + "long " * 40)
    interrupted = cloud.sent(job="nightly-billing-run")
    cloud.received(interrupted)
    cloud.ended(interrupted, AT + 61, "interrupted", "back in 0 s", back_in_s=0.0, reason="Spot")
    cloud.sent(job="waiting")


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_table_fits_the_terminal_and_shows_no_control_character(width, cloud):
    a_night(cloud)
    shown = table(told(cloud), AT + 900, Screen(width))

    assert [] == [line for line in shown.splitlines() if len(line) > width]
    assert "\\x1b[31mlong" in shown
    assert all(each.run_id in shown for each in told(cloud))


def test_a_narrow_table_cuts_names_within_and_puts_reasons_beneath(cloud):
    a_night(cloud)

    assert [
        "DUE (UTC)    JOB           OUTCOME    TRY  DELAY   TOOK    RUN               WHY",
        "11-23 18:00  feed          succeeded  1    1m 01s  1m 40s  cc303edba9d27fd3",
        "11-23 18:00  nightl…g-run  retrying   1    -       -       ee94040acb5ae114",
        "             interrupted: Spot",
    ] == table(told(cloud), AT + 900, Screen(80)).splitlines()[:4]


def test_how_a_run_stands_is_told_where_it_has_no_reason(cloud):
    waiting = cloud.sent(job="waiting")
    running = cloud.sent(job="running")
    cloud.received(running, AT + 100)
    cloud.started(running, AT + 100)
    shown = table(told(cloud, now=AT + 160), AT + 160, Screen())

    assert {waiting["run_id"]: "sent 2m 37s ago", running["run_id"]: "for 1m 00s on ip-10-0-0-7"} == {
        line.split("  ")[-2].strip(): line.split("  ")[-1] for line in shown.splitlines()[1:]
    }


def test_colours_are_for_terminals(cloud):
    cloud.good_run()

    assert "\033[32msucceeded\033[0m" in table(told(cloud), AT + 900, Screen(100, colour=True))
    assert "\033" not in table(told(cloud), AT + 900, Screen(100))


@pytest.mark.parametrize(
    ("text", "at"), [("36h", AT - 129_600), ("2026-11-23", AT - 64_800), ("2026-11-23T18:00Z", AT)]
)
def test_a_moment_is_a_span_ago_or_a_time(text, at):
    assert at == moment(text, AT)


@pytest.mark.parametrize("read", [lambda: moment("yesterday", AT), lambda: outcomes("succeeded,bad")])
def test_what_cannot_be_read_is_a_usage_error_in_one_line(read):
    with pytest.raises(Trouble, match=r"yesterday|'bad'") as trouble:
        read()
    assert (64, 1) == (trouble.value.status, len(str(trouble.value).splitlines()))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"), (0.04, "0.0s"), (59.94, "59.9s"), (59.96, "1m 00s"), (185, "3m 05s"),
        (3_599.7, "1h 00m"), (7_620, "2h 07m"), (100_800, "1d 04h"), (-3, "-3.0s"),
    ],
)  # fmt: skip
def test_spans_read_as_people_say_them(seconds, text):
    assert text == span(seconds)


def test_the_run_id_is_the_one_that_the_worker_uses(cloud):
    assert RUN == cloud.good_run()["run_id"]
