"""What a message says, what its end means, and what SQS is told: tables first, then anything at all."""

import contextlib
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observerd.core.backoff import backoff_s
from observerd.core.events import Attribute, Cause, Exit, Message, Outcome, Released, Report, TimeUp
from observerd.core.evidence import ATTRIBUTES_AT_MOST, MESSAGE_BYTES, RETRIED, clean, evidence, fitted
from observerd.core.job import BACKOFF_CAP_S, JOB_NAME, Job
from observerd.core.request import BadMessage, read_request, run_id_of
from observerd.core.run import Ended, Refusal, Run, environment, outcome_of, plan, reason_of
from observerd.core.settlement import Act, settlement
from observerd.core.units import duration_s, duration_text, size_bytes

NOW = 1_795_456_800.0  # 2026-11-23T18:00:00Z
JOB = Job(
    "feed", ("/bin/true",), attempts=3, backoff_s=60.0, environment={"A": "job", "OBSERVERD_JOB": "forged"}
)


def message(body, **rest):
    facts = {"sent_at": NOW, "received_at": NOW, **rest}
    return Message("m-1", "handle", body if isinstance(body, str) else json.dumps(body), **facts)


# ---- request


def test_a_version_1_message_is_read():
    request = read_request(
        message(
            {
                "v": 1,
                "job": "feed",
                "scheduled_time": "2026-11-23T18:00:00Z",
                "schedule": "nightly",
                "max_lateness": "6h",
                "payload": {"b": [1, "ü"]},
            }
        )
    )

    assert ("feed", NOW, "nightly", 21_600.0) == (
        request.job,
        request.scheduled_at,
        request.schedule,
        request.max_lateness_s,
    )
    assert {"b": [1, "ü"]} == json.loads(request.payload)


def test_an_instant_is_the_same_run_however_it_is_written():
    forms = ("2026-11-23T18:00:00Z", "2026-11-24T03:00:00+09:00", "2026-11-23T18:00:00.000+00:00")

    assert 1 == len({read_request(message({"job": "feed", "scheduled_time": each})).run_id for each in forms})


def test_another_instant_or_job_is_another_run():
    assert 3 == len({run_id_of(*each) for each in (("a", "1"), ("a", "2"), ("b", "1"))})


def test_a_message_without_a_time_is_scheduled_when_it_was_sent():
    request = read_request(message({"job": "feed"}, sent_at=NOW - 5))

    assert NOW - 5 == request.scheduled_at


def test_the_attribute_form_wins_over_what_the_body_looks_like():
    request = read_request(message({"job": "other"}, attributes={"Name": Attribute("String", "feed")}))

    assert ("feed", '{"job": "other"}') == (request.job, request.payload)


BAD = {
    "empty": "",
    "array": "[]",
    "number": "5",
    "null": "null",
    "job missing": {},
    "job null": {"job": None},
    "job empty": {"job": ""},
    "job with slash": {"job": "a/b"},
    "job with dots first": {"job": ".hidden"},
    "job with newline": {"job": "feed\n"},
    "job with brace": {"job": "{feed}"},
    "job too long": {"job": "a" * 81},
    "job a list": {"job": ["feed"]},
    "version as text": {"job": "feed", "v": "1"},
    "version true": {"job": "feed", "v": True},
    "version 2": {"job": "feed", "v": 2},
    "time without zone": {"job": "feed", "scheduled_time": "2026-11-23T18:00:00"},
    "time as number": {"job": "feed", "scheduled_time": NOW},
    "time in the far future": {"job": "feed", "scheduled_time": "2026-11-25T18:00:00Z"},
    "time in the year 1": {"job": "feed", "scheduled_time": "0001-01-01T00:00:00Z"},
    "time that overflows": {"job": "feed", "scheduled_time": "9999-12-31T23:59:59-23:59"},
    "lateness as number": {"job": "feed", "max_lateness": 60},
    "lateness unreadable": {"job": "feed", "max_lateness": "soon"},
    "schedule as number": {"job": "feed", "schedule": 1},
    "a command": {"job": "feed", "command": "rm"},
    "half a surrogate": '{"job": "feed", "payload": "\\ud800"}',
    "infinity": '{"job": "feed", "payload": Infinity}',
    "a number no float can hold": '{"job": "feed", "payload": 1e999}',
    "a NUL in the schedule": {"job": "feed", "schedule": "a\0b"},
    "a schedule too long for a variable": {"job": "feed", "schedule": "x" * 201},
    "a version of a mebibyte": {"job": "feed", "v": "x" * 1_048_576},
    "a key of a mebibyte": {"job": "feed", "x" * 1_048_576: 1},
    "a lateness of a mebibyte": {"job": "feed", "max_lateness": "x" * 1_048_576},
    "an endless lateness": {"job": "feed", "max_lateness": "9" * 400 + "s"},
    "a time of a mebibyte": {"job": "feed", "scheduled_time": "2026-11-23T18:00:00." + "0" * 1_048_576},
    "attribute a path": None,
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_a_bad_message_is_told_in_one_line(body):
    bad = message("x", attributes={"Name": Attribute("String", "../x")}) if body is None else message(body)

    with pytest.raises(BadMessage) as raised:
        read_request(bad)

    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["v", "job", "scheduled_time", "schedule", "max_lateness", "payload", "x"])


