"""How answers look: tables that fit the terminal, colours where there is one, progress of long work."""

import json
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import NamedTuple, Self, TextIO

from observerd.core.lines import one_line

# SGR codes (ECMA-48), of the sixteen colours that every terminal's owner has chosen.
_CODES = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "bold": "1", "": ""}
# A name cut shorter than this tells nothing; then the line may rather wrap.
_LEAST_CELL = 8
# Of a note that does not fit beside its row; what is longer is told whole elsewhere.
_NOTE_LINES = 2


class Cell(NamedTuple):
    text: str
    style: str = ""
    short: str | None = None
    """What stands for it where there is little room."""


@dataclass(frozen=True, slots=True)
class Screen:
    """Where an answer goes. width None: no terminal, nothing is cut."""

    width: int | None = None
    colour: bool = False

    def paint(self, text: str, style: str) -> str:
        code = _CODES[style]
        return f"\033[{code}m{text}\033[0m" if self.colour and code and text.strip() else text

    def table(
        self, head: Sequence[str], rows: Sequence[Sequence[Cell | str]], shrinks: str | None = None
    ) -> str:
        """Aligned columns under their names; the last is a note.

        Where they do not fit, short forms stand for whole ones, the column called shrinks is cut, and a note
        goes under its row.
        """
        cells = [[Cell(name, "dim") for name in head], *([_cell(each) for each in row] for row in rows)]
        widths = _widths(cells)
        if self._left(widths) < widths[-1]:
            cells = [[each._replace(text=each.short or each.text) for each in row] for row in cells]
            widths = _widths(cells)
        lacking = len(head[-1]) - self._left(widths)
        if shrinks is not None and lacking > 0:
            place = head.index(shrinks)
            widths[place] = max(_LEAST_CELL, widths[place] - lacking)
        return "\n".join(line for row in cells for line in self._lines(row, widths))

    def _left(self, widths: Sequence[int]) -> int:
        """How wide a note beside its row may be."""
        taken = sum(widths[:-1]) + 2 * (len(widths) - 1)
        return sys.maxsize if self.width is None else self.width - taken

    def _lines(self, row: Sequence[Cell], widths: Sequence[int]) -> Iterator[str]:
        *cells, note = row
        pairs = zip(cells, widths[:-1], strict=True)
        line = "  ".join(
            self.paint(cut_within(each.text, width).ljust(width), each.style) for each, width in pairs
        )
        if len(note.text) <= self._left(widths):
            yield f"{line}  {self.paint(note.text, note.style)}".rstrip()
        else:
            yield line.rstrip()
            yield from self.wrapped(note.text, " " * (widths[0] + 2), _NOTE_LINES)

    def wrapped(self, text: str, indent: str = "", most: int | None = None) -> list[str]:
        """Lines of whole words, so many at most, each after the indent."""
        if self.width is None:
            return [f"{indent}{text}"]
        room = max(_LEAST_CELL, self.width - len(indent))
        lines = textwrap.wrap(text, room, max_lines=most, placeholder=" …", break_on_hyphens=False)
        return [f"{indent}{line}" for line in lines]


def screen_of(stream: TextIO, environ: Mapping[str, str]) -> Screen:
    """What the stream can show. NO_COLOR (no-color.org) and a dumb terminal take the colours away."""
    if not stream.isatty():
        return Screen()
    colour = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    return Screen(os.get_terminal_size(stream.fileno()).columns or None, colour)


def _terminal(stream: TextIO) -> TextIO | None:
    return stream if stream.isatty() else None


class Progress:
    """Says on a terminal, in one line that is wiped at the end, how far long work has come.

    with Progress("reading events", sys.stderr) as progress: progress.at(1200)
    """

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self._what = what
        self._stream = _terminal(stream or sys.stderr)
        # Many pages of a long search are empty: that it goes on must show all the same.
        self._dots = cycle((".  ", ".. ", "..."))

    def __enter__(self) -> Self:
        self._show(f"{self._what} {next(self._dots)}")
        return self

    def __exit__(self, *_: object) -> None:
        self._show("")

    def at(self, count: int, of: int | None = None) -> None:
        self._show(f"{self._what} {next(self._dots)} {count:,}" + (f" of {of:,}" if of else ""))

    def _show(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(f"\r\033[K{text}")
            self._stream.flush()


class Waiting:
    """Says on a terminal, while AWS is asked again, that it did not answer. It is aws.Account's observer."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = _terminal(stream or sys.stderr)
        self._fault = ""

    def sent(self, _service: str, _operation: str) -> None:
        if self._fault:
            self._show(f"{self._fault}, asking again …")

    def answered(self, service: str, operation: str, outcome: str, took_s: float) -> None:
        if self._fault:
            self._show("")
        again = outcome in ("unreachable", "throttled", "server_error")
        told = f"{service} {operation}: {outcome.replace('_', ' ')} after {took_s:.0f} s"
        self._fault = told if again else ""

    def _show(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(f"\r\033[K{text}")
            self._stream.flush()


def cut_within(text: str, width: int) -> str:
    """Cut in the middle: names often differ at their ends."""
    kept = width - 1
    return text if len(text) <= width else f"{text[: kept - kept // 2]}…{text[-(kept // 2) :]}"


def _widths(cells: Sequence[Sequence[Cell]]) -> list[int]:
    return [max(len(each.text) for each in column) for column in zip(*cells, strict=True)]


def as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _cell(given: Cell | str) -> Cell:
    cell = given if isinstance(given, Cell) else Cell(given)
    # What a stranger wrote must not move the cursor.
    return cell._replace(text=one_line(cell.text))
