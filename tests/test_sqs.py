"""The door to SQS, over real HTTP: what it reads, and what each of SQS's troubles becomes."""

import json
import time

import pytest

from observerd import __version__
from observerd.aws import CALL_ATTEMPTS, Clients, Unusable, endpoint_of, region_of
from observerd.core.events import Attribute, Counted, Message, ReceiveFault
from observerd.receiver import counted
from observerd.sqs import HandleRefused, NoDeadLetterQueue, SqsFault


def receive(queue):
    (message,) = queue.receive(1, 1)
    return message


def test_a_message_is_read_whole(sqs, make_queue):
    attributes = {
        "Name": {"DataType": "String", "StringValue": "feed"},
        "Raw": {"DataType": "Binary", "BinaryValue": "AAE="},
    }
    sent = sqs.send("body", attributes=attributes, group="g", sent_at=1_700_000_000.0)

    message = receive(make_queue())

    assert (sent, "body", "g", 1) == (message.id, message.body, message.group_id, message.receive_count)
    assert 1_700_000_000.0 == message.sent_at
    assert {"Name": Attribute("String", "feed"), "Raw": Attribute("Binary", b"\0\1")} == message.attributes


def test_every_call_names_this_program(sqs, make_queue):
    """CloudTrail shows it as userAgent."""
    queue = make_queue()
    sqs.send("body")
    (message,) = queue.receive(1, 1)
    queue.extend(((message, 60),))
    queue.delete(message)

    assert {f"observerd/{__version__}"} == {caller.split()[0] for caller in sqs.callers}


def test_an_empty_queue_gives_nothing(make_queue):
    assert () == make_queue().receive(10, 0)


def test_the_clock_of_sqs_says_when_a_message_was_received(sqs, make_queue):
    sqs.clock_offset_s = -200_000.0
    sqs.send("body")

    assert abs(receive(make_queue()).received_at - (time.time() - 200_000)) < 60


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("AWS.SimpleQueueService.NonExistentQueue", ReceiveFault.QUEUE_MISSING),
        ("QueueDoesNotExist", ReceiveFault.QUEUE_MISSING),
        ("AccessDenied", ReceiveFault.DENIED),
        ("AccessDeniedException", ReceiveFault.DENIED),
        ("InvalidClientTokenId", ReceiveFault.DENIED),
        ("ThrottlingException", ReceiveFault.THROTTLED),
        ("OverLimit", ReceiveFault.THROTTLED),
        ("ExpiredToken", ReceiveFault.UNREACHABLE),
        ("SignatureDoesNotMatch", ReceiveFault.UNREACHABLE),
        ("InternalFailure", ReceiveFault.UNREACHABLE),
    ],
)
def test_each_error_has_a_word_of_ours(code, fault, sqs, make_queue):
    sqs.fail("ReceiveMessage", "error", code=code, status=400)

    with pytest.raises(SqsFault) as raised:
        make_queue().receive(1, 0)

    assert (fault, f"{code}: planned ({sqs.url('jobs')})") == (raised.value.fault, str(raised.value))


@pytest.mark.parametrize("kind", ["reset", "garbage", "null", "binary", "truncated", "lost"])
def test_an_answer_that_is_none_is_unreachability(kind, sqs, make_queue):
    sqs.fail("ReceiveMessage", kind)

    with pytest.raises(SqsFault) as raised:
        make_queue().receive(1, 0)

    assert ReceiveFault.UNREACHABLE is raised.value.fault
    assert "\n" not in str(raised.value)


def test_nobody_at_the_address_is_unreachability(sqs, make_queue):
    queue = make_queue()
    sqs.__exit__()
    try:
        with pytest.raises(SqsFault) as raised:
            queue.receive(1, 0)
    finally:
        sqs.__enter__()

    assert ReceiveFault.UNREACHABLE is raised.value.fault


def test_a_delete_takes_the_message_away(sqs, make_queue):
    sqs.send("body")
    queue = make_queue()

    queue.delete(receive(queue))

    assert [] == sqs.bodies()


def test_a_handle_that_is_over_is_refused(sqs, make_queue):
    sqs.send("body")
    queue = make_queue(visibility_timeout_s=1)
    first = receive(queue)
    sqs.wait_for(lambda _: sqs.queues["jobs"].messages[0].visible_at < time.monotonic())
    receive(queue)

    with pytest.raises(HandleRefused):
        queue.delete(first)
    with pytest.raises(HandleRefused):
        queue.release(first, 0)


def test_a_released_message_is_there_for_the_next_at_once(sqs, make_queue):
    sqs.send("body")
    queue = make_queue()

    queue.release(receive(queue), 0)

    assert 2 == receive(queue).receive_count


def test_what_waits_is_counted_and_what_is_in_flight_is_not(sqs, make_queue):
    """What its group keeps back counts as visible, as boto3 issue 1372 shows."""
    for _ in range(3):
        sqs.send("body", group="slow")
    queue = make_queue()
    receive(queue)

    assert 2 == queue.waiting()


@pytest.mark.parametrize("attributes", [{}, {"ApproximateNumberOfMessages": "many"}])
def test_a_count_that_sqs_does_not_tell_is_none(attributes, sqs, make_queue, monkeypatch):
    monkeypatch.setattr(sqs, "_GetQueueAttributes", lambda _: {"Attributes": attributes})

    assert make_queue().waiting() is None


