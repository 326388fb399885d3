"""Lines out of a job's raw output: what CloudWatch Logs takes as one event, and is safe to read.

Bytes are cut at newlines only, or where a line is longer than one event may be, and never inside a UTF-8
sequence. They become text late: a line that is dropped is counted, not decoded.
"""

import re
from collections.abc import Iterator

# PutLogEvents takes 1 MiB an event, 256 KiB before 2025 (API Reference). watchtower 3.4 cuts at 256 KiB less
# 26 bytes of overhead, which it takes off twice; what fits here is never cut there.
LINE_LIMIT_BYTES = 256 * 1024 - 2 * 26

# Kept of the end of the output as evidence: 20 lines, within 4 KiB.
TAIL_LINES = 20
TAIL_BYTES = 4 * 1024

# Of observerd's own metrics in CloudWatch.
NAMESPACE = "Observerd"
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")

_CONTINUATION = range(0x80, 0xC0)
# Control characters are shown by their pictures (ESC is U+241B): raw, they could steer the terminal of
# whoever reads the log. SQS, where the evidence goes, refuses them and the last two altogether.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")
_PICTURES = {code: 0x2400 + code for code in range(0x20)} | {0x7F: 0x2421}
_SAFE = dict.fromkeys([*range(0x80, 0xA0), 0xFFFE, 0xFFFF], 0xFFFD) | _PICTURES
del _SAFE[ord("\n")], _SAFE[ord("\t")]


class Lines:
    """Cuts a stream of chunks into blocks: whole lines joined by newlines, or one piece of a long line."""

    def __init__(self) -> None:
        self._partial = bytearray()

    def take(self, chunk: bytes) -> list[bytes]:
        """The blocks that chunk completes. What it leaves open is at most LINE_LIMIT_BYTES and one."""
        head, newline, rest = chunk.rpartition(b"\n")
        blocks = [bytes(self._partial + head)] if newline else []
        if newline:
            self._partial.clear()
        self._partial += rest
        # A carriage return too many is room for the one of a \r\n that is yet to come.
        while len(self._partial) > LINE_LIMIT_BYTES + 1:
            end = _character_start(self._partial, LINE_LIMIT_BYTES)
            blocks.append(bytes(self._partial[:end]))
            del self._partial[:end]
        return blocks

    def end(self) -> list[bytes]:
        """The last line, if it has no newline."""
        blocks = [bytes(self._partial)] if self._partial else []
        self._partial.clear()
        return blocks


class Tail:
    """Remembers the end of the output, whatever becomes of the rest."""

    def __init__(self) -> None:
        self._kept = b""

    def take(self, chunk: bytes) -> None:
        # Twice the evidence, so that the torn character at its beginning is cut off with the older half.
        self._kept = (self._kept + chunk[-2 * TAIL_BYTES :])[-2 * TAIL_BYTES :]

    def text(self) -> str:
        """The last lines, at most TAIL_LINES of them and TAIL_BYTES in UTF-8."""
        lines = text_lines(self._kept.rstrip(b"\r\n"))[-TAIL_LINES:] if self._kept else []
        return "\n".join(lines).encode()[-TAIL_BYTES:].decode("utf-8", "ignore")


def lines_in(block: bytes) -> int:
    """How many lines of output a block holds."""
    return block.count(b"\n") + 1


def text_lines(block: bytes) -> list[str]:
    """A block's lines as events: never empty, never longer than LINE_LIMIT_BYTES in UTF-8."""
    text = block.decode("utf-8", "replace").replace("\r\n", "\n").removesuffix("\r")
    if _UNSAFE.search(text):
        text = text.translate(_SAFE)
    return [event for line in text.split("\n") for event in _events(line)]


def _events(line: str) -> Iterator[str]:
    # No character takes more than 4 bytes.
    if 4 * len(line) <= LINE_LIMIT_BYTES:
        yield line or " "  # PutLogEvents refuses an empty message.
        return
    left = line.encode()
    while len(left) > LINE_LIMIT_BYTES:
        end = _character_start(left, LINE_LIMIT_BYTES)
        yield left[:end].decode()
        left = left[end:]
    yield left.decode()


def _character_start(text: bytes | bytearray, at: int) -> int:
    """The last position up to at where a character begins; at itself where there is no UTF-8."""
    for start in range(at, at - 4, -1):
        if text[start] not in _CONTINUATION:
            return start
    return at


def output_lines(block: bytes) -> list[str]:
    """A block of a job's output as events, none of which CloudWatch takes for a metric of observerd's.

    It reads its embedded metric format out of any line of any stream: a job could report the success of
    another one, and keep the alarm on its missed runs silent.
    """
    return [event.replace("{", "(") if _is_forged(event) else event for event in text_lines(block)]


def _is_forged(event: str) -> bool:
    # Whatever a parser may make of it, duplicate keys or escapes: both words must be there.
    if "\\u" in event:
        event = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), event)
    return "_aws" in event and NAMESPACE in event


def one_line(text: str) -> str:
    """Text with whatever would break a line, or act on a terminal, escaped."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
