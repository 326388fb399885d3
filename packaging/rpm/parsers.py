"""What an argparse parser accepts, as values."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Option:
    flags: tuple[str, ...]
    metavar: str
    """What stands for its value; empty: it takes none."""
    help: str
    choices: tuple[str, ...]
    is_path: bool


@dataclass(frozen=True)
class Positional:
    metavar: str
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    name: str
    """Its words, as in "dlq list"."""
    summary: str
    description: str
    options: tuple[Option, ...]
    positionals: tuple[Positional, ...]
    below: tuple[str, ...]
    """The last words of the commands below it."""


def commands(parser: argparse.ArgumentParser, name: str = "", summary: str = "") -> Iterator[Command]:
    """Every command that the parser knows but the nameless first, in its own order."""
    formatter = parser._get_formatter()
    options, positionals = [], []
    subcommands: list[tuple[str, str, argparse.ArgumentParser]] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}
            subcommands = [(word, texts.get(word, ""), below) for word, below in action.choices.items()]
        elif action.help == argparse.SUPPRESS:
            continue
        elif action.option_strings:
            options.append(_option(action, formatter))
        else:
            positionals.append(Positional(_metavar(action), _choices(action)))
    if name:
        below = tuple(word for word, _, _ in subcommands)
        description = " ".join((parser.description or summary).split())
        yield Command(name, summary, description, tuple(options), tuple(positionals), below)
    for word, text, subparser in subcommands:
        yield from commands(subparser, f"{name} {word}".strip(), text)


def _option(action: argparse.Action, formatter: argparse.HelpFormatter) -> Option:
    text = formatter._expand_help(action) if action.help else ""
    metavar = "" if action.nargs == 0 else _metavar(action)
    return Option(
        tuple(action.option_strings), metavar, " ".join(text.split()), _choices(action), action.type is Path
    )


def _metavar(action: argparse.Action) -> str:
    return str(action.metavar) if action.metavar else action.dest.upper()


def _choices(action: argparse.Action) -> tuple[str, ...]:
    return tuple(map(str, action.choices or ()))