@given(st.one_of(st.text(), JSON.map(json.dumps), st.dictionaries(KEYS, JSON).map(json.dumps)))
def test_any_body_is_a_request_or_a_bad_message(body):
    try:
        request = read_request(message(body))
    except BadMessage as bad:
        assert "\n" not in str(bad)
    else:
        assert JOB_NAME.fullmatch(request.job)
        request.payload.encode()


@pytest.mark.parametrize("key", ["v", "job", "scheduled_time", "schedule", "max_lateness", "payload", "x"])
def test_no_depth_of_nesting_is_another_error(key):
    for depth in range(sys.getrecursionlimit() - 200, sys.getrecursionlimit() + 10):
        body = f'{{"job": "feed", "{key}": {"[" * depth + "]" * depth}}}'
        with contextlib.suppress(BadMessage):
            read_request(message(body))


@given(st.text(), st.binary())
def test_any_name_attribute_is_a_request_or_a_bad_message(text, raw):
    for attribute in (Attribute("String", text), Attribute("Binary", raw)):
        try:
            read_request(message("body", attributes={"Name": attribute}))
        except BadMessage as bad:
            assert "\n" not in str(bad)


# ---- plan, environment, outcome


def planned(**fields):
    return plan(message({"job": "feed", "scheduled_time": "2026-11-23T18:00:00Z", **fields}), {"feed": JOB})


@pytest.mark.parametrize(
    ("late_s", "job_limit", "message_limit", "missed"),
    [
        (61, None, "1m", True),
        (60, None, "1m", False),
        (61, 60.0, None, True),
        (61, 60.0, "2m", True),
        (61, 120.0, "1m", True),
        (1e6, None, None, False),
    ],
)
def test_the_stricter_limit_says_what_is_too_late(late_s, job_limit, message_limit, missed):
    body = {"job": "feed", "scheduled_time": "2026-11-23T18:00:00Z"}
    if message_limit:
        body["max_lateness"] = message_limit
    job = Job("feed", ("/bin/true",), max_lateness_s=job_limit)

    answer = plan(message(body, received_at=NOW + late_s), {"feed": job})

    assert missed == isinstance(answer, Refusal)
    if missed:
        assert answer.outcome is Outcome.MISSED


def test_a_run_that_a_person_sent_anew_is_never_too_late():
    body = {"job": "feed", "scheduled_time": "2026-11-23T18:00:00Z", "max_lateness": "1m"}
    retried = message(body, received_at=NOW + 1e6, attributes={RETRIED: Attribute("String", "by hand")})

    assert isinstance(plan(retried, {"feed": JOB}), Run)


def test_a_retry_that_fails_again_loses_its_mark():
    retried = message({"job": "feed"}, attributes={RETRIED: Attribute("String", "by hand")})

    assert {} == fitted(retried, {})


