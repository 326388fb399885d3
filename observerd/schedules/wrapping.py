"""What stands around a command in a crontab, and says what observerd has settings for."""

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from observerd.core.job import TIMEOUT_LIMIT_S

# Whatever of these is in a line needs a shell.
_SHELL = re.compile(r"[|&;<>()$`\\\"'*?\[\]#~=!{}\n]")
# The built-in commands that a line may consist of, and that are no programs.
_BUILTINS = {
    "cd", "exec", "eval", "export", "set", "source", ".", ":", "test", "[", "umask", "ulimit", "if", "for",
}  # fmt: skip
# The digit of a descriptor is a word's end unless a blank is before it.
_TO_NULL, _TO_STDOUT = r"(?:\s+[12&]?|(?<=[^\s\d&>]))>>?\s*/dev/null(?=\s|$)", r"\s+2>\s*&1"
_SILENCED = re.compile(rf"(?:{_TO_STDOUT})?(?:{_TO_NULL})(?:{_TO_NULL}|{_TO_STDOUT})*\s*$")
_LOCK = r"""("[^"]*"|'[^']*'|[^\s"'-]\S*)"""
_NO_WAITING = "overlap and max_lateness: a run that waits for the one before is soon too late"
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_INTERPRETERS = re.compile(r"(python|perl|php|ruby|node|bash|sh|dash|zsh|ksh)[0-9.]*")
_GUARD = re.compile(
    r"^\s*(\[\s.*?\]|(?:test|cd|command\s+-v|\.|source|export|sleep|umask)\s[^&|;]*)\s*(&&|\|\||;)\s*(.*)$",
    re.DOTALL,
)
_AS_ANOTHER = re.compile(r"\bsudo\s+(?:-[ugh]\s+\S+\s+|-\S+\s+)*")
# As schedules.toml has them; a number may follow.
_LONGEST_NAME = 64
# Names of programs that many projects have; the directory or the argument tells more.
_SAYS_NOTHING = {
    "run", "main", "start", "cron", "job", "script", "index", "manage", "artisan", "console", "backup",
}  # fmt: skip
_BEFORE_A_PROGRAM = {
    "sudo", "env", "nice", "ionice", "flock", "timeout", "chronic", "nohup", "setsid", "exec", "time",
    "run-one", "command", "if", "then", "do", "!", "[", "test", "(",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """A command less what has become a setting of the job or of its schedule."""

    command: str
    nice: int | None = None
    timeout_s: float | None = None
    grace_s: float | None = None
    waits_s: float | None = None
    """How long a run may wait for the one before. None: not said."""
    notes: tuple[str, ...] = ()


def unwrap(command: str, *, shared_locks: frozenset[str] = frozenset()) -> Unwrapped:
    """The command without the wrappers that can be settings. A lock that other lines take too is kept."""
    found = _without_silencing(Unwrapped(command.strip()))
    while (less := _without_first_wrapper(found, shared_locks)) is not None:
        found = less
    return found


def locks_of(command: str) -> frozenset[str]:
    """The lock files that flock(1) takes, wherever in the command."""
    found = re.findall(rf"(?:^|[\s/;|&(])flock\s+(?:-\S+\s+(?:[0-9.]+\s+)?)*{_LOCK}", command)
    return frozenset(found)


def argv(command: str) -> list[str] | None:
    """The command as a list of arguments, where no shell is needed to make it one."""
    if _SHELL.search(command) or "%" in command:
        return None
    words = command.split()
    return None if words[0] in _BUILTINS or ("/" in words[0] and not words[0].startswith("/")) else words


def leaves_a_process(command: str) -> bool:
    """Whether something is started in the background, and nobody waits for it."""
    plain = _outside_quotes(command)
    return re.search(r"(?<![&>])&(?![&>])", plain) is not None and re.search(r"\bwait\b", plain) is None


def name_of(command: str) -> str:
    """A name for the job, from the program that it runs: "run-parts /etc/cron.daily" is "cron.daily"."""
    while guard := _GUARD.match(command):
        command = guard[3]
    command = _AS_ANOTHER.sub("", command)
    if found := re.search(r"run-parts\s+(?:-\S+\s+)*(\S+)", command):
        return _clean(PurePosixPath(found[1].strip("\"'")).name)
    return _clean(_program(re.split(r"[;|&<>)`\n]", command.lstrip("({ \t"), maxsplit=1)[0]))


def with_argument(name: str, argument: str) -> str | None:
    """The name and a word of an argument, "sync-eu" of sync and --site=eu; None where it has no fit one."""
    word = PurePosixPath(argument.rpartition("=")[2].strip("\"'")).name
    fits = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", word) and len(name) + len(word) < _LONGEST_NAME
    return f"{name}-{word}" if fits else None


def _program(command: str) -> str:
    """The program's name; with its directory's or its first argument, if it says nothing."""
    words = [word.strip("\"'$({") for word in command.split()]
    words = [word for word in words if word and not re.match(r"[A-Za-z_]\w*=", word)]
    while words and _comes_before(words[0]):
        words = words[1:]
    if not words:
        return "job"
    if _INTERPRETERS.fullmatch(PurePosixPath(words[0]).name):
        scripts = [word for word in words[1:] if not word.startswith("-")]
        words = scripts or words
    path = PurePosixPath(words[0])
    if path.stem not in _SAYS_NOTHING:
        return path.name
    if len(words) > 1 and re.fullmatch(r"[A-Za-z][\w:.-]*", words[1]):
        return f"{path.stem}-{words[1]}"
    return f"{path.parent.name}-{path.stem}" if path.parent.name else path.name


def _comes_before(word: str) -> bool:
    """Whether it is a wrapper, or an option or amount of one."""
    return (
        PurePosixPath(word).name in _BEFORE_A_PROGRAM or re.fullmatch(r"-.*|[0-9.]+[smhd]?", word) is not None
    )


def _clean(name: str) -> str:
    name = re.sub(r"\.(sh|py|pl|php|rb|js|bash)$", "", name)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[: _LONGEST_NAME - 10] or "job"


def _without_silencing(found: Unwrapped) -> Unwrapped:
    """Without a redirection to /dev/null at the very end, which was there to have no mail."""
    match = _SILENCED.search(found.command)
    if match is None or not found.command[: match.start()].strip():
        return found
    note = f"{match[0].strip()} is dropped: its output goes to its log stream, and nobody is mailed"
    return replace(found, command=found.command[: match.start()], notes=(*found.notes, note))


def _without_first_wrapper(found: Unwrapped, shared_locks: frozenset[str]) -> Unwrapped | None:
    """None where the command does not begin with a wrapper that can be a setting as a whole."""
    if re.search(r"[;|&\n`(){}]", _outside_quotes(found.command)):
        # The wrapper is around the first of several commands alone.
        return None
    word, *rest = found.command.split(maxsplit=1)
    if not rest:
        return None
    match PurePosixPath(word).name:
        case "flock":
            return _flock(found, rest[0], shared_locks)
        case "run-one":
            return _plain(found, rest[0], f"run-one is {_NO_WAITING}")
        case "timeout":
            return _timeout(found, rest[0])
        case "nice":
            return _nice(found, rest[0])
        case "chronic":
            note = "chronic is dropped: output is kept either way, and a failure is told by its alarm"
            return _plain(found, rest[0], note)
    return None


def _plain(found: Unwrapped, rest: str, note: str) -> Unwrapped | None:
    """Without a wrapper that has no options; with one, it is kept."""
    return None if rest.startswith("-") else replace(found, command=rest, notes=(*found.notes, note))


def _outside_quotes(command: str) -> str:
    """Less its quoted parts and its redirections, which are the whole command's where there is but one."""
    return re.sub(r"'[^']*'|\"(?:\\.|[^\"\\])*\"|[0-9]*>>?\s*&?\s*[^\s;|&]+", "", command)


def _flock(found: Unwrapped, rest: str, shared_locks: frozenset[str]) -> Unwrapped | None:
    match = re.match(
        r"((?:(?:-[nxeo]+|--nonblock|--nb|--exclusive)\s+|(?:-w|--wait|--timeout)[\s=]+[0-9.]+\s+)*)"
        rf"{_LOCK}\s+(.+)$",
        rest,
    )
    if match is None or match[2].strip("\"'").isdecimal():
        return None
    # A lock that other lines take too is not about this job alone.
    command = None if match[2] in shared_locks else _shell_string(match[3])
    if command is None:
        return None
    wait = re.search(r"(?:-w|--wait|--timeout)[\s=]+([0-9.]+)", match[1])
    if wait:
        waits_s: float | None = float(wait[1])
        note = f"flock -w {wait[1]} is overlap and max_lateness"
    elif re.search(r"-\w*n|--nb", match[1]):
        waits_s, note = None, f"flock -n is {_NO_WAITING}"
    else:
        waits_s, note = None, "flock is overlap: a run waits for the one before"
    return replace(found, command=command, waits_s=waits_s, notes=(*found.notes, note))


def _shell_string(rest: str) -> str | None:
    """What follows flock's lock file: a program and its arguments, or -c and a line for the shell."""
    if not re.match(r"(-c|--command)\s", rest):
        return None if rest.startswith("-") else rest
    try:
        words = shlex.split(rest)
    except ValueError:
        return None
    return words[1] if len(words) == 2 else None  # noqa: PLR2004 -c and its line


def _timeout(found: Unwrapped, rest: str) -> Unwrapped | None:
    match = re.match(
        r"((?:(?:-k|--kill-after)[\s=]*[0-9.]+[smhd]?\s+|--preserve-status\s+|--foreground\s+)*)([0-9.]+)([smhd]?)\s+(.+)$",
        rest,
    )
    if match is None:
        # Another signal than TERM, or options that say how the processes hang together.
        return None
    limit_s = float(match[2]) * _SECONDS[match[3]]
    kill = re.search(r"([0-9.]+)([smhd]?)\s", match[1])
    grace_s = float(kill[1]) * _SECONDS[kill[2]] if kill else None
    if not 0.1 <= limit_s <= TIMEOUT_LIMIT_S or (grace_s or 0) > 600:  # noqa: PLR2004 jobs.d's own limit
        return None
    note = f"timeout {match[2]}{match[3]} is the job's own timeout"
    return replace(found, command=match[4], timeout_s=limit_s, grace_s=grace_s, notes=(*found.notes, note))


def _nice(found: Unwrapped, rest: str) -> Unwrapped | None:
    match = re.match(r"(?:-n\s*(-?[0-9]+)|--adjustment=(-?[0-9]+)|-(-?[0-9]+))?\s*([^-\s].*)$", rest)
    if match is None:
        return None
    amount = int(next((each for each in match.groups()[:3] if each), 10))
    note = f"nice {amount} is the job's own nice"
    return replace(found, command=match[4], nice=max(-20, min(19, amount)), notes=(*found.notes, note))
