"""What a person does by hand: run a job now, or put one run on the queue."""

import json
import os
import signal
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from observerd import signals
from observerd.bell import Bell
from observerd.core.events import Cause, Message
from observerd.core.job import Job
from observerd.core.request import BadMessage, Request, deduplication_id, instant_text, read_request
from observerd.core.run import Ended, Refusal, plan, reason_of

if TYPE_CHECKING:
    from observerd.config import Loaded


class BadRequest(Exception):
    """What was asked for makes no run. The text is one line."""


class Sent(NamedTuple):
    """What was put on the queue."""

    job: str
    run_id: str
    message_id: str


def execute(loaded: "Loaded", job: str, scheduled_time: str | None, payload: str | None) -> int:
    """Run the job here and now as the daemon would, its output to standard output; the exit status.

    Blocks until it has ended; TERM and INT end it as a stop of the daemon would. Raises BadRequest and
    choice.Unsuitable.
    """
    from observerd.executors import choice  # noqa: PLC0415 send starts nothing

    loaded = loaded.run_by(choice.choose(loaded.config.executor, os.environ))
    now = time.time()
    body = message_body(job, scheduled_time, payload)
    planned = plan(Message(str(uuid.uuid4()), "", body, sent_at=now, received_at=now), loaded.jobs)
    if isinstance(planned, Refusal):
        raise BadRequest(planned.reason)
    bell = Bell()
    signals.listen((signal.SIGTERM, signal.SIGINT), lambda _: bell.ring(Cause.STOP, None))
    executor = choice.make(loaded.config, loaded.config.job_environment)
    try:
        ended = executor.run(planned, _write, bell)
    finally:
        executor.close()
    return _status(ended, planned.job)


def send(client: Any, url: str, job: str, scheduled_time: str | None, payload: str | None) -> Sent:
    """Put one run on the queue. client is boto3's for SQS. Raises BadRequest, aws.Unanswered."""
    from observerd.aws import ask  # noqa: PLC0415 exec asks nobody
    from observerd.sqs import is_fifo  # noqa: PLC0415

    body = message_body(job, scheduled_time or instant_text(time.time()), payload)
    request = _readable(body)
    # As the producer does, so that a run sent by hand and by schedule is one.
    key = deduplication_id(job, instant_text(request.scheduled_at))
    fifo = {"MessageGroupId": job, "MessageDeduplicationId": key} if is_fifo(url) else {}
    answer = ask(client.send_message, QueueUrl=url, MessageBody=body, **fifo)
    return Sent(job, request.run_id, answer["MessageId"])


def message_body(job: str, scheduled_time: str | None, payload: str | None) -> str:
    """A version 1 message. Raises BadRequest when payload is not JSON."""
    body: dict[str, Any] = {"v": 1, "job": job}
    if scheduled_time is not None:
        body["scheduled_time"] = scheduled_time
    if payload is not None:
        try:
            body["payload"] = json.loads(payload)
        except ValueError as error:
            raise BadRequest(f"--payload is not JSON: {error}") from None
    return json.dumps(body, ensure_ascii=False)


def _readable(body: str) -> Request:
    now = time.time()
    try:
        return read_request(Message("by-hand", "", body, sent_at=now, received_at=now))
    except BadMessage as fault:
        raise BadRequest(str(fault)) from None


def _write(chunk: bytes) -> None:
    sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _status(ended: Ended, job: Job) -> int:
    """As a shell has it: the job's own code, 128 and the signal, 127 where nothing could be started."""
    if ended.fault is None and ended.cause is None and not ended.timed_out and ended.exit_code is not None:
        return ended.exit_code
    print(f"observerd: {reason_of(ended, job)}", file=sys.stderr)
    if ended.fault is not None:
        return 127
    # Told to end it may say 0, and has not done its work: then as if TERM had killed it.
    return ended.exit_code or 128 + (ended.signal or signal.SIGTERM)
