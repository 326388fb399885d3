"""Crontabs to jobs.d and schedules.toml: each line to a job and a schedule, with what is to be known."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice, pairwise
from pathlib import PurePosixPath

from observerd.core.job import TIMEOUT_LIMIT_S
from observerd.core.lines import one_line
from observerd.core.units import duration_text
from observerd.kinds import JOB_VARIABLES
from observerd.schedules.cron import runs
from observerd.schedules.reading import Entry, Refusal, read_crontab
from observerd.schedules.schedule import Schedule, Schedules, is_address, known_zone, table_text, toml_key
from observerd.schedules.wrapping import (
    Unwrapped,
    argv,
    leaves_a_process,
    locks_of,
    name_of,
    unwrap,
    with_argument,
)

# What Debian's cron gives to a job, and cronie up to 1.6 (Amazon Linux 2023, RHEL 9), where the crontab says
# nothing else; later ones have the two sbin directories after it.
CRON_PATH = "/usr/bin:/bin"
_POSIX_SHELLS = {"sh", "bash", "dash", "ksh", "mksh", "zsh", "ash"}
# A worker may have to be started first; and nothing waits for longer than schedule.yaml's default.
LEAST_LATENESS_S, MOST_LATENESS_S = 900.0, 21_600.0
# Enough to meet the shortest step of a line: two days of it by the minute, ten years by the month.
_SAMPLE, _SAMPLE_FROM = 200, datetime(2027, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Settings:
    system: bool
    user: str | None
    """Whose crontab it is; None for a system crontab."""
    timezone: str
    """cron's, where no CRON_TZ is set."""
    like_cron: bool
    """Whether the nights of clock changes are to be as cron has them."""
    home_of: Callable[[str], str | None]
    """Where a user is at home, which is where cron starts jobs."""
    now: datetime


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one line."""

    entry: Entry
    schedule: Schedule
    job: dict[str, object]
    """Its table for jobs.d."""
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one crontab."""

    source: str
    lines: tuple[Line, ...]
    refusals: tuple[Refusal, ...]

    def job_files(self) -> Iterator[tuple[PurePosixPath, str]]:
        """Each file of jobs.d, by its path, and what it says."""
        for line in self.lines:
            heading = f"# From {self.source}, line {line.entry.number}: {line.entry.schedule}\n"
            table = table_text(f"job.{toml_key(line.schedule.job)}", line.job)
            yield PurePosixPath("jobs.d", f"{line.schedule.job}.toml"), heading + table


def import_crontab(source: str, text: str, settings: Settings, taken: dict[str, str]) -> Imported:
    """Every line as a job and a schedule, or refused with a reason.

    taken are the names in use and the commands that have them; it grows.
    """
    entries, refusals = read_crontab(text, system=settings.system)
    shared = _shared_locks(entries)
    lines = []
    for entry in entries:
        try:
            lines.append(_line(entry, settings, shared, taken))
        except ValueError as fault:
            line = one_line(f"{entry.schedule} {entry.command}")
            refusals.append(Refusal(entry.number, line, one_line(str(fault))))
    return Imported(source, tuple(lines), tuple(sorted(refusals, key=lambda refusal: refusal.number)))


def schedules_of(imported: Iterable[Imported]) -> Schedules:
    """All their schedules, and who is to be told."""
    lines = [line for each in imported for line in each.lines]
    addresses = _addresses(line.entry for line in lines)
    return Schedules(tuple(line.schedule for line in lines), tuple(sorted(addresses)))


def _shared_locks(entries: Iterable[Entry]) -> frozenset[str]:
    locks = Counter(lock for entry in entries for lock in locks_of(entry.command))
    return frozenset(lock for lock, count in locks.items() if count > 1)


def _line(entry: Entry, settings: Settings, shared: frozenset[str], taken: dict[str, str]) -> Line:
    unwrapped = unwrap(entry.command, shared_locks=shared)
    cron_tz = entry.environment.get("CRON_TZ")
    zone = known_zone(cron_tz or settings.timezone)
    user = entry.user or settings.user
    job, of_environment = _job(entry, unwrapped, user, settings)
    name = free_name(unwrapped.command, taken)
    schedule = Schedule(
        name,
        job=name,
        timezone=zone,
        cron=entry.cron,
        clock_changes="eventbridge" if not settings.like_cron else "cron_tz" if cron_tz else "cron",
        max_lateness_s=_lateness_s(entry, unwrapped),
        description=entry.description,
    )
    schedule.parts(settings.now.date())
    taken[name] = unwrapped.command
    notes = [*entry.notes, *unwrapped.notes, *of_environment]
    if cron_tz:
        notes.append(f"it starts by CRON_TZ={cron_tz}, as by cronie; Debian's cron has no such setting")
    if not settings.system and (name_given := _user_column(entry.command, settings.home_of)):
        notes.append(
            f"its command begins with {name_given}, a user here: has the file a user column (--system)?"
        )
    if leaves_a_process(unwrapped.command):
        notes.append("a single & leaves a process behind: it is ended when the command has (wait for it)")
    notes += [
        f"flock is kept: other lines take {lock} too (it holds on one worker alone)"
        for lock in sorted(locks_of(unwrapped.command) & shared)
    ]
    return Line(entry, schedule, job, tuple(notes))


