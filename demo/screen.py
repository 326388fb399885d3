"""How the demo looks: plain text, 96 columns, and colours for a terminal whose owner has not refused them."""

import os
from collections.abc import Iterable
from typing import TextIO

from demo.evidence import Check
from demo.story import Line

WIDTH = 96
BAR = 24

BOLD, DIM, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN = ("1", "2", "31", "32", "33", "34", "35", "36")
COLOURS = {
    "schedule": YELLOW, "producer": YELLOW, "group": MAGENTA, "machine": MAGENTA,
    "worker": CYAN, "job": GREEN, "logs": DIM,
}  # fmt: skip


class Screen:
    """Writes to out, at once: what is shown is what has happened."""

    def __init__(self, out: TextIO, *, colours: bool) -> None:
        self._out = out
        self._colours = colours
        self._began: float | None = None

    def heading(self, text: str) -> None:
        self.text(f"\n{self._painted(text, BOLD)}")

    def text(self, text: str = "") -> None:
        print(text, file=self._out, flush=True)

    def table(self, rows: Iterable[tuple[str, str]], width: int = 18) -> None:
        for name, text in rows:
            self.text(f"  {self._painted(f'{name:<{width}}', BOLD)}  {text}")

    def quote(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.text(self._painted(f"    {clipped(line, WIDTH - 4)}".rstrip(), DIM))

    def event(self, line: Line) -> None:
        """Times are seconds since the first line."""
        self._began = line.at if self._began is None else self._began
        since = f"{line.at - self._began:8.2f} s"
        # A person may miss the end of a good line. Not of what went wrong.
        text = line.text if line.bad else clipped(line.text, WIDTH - 23)
        colour = RED if line.bad else COLOURS.get(line.who, "")
        self.text(f"{self._painted(since, DIM)}  {self._painted(f'{line.who:<9}', colour)}  {text}")

    def hop(self, what: str, took_s: float | None, longest_s: float) -> None:
        took = "      -" if took_s is None else f"{took_s:7.2f}"
        bar = "=" * round(BAR * (took_s or 0) / longest_s) if longest_s else ""
        self.text(f"  {what:<50} {took} s  {self._painted(bar, CYAN)}")

    def check(self, check: Check) -> None:
        if check.holds:
            self.text(f"  {self._painted('ok', GREEN)}  {check.claim}")
        else:
            self.text(f"  {self._painted('FAILED', RED)}  {check.claim}")
            self.text(f"          expected {check.expected!r}")
            self.text(f"          but saw  {check.seen!r}")

    def commands(self, commands: Iterable[tuple[str, str]]) -> None:
        """Whole lines, to be copied, each under a remark."""
        for command, remark in commands:
            self.text(f"  {self._painted(f'# {remark}', DIM)}\n  {command}")

    def verdict(self, text: str, *, good: bool) -> None:
        self.text(f"\n{self._painted(text, GREEN if good else RED)}")

    def _painted(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours and colour and text else text


def wants_colours(out: TextIO) -> bool:
    """As no-color.org has it."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def clipped(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
