"""What an argparse parser with commands accepts, as values."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Argument:
    """An option, or what stands without one."""

    flags: tuple[str, ...]
    """None: it stands without one."""
    metavar: str
    """What stands for its value; empty: it takes none."""
    help: str
    choices: tuple[str, ...]
    is_path: bool
    nargs: int | str | None

    @property
    def is_job(self) -> bool:
        """A RUN may be named by its job."""
        return self.metavar in ("JOB", "RUN")


@dataclass(frozen=True)
class Command:
    name: str
    summary: str
    description: str
    options: tuple[Argument, ...]
    positionals: tuple[Argument, ...]


def commands(parser: argparse.ArgumentParser) -> Iterator[Command]:
    """Every command of the parser, in its own order."""
    (below,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    summaries = {choice.dest: choice.help or "" for choice in below._choices_actions}
    for name, command in below.choices.items():
        arguments = tuple(_arguments(command))
        yield Command(
            name,
            summaries[name],
            " ".join((command.description or "").split()),
            tuple(each for each in arguments if each.flags),
            tuple(each for each in arguments if not each.flags),
        )


def _arguments(parser: argparse.ArgumentParser) -> Iterator[Argument]:
    formatter = parser._get_formatter()
    for action in parser._actions:
        if action.help != argparse.SUPPRESS:
            text = formatter._expand_help(action) if action.help else ""
            metavar = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
            yield Argument(
                tuple(action.option_strings),
                metavar,
                " ".join(text.split()),
                tuple(map(str, action.choices or ())),
                action.type is Path or metavar == "FILE",
                action.nargs,
            )
