"""Reads crontab files: which lines there are, with what environment, and which cron would not run."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from observerd.schedules.cron import BadCron, Cron, read_cron

_VARIABLE = re.compile(r"""\s*(?P<quote>["']?)(?P<name>[A-Za-z_]\w*)(?P=quote)\s*=\s*(?P<value>.*?)\s*""")
# A sixth field that is one, as in Quartz's seconds or a year: no command begins like that.
_SIXTH_FIELD = re.compile(r"(\*|\?|[0-9*]+([-,/][0-9]+)*)(/[0-9]+)?")
_DESCRIPTION_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """One line that cron runs."""

    number: int
    schedule: str
    """As written: five fields or a nickname."""
    cron: Cron
    command: str
    """For the shell, with its escaped percent signs made plain."""
    stdin: str | None
    """What follows the first unescaped percent sign, each further one a newline."""
    user: str | None
    """From the user column of a system crontab."""
    environment: dict[str, str]
    """As set by the lines above it."""
    description: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    number: int
    line: str
    reason: str


@dataclass(slots=True)
class _State:
    environment: dict[str, str] = field(default_factory=dict)
    comments: list[str] = field(default_factory=list)


def read_crontab(text: str, *, system: bool) -> tuple[list[Entry], list[Refusal]]:
    """Every line that sets a time, or why it cannot be carried over. system: with a user column."""
    entries: list[Entry] = []
    refusals: list[Refusal] = []
    state = _State()
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line:
            state.comments.clear()
        elif line.startswith("#"):
            state.comments.append(line.lstrip("# \t"))
        elif found := _VARIABLE.fullmatch(line):
            state.environment[found["name"]] = _unquoted(found["value"])
            state.comments.clear()
        else:
            try:
                entries.append(_entry(number, line, state, system=system))
            except BadCron as fault:
                refusals.append(Refusal(number, line, str(fault)))
            state.comments.clear()
    return entries, refusals


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def _entry(number: int, line: str, state: _State, *, system: bool) -> Entry:
    bare, notes = _without_marks(line)
    schedule, rest = _split_schedule(bare)
    cron = read_cron(schedule)
    user, rest, marks = _user(rest, system=system) if rest else (None, "", [])
    notes += marks
    if not rest:
        raise BadCron("has no command" + (" after its user" if system else ""))
    command, stdin = _split_stdin(rest)
    if not command.strip():
        raise BadCron("has no command before its %")
    if "RANDOM_DELAY" in state.environment:
        notes.append("RANDOM_DELAY is not carried over: it starts on time")
    environment = {name: value for name, value in state.environment.items() if name != "RANDOM_DELAY"}
    described = _description(state.comments)
    return Entry(number, schedule, cron, command, stdin, user, environment, described, tuple(notes))


def _without_marks(line: str) -> tuple[str, list[str]]:
    """Without the - before the minute, by which cronie and SUSE's cron do not log a run."""
    if line.startswith("-"):
        return line[1:].lstrip(), ["the - before the minute (do not log) is dropped: every run is logged"]
    return line, []


def _split_schedule(line: str) -> tuple[str, str]:
    if line.startswith("@"):
        nickname, *rest = line.split(None, 1)
        return nickname, "".join(rest)
    words = line.split(None, 5)
    if len(words) < 6:  # noqa: PLR2004 five fields and a command
        raise BadCron("is neither VARIABLE=value nor five fields and a command")
    sixth = words[5].split()[0]
    if _SIXTH_FIELD.fullmatch(sixth):
        raise BadCron(
            f"has a sixth field, {sixth!r}: cron knows neither seconds nor years"
            " (AWS's smallest step is a minute)"
        )
    return " ".join(words[:5]), words[5]


def _user(rest: str, *, system: bool) -> tuple[str | None, str, list[str]]:
    """The user column, the command, and what is to be said of cronie's option before it."""
    user = None
    if system:
        user, *left = rest.split(None, 1)
        rest = "".join(left)
        if not re.fullmatch(r"[A-Za-z_][\w.-]*\$?", user):
            raise BadCron(f"{user!r} is not a user's name (is this a user's crontab? then without --system)")
    if found := re.match(r"-n\s+", rest):
        return user, rest[found.end() :], ["-n (mail on failure alone) is dropped: there is no mail"]
    return user, rest, []


def _split_stdin(text: str) -> tuple[str, str | None]:
    """The command and its standard input. A percent sign is escaped by a backslash, and nothing else is."""
    pieces = [piece.replace("\\%", "%") for piece in re.split(r"(?<!\\)%", text)]
    if len(pieces) == 1:
        return pieces[0], None
    text = "\n".join(pieces[1:])
    return pieces[0], text if text.endswith("\n") or not text else f"{text}\n"


def _description(comments: Iterable[str]) -> str:
    """The comment right above the line, but for lines that were commented out."""
    words = " ".join(text for text in comments if not _is_line(text)).split()
    text = "".join(each for each in " ".join(words) if each.isprintable())
    return text if len(text) <= _DESCRIPTION_LIMIT else text[: _DESCRIPTION_LIMIT - 1] + "…"


def _is_line(text: str) -> bool:
    try:
        read_cron(_split_schedule(text)[0])
    except BadCron:
        return False
    return True