@pytest.mark.parametrize("kind", ["error", "reset", "garbage"])
def test_a_count_that_fails_is_not_known(kind, sqs, make_queue):
    for _ in range(CALL_ATTEMPTS):
        sqs.fail("GetQueueAttributes", kind)

    assert Counted(None) == counted(make_queue())


def test_an_extension_tells_kept_refused_and_unanswered_apart(sqs, make_queue):
    sqs.send("one")
    sqs.send("two")
    queue = make_queue()
    one, two = queue.receive(10, 1)
    queue.delete(two)

    answer = queue.extend(((one, 60), (two, 60)))

    assert ((one.receipt_handle,), (two.receipt_handle,), ()) == (
        answer.kept,
        answer.refused,
        answer.unanswered,
    )


@pytest.mark.parametrize("kind", ["error", "reset", "garbage"])
def test_a_failed_extension_is_unanswered(kind, sqs, make_queue):
    sqs.send("body")
    queue = make_queue()
    message = receive(queue)
    sqs.fail("ChangeMessageVisibilityBatch", kind)

    assert (message.receipt_handle,) == queue.extend(((message, 60),)).unanswered


def test_an_entry_that_failed_for_want_of_service_is_not_refused(sqs, make_queue, monkeypatch):
    sqs.send("body")
    queue = make_queue()
    message = receive(queue)
    failed = {"Id": "0", "Code": "InternalError", "Message": "try again", "SenderFault": False}
    monkeypatch.setattr(
        sqs, "_ChangeMessageVisibilityBatch", lambda _: {"Successful": [], "Failed": [failed]}, raising=True
    )

    assert (message.receipt_handle,) == queue.extend(((message, 60),)).unanswered


def test_the_dead_letter_queue_is_found_by_the_redrive_policy(sqs, make_queue):
    sqs.queues["jobs"].redrive = "dead"
    sqs.send("the body\n")
    queue = make_queue()

    queue.dead_letter(
        receive(queue), {"Why": Attribute("String", "because"), "Raw": Attribute("Binary", b"\0")}
    )

    (dead,) = sqs.queues["dead"].messages
    assert "the body\n" == dead.body
    assert "because" == dead.attributes["Why"]["StringValue"]
    assert "AA==" == dead.attributes["Raw"]["BinaryValue"]


def test_a_queue_without_one_says_so(sqs, make_queue):
    with pytest.raises(NoDeadLetterQueue, match="RedrivePolicy"):
        make_queue().dead_letter_url()


def test_a_fifo_dead_letter_queue_gets_the_group_and_drops_a_second_copy(sqs, make_queue, monkeypatch):
    requests = []
    real = sqs._SendMessage
    monkeypatch.setattr(sqs, "_SendMessage", lambda request: requests.append(request) or real(request))
    sqs.queues["dead.fifo"] = sqs.queues.pop("dead")
    queue = make_queue(dead_letter_url=sqs.url("dead.fifo"))

    queue.dead_letter(Message("the-id", "handle", "body", group_id="feed"), {})

    assert ("feed", "the-id") == (requests[0]["MessageGroupId"], requests[0]["MessageDeduplicationId"])


def test_a_settling_call_is_tried_again_when_throttled(sqs, make_queue):
    sqs.send("body")
    queue = make_queue()
    message = receive(queue)
    sqs.fail("DeleteMessage", "error", code="ThrottlingException", status=400, times=1)

    queue.delete(message)

    assert [] == sqs.bodies()


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.ap-northeast-1.amazonaws.com/123/jobs.fifo", "ap-northeast-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/123/jobs", "cn-north-1"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/123/jobs", "us-gov-west-1"),
        ("https://vpce-1-a.sqs.eu-west-1.vpce.amazonaws.com/123/jobs", "eu-west-1"),
        ("http://127.0.0.1:4566/123/jobs", None),
    ],
)
def test_the_region_is_read_from_the_queue_url(url, region):
    assert region == region_of(url)


@pytest.mark.parametrize(
    ("url", "environ", "endpoint"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/123/jobs", {}, None),
        ("http://127.0.0.1:4566/123/jobs", {}, "http://127.0.0.1:4566"),
        ("http://127.0.0.1:4566/123/jobs", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, None),
        ("http://127.0.0.1:4566/123/jobs", {"AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:1"}, None),
        (
            "https://vpce-1-a.sqs.eu-west-1.vpce.amazonaws.com/123/jobs",
            {},
            "https://vpce-1-a.sqs.eu-west-1.vpce.amazonaws.com",
        ),
    ],
)
def test_an_endpoint_of_its_own_is_taken_from_the_queue_url(url, environ, endpoint):
    assert endpoint == endpoint_of(url, environ)


def test_an_unknown_region_is_one_clear_line(monkeypatch):
    monkeypatch.delenv("AWS_REGION")

    with pytest.raises(Unusable, match="AWS_REGION"):
        Clients("http://127.0.0.1:1/123/jobs", None)


def test_the_fake_keeps_a_fifo_group_in_order(sqs, make_queue):
    sqs.queues["jobs.fifo"] = sqs.queues.pop("jobs")
    first, _, other = (sqs.send(body, "jobs.fifo", group=body[0]) for body in ("a1", "a2", "b1"))
    queue = make_queue("jobs.fifo")

    assert [first, other] == [receive(queue).id, receive(queue).id]
    assert () == queue.receive(1, 0)


def test_the_message_of_the_design_is_json(sqs):
    sqs.send_job("feed", payload={"a": 1})

    assert {"v": 1, "job": "feed", "payload": {"a": 1}} == json.loads(sqs.bodies()[0])
