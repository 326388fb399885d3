"""The queue. SQS's errors become words of ours here, and appear nowhere else."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from observerd import clock
from observerd.aws import text_of
from observerd.core.events import Attribute, Extended, Message, ReceiveFault
from observerd.gathering import Gathering

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# The most that a batch call takes (SQS API Reference, DeleteMessageBatch).
BATCH = 10

_HANDLE_REFUSED = ("ReceiptHandleIsInvalid", "InvalidReceiptHandle", "MessageNotInflight")
# An expired handle is named in the text of this one only.
_PARAMETER = "InvalidParameterValue"
_FAULTS = {
    ReceiveFault.QUEUE_MISSING: ("NonExistentQueue", "QueueDoesNotExist", "InvalidAddress"),
    ReceiveFault.DENIED: ("AccessDenied", "AccessDeniedException", "InvalidClientTokenId"),
    ReceiveFault.THROTTLED: ("Throttling", "ThrottlingException", "RequestThrottled", "OverLimit"),
}


class SqsFault(Exception):
    """SQS did not do what it was asked. fault says what kind of trouble it is, the text which."""

    def __init__(self, fault: ReceiveFault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault


class HandleRefused(Exception):
    """The receipt handle is no longer ours: the lease is over, or somebody else has the message."""


class NoDeadLetterQueue(Exception):
    """The queue has none. The text is one line for people."""


class Queue:
    """One SQS queue, standard or FIFO. Each call blocks for its client's timeouts at most."""

    def __init__(
        self,
        url: str,
        visibility_timeout_s: float,
        poller: "SQSClient",
        dead_letter_url: str | None = None,
    ) -> None:
        self.url = url
        self.visibility_timeout_s = int(visibility_timeout_s)
        self._poller = poller
        self._dead_letter_url = dead_letter_url

    def equip(self, settler: "SQSClient", extender: "SQSClient", slots: int) -> None:
        """Hand over what nothing needs before the first receive has answered: clients, and how many threads
        may delete at once."""
        self._settler = settler
        self._extender = extender
        self._deletes = Gathering(self._delete_all, min(BATCH, slots))

    def receive(self, at_most: int, wait_s: int) -> tuple[Message, ...]:
        """The next messages, waiting up to wait_s seconds for the first. Raises SqsFault."""
        answer = _call(
            self._poller.receive_message,
            QueueUrl=self.url,
            MaxNumberOfMessages=at_most,
            WaitTimeSeconds=wait_s,
            VisibilityTimeout=self.visibility_timeout_s,
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp", "MessageGroupId"],
            MessageAttributeNames=["All"],
        )
        received_at = _clock_of(answer)
        try:
            return tuple(read_message(each, received_at) for each in answer.get("Messages", ()))
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            # None of them is ours then: they come back, to be read by whoever can.
            raise SqsFault(ReceiveFault.UNREACHABLE, f"a message that is none: {text_of(error)}") from error

    def extend(self, leases: tuple[tuple[Message, int], ...]) -> Extended:
        """Keep up to ten messages invisible for so many seconds from now each. SQS's errors are answers."""
        asked_at = clock.now()
        handles = tuple(message.receipt_handle for message, _ in leases)
        try:
            answer = _call(
                self._extender.change_message_visibility_batch,
                QueueUrl=self.url,
                Entries=[
                    {"Id": str(place), "ReceiptHandle": message.receipt_handle, "VisibilityTimeout": seconds}
                    for place, (message, seconds) in enumerate(leases)
                ],
            )
        except (HandleRefused, SqsFault):
            return Extended(asked_at, unanswered=handles)
        kept = tuple(handles[int(each["Id"])] for each in answer.get("Successful", ()))
        refused = tuple(handles[int(each["Id"])] for each in answer.get("Failed", ()) if _is_refusal(each))
        return Extended(asked_at, kept, refused, tuple(set(handles) - set(kept) - set(refused)))

    def delete(self, message: Message) -> None:
        """Delete the message, in one call with what other threads delete just then.

        Raises HandleRefused, SqsFault.
        """
        self._deletes.do(message)

    def release(self, message: Message, delay_s: int) -> None:
        """Show the message to others after delay_s seconds. Raises HandleRefused, SqsFault."""
        _call(
            self._settler.change_message_visibility,
            QueueUrl=self.url,
            ReceiptHandle=message.receipt_handle,
            VisibilityTimeout=delay_s,
        )

    def waiting(self) -> int | None:
        """About how many messages are visible, a minute late at the worst; None: SQS does not say.

        Raises SqsFault.
        """
        name = "ApproximateNumberOfMessages"
        answer = _call(self._settler.get_queue_attributes, QueueUrl=self.url, AttributeNames=[name])
        told = str(answer.get("Attributes", {}).get(name))
        return int(told) if told.isdecimal() else None

    def dead_letter(self, message: Message, attributes: Mapping[str, Attribute]) -> None:
        """Send a copy of the message to the dead-letter queue. Raises NoDeadLetterQueue, SqsFault."""
        url = self.dead_letter_url()
        # The same message's second copy within five minutes is dropped by a FIFO queue.
        fifo = {"MessageGroupId": message.group_id or message.id, "MessageDeduplicationId": message.id}
        _call(
            self._settler.send_message,
            QueueUrl=url,
            MessageBody=message.body,
            MessageAttributes={name: sent_attribute(each) for name, each in attributes.items()},
            **(fifo if is_fifo(url) else {}),
        )

    def dead_letter_url(self) -> str:
        """The configured one, or the one that the queue's redrive policy names; asked once.

        Raises NoDeadLetterQueue, SqsFault.
        """
        if self._dead_letter_url is None:
            self._dead_letter_url = self._redrive_url()
        return self._dead_letter_url

    def _delete_all(self, messages: Sequence[Message]) -> list[Exception | None]:
        """What is to be raised of each."""
        if len(messages) == 1:
            return [self._delete_one(messages[0])]
        entries = [
            {"Id": str(place), "ReceiptHandle": each.receipt_handle} for place, each in enumerate(messages)
        ]
        try:
            answer = _call(self._settler.delete_message_batch, QueueUrl=self.url, Entries=entries)
        except (HandleRefused, SqsFault) as fault:
            # Said of the call, not of one handle: whoever it belongs to tries again, and then perhaps alone.
            kind = fault.fault if isinstance(fault, SqsFault) else ReceiveFault.UNREACHABLE
            return [SqsFault(kind, str(fault)) for _ in messages]
        told: dict[str, Exception | None] = {each["Id"]: None for each in answer.get("Successful", ())}
        told |= {each["Id"]: _fault(each) for each in answer.get("Failed", ())}
        return [told.get(entry["Id"], _unsaid()) for entry in entries]

    def _delete_one(self, message: Message) -> Exception | None:
        try:
            _call(self._settler.delete_message, QueueUrl=self.url, ReceiptHandle=message.receipt_handle)
        except (HandleRefused, SqsFault) as fault:
            return fault
        return None

    def _redrive_url(self) -> str:
        answer = _call(
            self._settler.get_queue_attributes, QueueUrl=self.url, AttributeNames=["RedrivePolicy"]
        )
        policy = answer.get("Attributes", {}).get("RedrivePolicy")
        if not policy:
            raise NoDeadLetterQueue(
                f"{self.url} has no dead-letter queue: give it a RedrivePolicy or set dead_letter_queue_url"
            )
        # A dead-letter queue is of its queue's account and region, so it differs in the name alone.
        name = json.loads(policy)["deadLetterTargetArn"].rsplit(":", 1)[1]
        return f"{self.url.rsplit('/', 1)[0]}/{name}"


