"""Lines out of raw output."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observerd.core.lines import (
    LINE_LIMIT_BYTES,
    TAIL_BYTES,
    TAIL_LINES,
    Lines,
    Tail,
    lines_in,
    output_lines,
    text_lines,
)

SQS_REFUSES = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

chunks_of_output = st.lists(
    st.one_of(st.binary(max_size=40), st.sampled_from([b"\n", b"\r", b"\r\n", "né…😀".encode()])), max_size=20
)


def events(*chunks):
    cutter = Lines()
    blocks = [block for chunk in chunks for block in cutter.take(chunk)] + cutter.end()
    return [event for block in blocks for event in text_lines(block)]


def tail(*chunks):
    end = Tail()
    for chunk in chunks:
        end.take(chunk)
    return end.text()


@given(chunks_of_output)
def test_where_output_is_cut_into_chunks_makes_no_difference(chunks):
    whole = b"".join(chunks)

    assert events(*chunks) == events(whole) == events(*(bytes([byte]) for byte in whole))


@given(st.binary(max_size=300))
def test_lines_are_counted_as_they_would_be_decoded(block):
    assert lines_in(block) == len(text_lines(block))


def test_a_line_without_a_newline_is_there_at_the_end():
    assert events(b"one\ntw", b"o") == ["one", "two"]


def test_the_end_is_given_once():
    cutter = Lines()
    cutter.take(b"half")

    assert [[b"half"], []] == [cutter.end(), cutter.end()]


def test_a_character_torn_between_two_chunks_is_whole():
    assert events(b"\xf0\x9f", b"\x98\x80\n") == ["😀"]


def test_a_windows_line_end_is_one_line_end():
    assert events(b"one\r\ntwo\r", b"\nthree\r") == ["one", "two", "three"]


def test_an_empty_line_is_a_space_because_an_empty_event_is_refused():
    assert events(b"one\n\n\r\ntwo\n") == ["one", " ", " ", "two"]


def test_bytes_that_are_no_text_are_replaced():
    assert events(b"a\xff\xfeb\n") == ["a\ufffd\ufffdb"]


def test_control_characters_are_shown_and_not_passed_on():
    assert events(b"\x1b[31mred\x00\x7f\tend\r!\n\xc2\x9b2J") == ["␛[31mred␀␡\tend␍!", "\ufffd2J"]


def test_a_line_over_the_limit_is_split_and_nothing_of_it_is_lost():
    line = "0123456789" * 80_000

    pieces = events(line.encode() + b"\nnext\n")

    assert "".join(pieces[:-1]) == line
    assert [len(piece) for piece in pieces[:-1]] == [LINE_LIMIT_BYTES] * 3 + [13_724]
    assert pieces[-1] == "next"


def test_a_line_is_never_split_inside_a_character():
    line = "a" + "😀" * 100_000
    in_chunks = [line.encode()[start : start + 65_536] for start in range(0, 400_001, 65_536)]

    for pieces in (events(line.encode() + b"\n"), events(*in_chunks)):
        assert "".join(pieces) == line
        assert max(len(piece.encode()) for piece in pieces) <= LINE_LIMIT_BYTES


def test_what_grows_when_it_is_decoded_is_split_by_its_new_length():
    pieces = events(b"\xff" * 200_000)

    assert "".join(pieces) == "\ufffd" * 200_000
    assert max(len(piece.encode()) for piece in pieces) <= LINE_LIMIT_BYTES


def test_a_line_that_just_fits_is_one_event_whatever_ends_it():
    line = b"x" * LINE_LIMIT_BYTES

    assert [len(event) for event in events(line[:9], line[9:] + b"\r", b"\nnext")] == [LINE_LIMIT_BYTES, 4]


def test_output_without_newlines_is_not_kept():
    cutter = Lines()

    passed_on = sum(len(block) for _ in range(100) for block in cutter.take(b"\x80" * 65_536))

    assert 100 * 65_536 - passed_on <= LINE_LIMIT_BYTES + 1


def test_the_tail_is_the_last_lines():
    assert tail(b"".join(b"line %d\n" % number for number in range(50))) == "\n".join(
        f"line {number}" for number in range(50 - TAIL_LINES, 50)
    )


def test_the_tail_of_nothing_is_nothing():
    assert tail() == ""


def test_the_tail_of_one_long_line_is_its_end():
    assert tail(b"x" * 100_000, b"the end") == "x" * (TAIL_BYTES - 7) + "the end"


@given(chunks_of_output, st.integers(0, 3_000))
def test_the_tail_is_bounded_and_fit_for_a_message_attribute(chunks, repeats):
    text = tail(*(chunk * repeats for chunk in chunks))

    assert len(text.encode()) <= TAIL_BYTES
    assert text.count("\n") < TAIL_LINES
    assert SQS_REFUSES.search(text) is None


def test_nothing_of_a_chunk_but_its_end_is_kept_for_the_tail():
    end = Tail()
    for _ in range(3):
        end.take(b"x" * 1_000_000)

    assert len(end._kept) == 2 * TAIL_BYTES


def metric(key="_aws", namespace="Observerd"):
    directive = {"Namespace": namespace, "Dimensions": [["Stack"]], "Metrics": [{"Name": "JobSucceeded"}]}
    return json.dumps({key: {"CloudWatchMetrics": [directive]}, "Stack": "cron", "JobSucceeded": 1})


@pytest.mark.parametrize(
    "line",
    [
        metric(),
        f"  {metric()}",
        metric().replace("_aws", "\\u005faws").replace("Observerd", "\\u004Fbserverd"),
        f'{{"_aws": 1, {metric()[1:]}',
        f"{metric()[:-1]}, {metric(namespace='Other')[1:]}",
        # Where a long line is cut, the hostile half begins an event.
        "x" * LINE_LIMIT_BYTES + metric(),
        "\udcff" * (LINE_LIMIT_BYTES // 3) + metric(),
    ],
)
def test_a_job_cannot_report_a_metric_of_ours(line):
    events = output_lines(line.encode("utf-8", "surrogateescape"))

    assert not any("{" in event for event in events)
    assert sum(len(event) for event in events) == len(line)


@pytest.mark.parametrize("line", [metric(namespace="Shop"), '{"said": "Observerd ran"}', "{_aws} and others"])
def test_a_jobs_own_metrics_are_its_own(line):
    assert [line] == output_lines(line.encode())
