"""Carries out Poll and Release, the calls that decide which messages are ours, and Count."""

import logging

from observerd.core.events import Counted, Event, Poll, Received, ReceiveFailed, Release, Released
from observerd.sqs import HandleRefused, Queue, SqsFault

log = logging.getLogger(__name__)


def receive_or_release(queue: Queue, order: Poll | Release) -> Event:
    """One long poll, or one release a message. Blocks for as long as SQS takes."""
    if isinstance(order, Release):
        return _release(queue, order)
    try:
        return Received(queue.receive(order.at_most, order.wait_s))
    except SqsFault as fault:
        return ReceiveFailed(fault.fault, str(fault))


def counted(queue: Queue) -> Counted:
    """An answer to Count. Blocks for its client's timeouts at most."""
    try:
        return Counted(queue.waiting())
    except (HandleRefused, SqsFault) as fault:
        log.warning("messages not counted", extra={"fault": str(fault)})
        return Counted(None)


def _release(queue: Queue, order: Release) -> Released:
    for message in order.messages:
        try:
            queue.release(message, 0)
        except (HandleRefused, SqsFault) as fault:
            # It comes back by itself when its visibility timeout is over.
            log.warning("message not released", extra={"message_id": message.id, "fault": str(fault)})
    return Released()