def is_fifo(url: str) -> bool:
    return url.endswith(".fifo")


def _call(method: Callable[..., Any], **request: Any) -> Any:
    """The answer to one call. Raises HandleRefused, SqsFault."""
    try:
        answer = method(**request)
    except ClientError as error:
        raise _fault(error.response.get("Error", {}), f" ({request['QueueUrl']})") from error
    except Exception as error:
        raise SqsFault(ReceiveFault.UNREACHABLE, text_of(error)) from error
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if "html" in headers.get("content-type", ""):
        # botocore takes any 200 for an answer; a proxy's page would pass for an empty queue or a delete.
        raise SqsFault(
            ReceiveFault.UNREACHABLE, "the answer is a web page: something stands between us and SQS"
        )
    return answer


def read_message(given: Any, received_at: float) -> Message:
    """A message as ReceiveMessage gives it, received at that Unix time."""
    system = given.get("Attributes", {})
    sent_at = int(system.get("SentTimestamp", "0")) / 1000 or received_at
    return Message(
        id=given["MessageId"],
        receipt_handle=given["ReceiptHandle"],
        body=given.get("Body", ""),
        attributes=MappingProxyType(
            {name: _as_read(each) for name, each in given.get("MessageAttributes", {}).items()}
        ),
        group_id=system.get("MessageGroupId"),
        receive_count=int(system.get("ApproximateReceiveCount", "1")),
        sent_at=sent_at,
        # Its date has no fractions of a second; nothing is received before it is sent.
        received_at=max(received_at, sent_at),
    )


def _as_read(attribute: Any) -> Attribute:
    value = attribute["BinaryValue"] if "BinaryValue" in attribute else attribute.get("StringValue", "")
    return Attribute(attribute["DataType"], value)


def sent_attribute(attribute: Attribute) -> Any:
    """An attribute as SendMessage takes it."""
    key = "BinaryValue" if isinstance(attribute.value, bytes) else "StringValue"
    return {"DataType": attribute.data_type, key: attribute.value}


def _clock_of(answer: Any) -> float:
    """SQS's own time, to the second, so that a local clock that was stepped makes no run late."""
    told = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        return parsedate_to_datetime(told).timestamp()
    except (TypeError, ValueError, OverflowError):
        return time.time()


def _is_refusal(entry: Any) -> bool:
    return _refuses(entry.get("Code", ""), entry.get("Message", ""))


def _refuses(code: str, text: str) -> bool:
    return code.endswith(_HANDLE_REFUSED) or (code.endswith(_PARAMETER) and "receipt" in text.lower())


def _unsaid() -> SqsFault:
    return SqsFault(ReceiveFault.UNREACHABLE, "the answer does not say what became of it")


def _fault(told: Any, where: str = "") -> HandleRefused | SqsFault:
    """Of an error, or of a batch's failed entry: both have a Code and a Message. where is the queue, which
    SQS does not name."""
    code, text = str(told.get("Code", "")), " ".join(str(told.get("Message", "")).split())
    if _refuses(code, text):
        return HandleRefused(f"{code}: {text}")
    # Codes come with and without a prefix such as "AWS.SimpleQueueService.".
    kinds = (kind for kind, codes in _FAULTS.items() if code.endswith(codes))
    return SqsFault(next(kinds, ReceiveFault.UNREACHABLE), f"{code}: {text}{where}")
