"""How answers look: tables that fit the terminal, colours where there is one, progress of long work."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self, TextIO

from observerd.core.lines import one_line

# SGR codes (ECMA-48), of the sixteen colours that every terminal's owner has chosen.
_CODES = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "bold": "1", "": ""}
# A column cut shorter than this tells nothing; then the line may rather wrap.
_LEAST_CELL = 6


class Cell(NamedTuple):
    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Screen:
    """Where an answer goes. width None: no terminal, nothing is cut."""

    width: int | None = None
    colour: bool = False

    def paint(self, text: str, style: str) -> str:
        code = _CODES[style]
        return f"\033[{code}m{text}\033[0m" if self.colour and code and text.strip() else text

    def table(self, head: Sequence[str], rows: Sequence[Sequence[Cell | str]]) -> str:
        """Aligned columns under their names; the last is cut to fit."""
        cells = [[_cell(each) for each in row] for row in rows]
        every = [[Cell(name, "dim") for name in head], *cells]
        widths = [max(len(each.text) for each in column) for column in zip(*every, strict=True)]
        if self.width is not None:
            left = self.width - sum(widths[:-1]) - 2 * (len(widths) - 1)
            widths[-1] = max(_LEAST_CELL, min(widths[-1], left))
        return "\n".join(self._row(row, widths) for row in every)

    def _row(self, row: Sequence[Cell], widths: Sequence[int]) -> str:
        pairs = zip(row, widths, strict=True)
        return "  ".join(
            self.paint(cut(each.text, width).ljust(width), each.style) for each, width in pairs
        ).rstrip()


def screen_of(stream: TextIO, environ: Mapping[str, str]) -> Screen:
    """What the stream can show. NO_COLOR (no-color.org) and a dumb terminal take the colours away."""
    if not stream.isatty():
        return Screen()
    colour = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    return Screen(os.get_terminal_size(stream.fileno()).columns or None, colour)


class Progress:
    """Says on a terminal, in one line that is wiped at the end, how far long work has come.

    with Progress("reading events", sys.stderr) as progress: progress.at(1200)
    """

    def __init__(self, what: str, stream: TextIO = sys.stderr) -> None:
        self._what = what
        self._stream = stream if stream.isatty() else None

    def __enter__(self) -> Self:
        self._show(f"{self._what} …")
        return self

    def __exit__(self, *_: object) -> None:
        self._show("")

    def at(self, count: int, of: int | None = None) -> None:
        self._show(f"{self._what} … {count:,}" + (f" of {of:,}" if of else ""))

    def _show(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(f"\r\033[K{text}")
            self._stream.flush()


class Waiting:
    """Says on a terminal, while AWS is asked again, that it did not answer. It is aws.Account's observer."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream if stream.isatty() else None
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


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _cell(given: Cell | str) -> Cell:
    cell = given if isinstance(given, Cell) else Cell(given)
    # What a stranger wrote must not move the cursor.
    return cell._replace(text=one_line(cell.text))