def test_the_environment_is_the_designs_and_cannot_be_forged():
    seen = environment(planned(payload={"a": 1}), {"A": "common", "B": "common"})

    assert ("job", "common", "feed") == (seen["A"], seen["B"], seen["OBSERVERD_JOB"])
    assert {
        "OBSERVERD_JOB",
        "OBSERVERD_RUN_ID",
        "OBSERVERD_SCHEDULED_TIME",
        "OBSERVERD_ATTEMPT",
        "OBSERVERD_MESSAGE_ID",
        "OBSERVERD_DEADLINE",
        "OBSERVERD_LOG_STREAM",
        "OBSERVERD_PAYLOAD",
    } <= set(seen)
    assert "2026-11-23T19:00:00Z" == seen["OBSERVERD_DEADLINE"]


def test_a_large_payload_is_on_standard_input_only():
    assert "OBSERVERD_PAYLOAD" not in environment(planned(payload="x" * 20_000), {})


@given(JSON)
def test_no_environment_holds_a_nul(payload):
    run = plan(message(json.dumps({"job": "feed", "payload": payload}, allow_nan=True)), {"feed": JOB})
    if isinstance(run, Run):
        assert not any("\0" in text for text in environment(run, {}).values())


def test_a_log_stream_has_no_character_that_cloudwatch_refuses():
    assert not set(planned().log_stream) & set(":*{}")


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [
        (Ended(exit_code=0), Outcome.SUCCEEDED),
        (Ended(exit_code=1), Outcome.FAILED),
        (Ended(signal=9), Outcome.FAILED),
        (Ended(fault="cannot start"), Outcome.FAILED),
        (Ended(signal=9, out_of_memory=True), Outcome.OUT_OF_MEMORY),
        (Ended(exit_code=0, timed_out=True), Outcome.TIMED_OUT),
        (Ended(exit_code=0, cause=Cause.STOP), Outcome.INTERRUPTED),
        (Ended(exit_code=0, cause=Cause.LEASE_LOST), Outcome.LOST),
        (Ended(signal=15, cause=Cause.STOP, timed_out=True), Outcome.INTERRUPTED),
    ],
)
def test_what_an_end_means(ended, outcome):
    assert outcome is outcome_of(ended, JOB)
    assert "\n" not in reason_of(ended, JOB)


# ---- settlement


@pytest.mark.parametrize(
    ("outcome", "attempt", "exit_code", "act"),
    [
        (Outcome.SUCCEEDED, 9, 0, Act.DELETE),
        (Outcome.MISSED, 1, None, Act.DELETE),
        (Outcome.REJECTED, 1, None, Act.DEAD_LETTER),
        (Outcome.INTERRUPTED, 9, None, Act.RELEASE),
        (Outcome.LOST, 9, None, Act.LEAVE),
        (Outcome.DUPLICATE, 1, None, Act.LEAVE),
        (Outcome.CRASHED, 9, None, Act.RELEASE),
        (Outcome.FAILED, 1, 1, Act.RELEASE),
        (Outcome.FAILED, 2, 1, Act.RELEASE),
        (Outcome.FAILED, 3, 1, Act.DEAD_LETTER),
        (Outcome.FAILED, 9, 1, Act.DEAD_LETTER),
        (Outcome.FAILED, 1, 78, Act.DEAD_LETTER),
        (Outcome.TIMED_OUT, 2, None, Act.RELEASE),
        (Outcome.TIMED_OUT, 3, None, Act.DEAD_LETTER),
        (Outcome.OUT_OF_MEMORY, 3, None, Act.DEAD_LETTER),
    ],
)
def test_the_table_of_settlements(outcome, attempt, exit_code, act):
    assert act is settlement(outcome, JOB, attempt, exit_code, 0.0).act


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_a_row_and_only_two_delete_unasked(outcome):
    deletes = settlement(outcome, JOB, 1, None, 0.0).act is Act.DELETE

    assert deletes == (outcome in (Outcome.SUCCEEDED, Outcome.MISSED))


