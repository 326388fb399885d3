"""The emulated SQS of the bench: what its clients are measured on must do what SQS does."""

import contextlib
import http.client
import json
import socket
import time

import pytest

from bench.sqs import Sqs


@pytest.fixture
def sqs():
    with Sqs() as it:
        yield it


def call(sqs, operation, **request):
    connection = http.client.HTTPConnection("127.0.0.1", port_of(sqs), timeout=20)
    with contextlib.closing(connection):
        headers = {"X-Amz-Target": f"AmazonSQS.{operation}"}
        connection.request("POST", "/", json.dumps({"QueueUrl": sqs.queue_url, **request}), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def port_of(sqs):
    return int(sqs.endpoint.rpartition(":")[2])


def received(sqs, **request):
    return call(sqs, "ReceiveMessage", **request)[1].get("Messages", [])


def test_a_received_message_is_hidden_until_its_time_is_over(sqs):
    sqs.offer([("a", {})])
    assert [each["Body"] for each in received(sqs, VisibilityTimeout=4)] == ["a"]
    assert received(sqs) == []
    again = received(sqs, WaitTimeSeconds=15)
    assert [each["Attributes"]["ApproximateReceiveCount"] for each in again] == ["2"]


def test_at_most_so_many_are_received(sqs):
    sqs.offer([(str(number), {}) for number in range(12)])
    assert len(received(sqs, MaxNumberOfMessages=10)) == 10
    assert len(received(sqs)) == 1


def test_a_deleted_message_is_gone(sqs):
    sqs.offer([("a", {})])
    (message,) = received(sqs)
    assert not sqs.is_drained()
    assert call(sqs, "DeleteMessage", ReceiptHandle=message["ReceiptHandle"]) == (200, {})
    assert sqs.is_drained()
    assert sqs.is_empty()


def test_a_stale_handle_deletes_nothing(sqs):
    sqs.offer([("a", {})])
    (first,) = received(sqs, VisibilityTimeout=1)
    (second,) = received(sqs, WaitTimeSeconds=10)
    assert call(sqs, "DeleteMessage", ReceiptHandle=first["ReceiptHandle"]) == (200, {})
    assert not sqs.is_drained()
    call(sqs, "DeleteMessage", ReceiptHandle=second["ReceiptHandle"])
    assert sqs.is_drained()


def test_deletes_in_a_batch_of_ten_at_most(sqs):
    sqs.offer([(str(number), {}) for number in range(11)])
    messages = [*received(sqs, MaxNumberOfMessages=10), *received(sqs)]
    entries = [{"Id": each["MessageId"], "ReceiptHandle": each["ReceiptHandle"]} for each in messages]
    status, fault = call(sqs, "DeleteMessageBatch", Entries=entries)
    assert status == 400
    assert fault["__type"].endswith("TooManyEntriesInBatchRequest")
    _, answer = call(sqs, "DeleteMessageBatch", Entries=entries[:10])
    assert [each["Id"] for each in answer["Successful"]] == [entry["Id"] for entry in entries[:10]]
    assert sqs.deleted == 10


def test_a_lease_is_extended_and_given_back(sqs):
    sqs.offer([("a", {})])
    (message,) = received(sqs, VisibilityTimeout=4)
    handle = message["ReceiptHandle"]
    call(sqs, "ChangeMessageVisibility", ReceiptHandle=handle, VisibilityTimeout=60)
    assert received(sqs, WaitTimeSeconds=5) == []
    call(sqs, "ChangeMessageVisibility", ReceiptHandle=handle, VisibilityTimeout=0)
    assert len(received(sqs)) == 1


def test_a_long_poll_ends_with_a_message(sqs):
    began_at = time.monotonic()
    with waiting_client(sqs) as client:
        sqs.offer([("a", {})])
        assert b'"Body": "a"' in client.recv(65_536)
    assert time.monotonic() - began_at < 15


def test_a_client_that_has_gone_takes_no_message_with_it(sqs):
    with waiting_client(sqs):
        pass
    deadline = time.monotonic() + 10
    while sqs.waiting():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    sqs.offer([("a", {})])
    assert len(received(sqs, WaitTimeSeconds=5)) == 1


@contextlib.contextmanager
def waiting_client(sqs):
    with socket.create_connection(("127.0.0.1", port_of(sqs)), timeout=20) as client:
        body = b'{"QueueUrl": "jobs", "WaitTimeSeconds": 20}'
        head = b"POST / HTTP/1.1\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\nContent-Length: %d\r\n\r\n"
        client.sendall(head % len(body) + body)
        deadline = time.monotonic() + 10
        while not sqs.waiting():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield client


def test_counts_its_calls_and_knows_the_first_receive(sqs):
    assert sqs.receive_at is None
    call(sqs, "GetQueueAttributes")
    received(sqs)
    received(sqs)
    assert sqs.calls == {"GetQueueAttributes": 1, "ReceiveMessage": 2}
    assert 0 <= time.monotonic() - sqs.receive_at < 60


def test_says_what_it_does_not_know(sqs):
    status, fault = call(sqs, "PurgeQueue")
    assert status == 400
    assert "PurgeQueue" in fault["message"]
    assert sqs.calls["PurgeQueue!"] == 1


def test_every_call_takes_longer_by_the_delay():
    with Sqs(delay_s=0.2) as sqs:
        began_at = time.monotonic()
        received(sqs)
        assert time.monotonic() - began_at >= 0.2
