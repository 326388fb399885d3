"""Writes the man pages and the shells' completions into a directory, from what the code itself says.

Run with observerd and its dependencies on the path: python pages.py DIRECTORY
"""

import argparse
import dataclasses
import gzip
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from completions import bash, fish, zsh
from parsers import Argument, Command, commands

from observerd import __version__, cli
from observerd.core.job import Job
from observerd.keys import JOB_KEYS, Config, config_keys, key_of

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "docs/examples"


def main() -> None:
    into = Path(sys.argv[1])
    into.mkdir(parents=True, exist_ok=True)
    parser = cli._parser()
    for template in sorted(HERE.glob("man/*.in")):
        page = filled(template.read_text(), parser)
        # No time and no name in it: the same page makes the same bytes.
        (into / f"{template.stem}.gz").write_bytes(gzip.compress(page.encode(), mtime=0))
    for shell in (bash, zsh, fish):
        (into / f"observerd.{shell.__name__}").write_text(shell(commands(parser)))


def filled(page: str, parser: argparse.ArgumentParser) -> str:
    """The page with each @WORD@ replaced. Exits if there is one that nobody knows."""
    words: dict[str, Callable[[], str]] = {
        "VERSION": lambda: __version__,
        "COMMANDS": lambda: "\n".join(map(_command, commands(parser))),
        "EXIT": lambda: _verbatim(cli.EPILOG.partition("\n\n")[0].partition("\n")[2]),
        "KEYS": lambda: "\n".join(_config_keys()),
        "JOB_KEYS": lambda: "\n".join(_job_keys()),
        "EXAMPLE": lambda: roff((EXAMPLES / "observerd.toml").read_text().strip()),
        "JOB_EXAMPLE": lambda: roff((EXAMPLES / "jobs.d/nightly-feed.toml").read_text().strip()),
    }
    return re.sub(r"@([A-Z_]+)@", lambda found: words[found[1]](), page)


def roff(text: str) -> str:
    """Text that troff prints as it is, but for its line breaks; what stands in `backquotes` in bold."""
    return re.sub(r"`([^`\n]+)`", r"\\fB\1\\fR", _escaped(text))


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def _verbatim(text: str) -> str:
    """With its columns: backquotes stay where they are."""
    return f".nf\n{_escaped(textwrap.dedent(text)).replace('`', chr(92) + '(ga')}\n.fi"


def _command(command: Command) -> str:
    """Its section. What every command has, --help, is told once, before them all."""
    title = " ".join((command.name, *map(_usage, command.positionals)))
    told = [
        each for each in (*command.positionals, *command.options) if each.help and "--help" not in each.flags
    ]
    return "\n".join([f".SS {roff(title)}", roff(command.description), *map(_argument, told)])


def _usage(positional: Argument) -> str:
    word = _value(positional)
    return {"?": f"[{word}]", "*": f"[{word} ...]", "+": f"{word} ..."}.get(str(positional.nargs), word)


def _argument(argument: Argument) -> str:
    flags = ", ".join(f"\\fB{roff(flag)}\\fR" for flag in argument.flags)
    value = f"\\fI{roff(_value(argument))}\\fR" if argument.metavar else ""
    return f".TP\n{' '.join(filter(None, (flags, value)))}\n{roff(argument.help)}"


def _value(argument: Argument) -> str:
    return "|".join(argument.choices) or argument.metavar


def _config_keys() -> Iterator[str]:
    defaults = Config()
    for key, each in config_keys().items():
        kind = each.metadata["kind"]
        yield _key(key, kind.form, kind.write, getattr(defaults, each.name), each.metadata["help"])


def _job_keys() -> Iterator[str]:
    job = Job("name", ())
    defaults = {key_of(field.name): getattr(job, field.name) for field in dataclasses.fields(Job)}
    for key, each in JOB_KEYS.items():
        only = "" if each.enforced else " Not enforced by the executor `direct`."
        yield _key(key, each.kind.form, each.kind.write, defaults.get(key), each.help + only)


def _key(key: str, form: str, write: Callable[[object], object], default: object, text: str) -> str:
    shown = "" if default in (None, "", ()) or _is_empty(default) else f" Default: {_toml(write(default))}."
    return f".TP\n\\fB{roff(key)}\\fR = \\fI{roff(form)}\\fR\n{roff(text)}{roff(shown)}"


def _is_empty(value: object) -> bool:
    return isinstance(value, Iterable) and not list(value)


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


if __name__ == "__main__":
    main()