def _user_column(command: str, home_of: Callable[[str], str | None]) -> str | None:
    first, *rest = command.split(maxsplit=1)
    return first if rest and rest[0].startswith("/") and home_of(first) else None


def free_name(command: str, taken: Mapping[str, str]) -> str:
    """The program's name; then with what tells its command from that of the job which has the name."""
    name = name_of(command)
    if name not in taken:
        return name
    own = (word for word in command.split() if word not in taken[name].split())
    longer = (with_argument(name, word) for word in own)
    numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return next(each for each in chain(longer, numbered) if each and each not in taken)


def _lateness_s(entry: Entry, unwrapped: Unwrapped) -> float:
    """As long as the next run is away: cron makes up for none, so one that is due replaces those before.

    The same whenever the crontab is imported, and wherever: no clock is changed in the sample.
    """
    coming = islice(runs(entry.cron, UTC, _SAMPLE_FROM), _SAMPLE)
    steps_s = ((later - earlier).total_seconds() for earlier, later in pairwise(coming))
    wanted_s = unwrapped.waits_s or min(steps_s, default=MOST_LATENESS_S)
    return max(LEAST_LATENESS_S, min(MOST_LATENESS_S, wanted_s))


def _job(
    entry: Entry, unwrapped: Unwrapped, user: str | None, settings: Settings
) -> tuple[dict[str, object], list[str]]:
    """The table for jobs.d, and what is to be known of its environment. Raises ValueError."""
    environment, notes = _environment(entry)
    home = entry.environment.get("HOME") or (settings.home_of(user) if user else None)
    if home is None:
        notes.append(f"cron starts it in the home of {user or 'its user'}, not known here: it starts in /")
    elif not home.startswith("/"):
        raise ValueError(f"HOME={home} is no absolute path, and cron starts nothing there")
    shell = entry.environment.get("SHELL") or "/bin/sh"
    job = {
        "description": entry.description or None,
        **_command(unwrapped.command, entry.stdin, shell),
        "user": user,
        "working_directory": home,
        # cron sets no limit and does not try again.
        "timeout": duration_text(unwrapped.timeout_s or TIMEOUT_LIMIT_S),
        "grace": None if unwrapped.grace_s is None else duration_text(unwrapped.grace_s),
        "attempts": 1,
        "nice": unwrapped.nice,
        "environment": environment,
    }
    return job, notes


def _command(command: str, stdin: str | None, shell: str) -> dict[str, object]:
    posix = PurePosixPath(shell).name in _POSIX_SHELLS
    if posix and stdin is None and (plain := argv(command)) is not None:
        return {"command": plain}
    if stdin is not None and not posix:
        raise ValueError(f"the text after its % needs a here-document, and SHELL={shell} may have none")
    if stdin is not None:
        command = f"exec <<'{_delimiter(stdin)}'\n{stdin}{_delimiter(stdin)}\n{command}"
    return {"shell": command} if shell == "/bin/sh" else {"command": [shell, "-c", command]}


def _delimiter(text: str) -> str:
    lines = text.splitlines()
    return next(each for number in range(len(lines) + 1) if (each := f"END{number or ''}") not in lines)


def _environment(entry: Entry) -> tuple[dict[str, str], list[str]]:
    """The variables that the job gets as cron would set them, and notes."""
    notes = []
    given = {
        name: value for name, value in entry.environment.items() if name not in ("CRON_TZ", "LOGNAME", "USER")
    }
    if recipients := given.pop("MAILTO", None):
        notes.append(_mail_note(recipients))
    notes += [
        f"{name}={given.pop(name)} is dropped: observerd sets it for each run"
        for name in sorted(given.keys() & JOB_VARIABLES)
    ]
    if "TZ" in given and "CRON_TZ" not in entry.environment:
        notes.append(
            f"TZ={given['TZ']} is the job's own; cron never goes by it (CRON_TZ or --timezone says when)"
        )
    if re.search(r"\$", given.get("PATH", "")):
        notes.append("PATH holds a $, which cron does not expand either")
    if given.get("SHELL") == "/bin/sh":
        del given["SHELL"]
    return {"PATH": CRON_PATH, **given}, notes


def _mail_note(recipients: str) -> str:
    unknown = [each for each in _split(recipients) if not is_address(each)]
    known = [each for each in _split(recipients) if is_address(each)]
    told = f"{', '.join(known)} is told of alarms (all of the stack's)" if known else ""
    local = f"{', '.join(unknown)} has no mail there: give an address in notify" if unknown else ""
    return f"MAILTO={recipients}: " + "; ".join(part for part in (told, local) if part)


def _split(recipients: str) -> list[str]:
    return [each for each in re.split(r"[\s,]+", recipients) if each]


def _addresses(entries: Iterable[Entry]) -> set[str]:
    lists = (_split(entry.environment.get("MAILTO", "")) for entry in entries)
    return {each for found in lists for each in found if is_address(each)}
