"""What goes with a message to the dead-letter queue, so that a person can judge it there.

The body stays as it is, byte for byte, and so do the sender's attributes: what is moved back to the queue
later must be the same message.
"""

import re
from collections.abc import Mapping

from observerd.core.events import Attribute, Message, Outcome, Report

# SQS API Reference: ten attributes a message, and 1 MiB for the body, names, types and values together.
ATTRIBUTES_AT_MOST = 10
MESSAGE_BYTES = 1_048_576
PREFIX = "Observerd"
# Borne by a message that a person sent anew: it is late because they took their time, and meant to run.
RETRIED = PREFIX + "Retried"
STRING, NUMBER = "String", "Number"

# All but the characters that SQS takes in a message (SQS API Reference, SendMessage). To compile a set of
# these few takes 0.3 ms of every start; one of all the others took 4.5.
_REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def evidence(outcome: Outcome, message: Message, report: Report) -> dict[str, Attribute]:
    """The facts of a message's end, the most telling first."""
    texts = {
        "Outcome": outcome.value,
        "Reason": report.reason,
        "LogStream": report.log_stream,
        "RunId": report.run_id,
        "Job": report.job,
        "LastLines": report.last_lines,
    }
    numbers = {"Attempt": message.receive_count, "ExitCode": report.exit_code}
    facts = {name: Attribute(STRING, clean(text)) for name, text in texts.items() if text}
    facts |= {name: Attribute(NUMBER, str(count)) for name, count in numbers.items() if count is not None}
    order = ("Outcome", "Reason", "ExitCode", "Attempt", "LogStream", "RunId", "Job", "LastLines")
    return {PREFIX + name: facts[name] for name in order if name in facts}


def fitted(message: Message, facts: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """The message's own attributes, but for evidence of an earlier end, and as many facts as SQS takes."""
    own = {name: each for name, each in message.attributes.items() if not name.startswith(PREFIX)}
    left_bytes = MESSAGE_BYTES - len(message.body.encode()) - sum(_bytes(*each) for each in own.items())
    for name, fact in facts.items():
        if len(own) < ATTRIBUTES_AT_MOST and _bytes(name, fact) <= left_bytes:
            own[name] = fact
            left_bytes -= _bytes(name, fact)
    return own


def clean(text: str) -> str:
    """The text with every character that SQS would refuse the whole message for replaced."""
    return _REFUSED.sub("\ufffd", text)


def _bytes(name: str, attribute: Attribute) -> int:
    value = attribute.value if isinstance(attribute.value, bytes) else attribute.value.encode()
    return len(name.encode()) + len(attribute.data_type.encode()) + len(value)