def test_an_interrupted_message_is_shown_at_once():
    assert 0 == settlement(Outcome.INTERRUPTED, JOB, 1, None, 0.5).delay_s


@given(st.floats(0.1, 1e4), st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_backoff_grows_and_is_capped(base_s, failures, jitter):
    now = backoff_s(base_s, failures, BACKOFF_CAP_S, jitter)

    assert 0 < now <= BACKOFF_CAP_S
    assert now <= backoff_s(base_s, failures + 1, BACKOFF_CAP_S, jitter)


# ---- evidence


@given(
    st.text(max_size=50),
    st.text(max_size=5_000),
    st.dictionaries(st.text("abc", min_size=1, max_size=5), st.text(min_size=1, max_size=50), max_size=10),
    st.integers(0, MESSAGE_BYTES),
)
def test_evidence_is_what_sqs_takes_and_the_senders_attributes_stay(reason, tail, own, filling):
    sent = Message(
        "m", "h", "x" * max(0, filling - 2_000), {k: Attribute("String", v) for k, v in own.items()}
    )

    attributes = fitted(
        sent, evidence(Outcome.FAILED, sent, Report("feed", reason=reason, exit_code=1, last_lines=tail))
    )

    assert len(attributes) <= ATTRIBUTES_AT_MOST
    assert all(attributes[name].value == text for name, text in own.items())
    size = sum(len(k.encode()) + len(a.data_type) + len(a.value.encode()) for k, a in attributes.items())
    assert len(sent.body) + size <= MESSAGE_BYTES
    for name, attribute in attributes.items():
        if name not in own:
            assert attribute.value
            assert not any(ord(each) < 32 and each not in "\t\n\r" for each in attribute.value)


def test_evidence_has_every_character_that_sqs_takes_and_no_other():
    everything = "".join(map(chr, range(0x11_0000)))
    taken = "\t\n\r" + "".join(
        chr(code)
        for first, last in ((0x20, 0xD7FF), (0xE000, 0xFFFD), (0x1_0000, 0x10_FFFF))
        for code in range(first, last + 1)
    )
    refused = sorted(set(everything) - set(taken))
    assert clean(taken) == taken
    assert clean("".join(refused)) == "\ufffd" * len(refused)


def test_evidence_of_an_earlier_end_is_replaced():
    sent = Message("m", "h", "x", {"ObserverdOutcome": Attribute("String", "timeout")})

    attributes = fitted(sent, evidence(Outcome.FAILED, sent, Report()))

    assert "failed" == attributes["ObserverdOutcome"].value


# ---- units


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("2h", 7_200), ("1h30m", 5_400), ("1d", 86_400), ("0.5s", 0.5)]
)
def test_durations(text, seconds):
    assert seconds == duration_s(text)


@pytest.mark.parametrize("text", ["", "90", "2 h", "h", "-1s", "1s1h", "1.5h", None, 5, "٣s"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="not a duration"):
        duration_s(text)


@given(st.integers(0, 10**7))
def test_durations_are_written_as_they_are_read(seconds):
    assert seconds == duration_s(duration_text(seconds))


@pytest.mark.parametrize(("seconds", "text"), [(59.9999, "1m"), (0.0004, "0s"), (90.5, "90.5s")])
def test_no_duration_is_written_that_could_not_be_read(seconds, text):
    assert text == duration_text(seconds)


@pytest.mark.parametrize(("text", "size"), [("512", 512), ("512M", 512 << 20), ("2G", 2 << 30), ("1K", 1024)])
def test_sizes(text, size):
    assert size == size_bytes(text)


@pytest.mark.parametrize("text", ["", "M", "1.5G", "2g", "-1K", None])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="not a size"):
        size_bytes(text)


def test_events_are_equal_by_class_and_content_and_show_it():
    assert Released() == Released()
    assert TimeUp() != Released()
    assert Exit(0, "idle") != Exit(0, "drained")
    assert {Exit(0, "idle")} == {Exit(0, "idle")}
    assert "Exit(status=0, reason='idle')" == repr(Exit(0, "idle"))
