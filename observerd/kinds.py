"""Kinds of values: how each is described, read from TOML, one clear line where it is faulty, and written."""

import contextlib
import re
import reprlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from observerd.core.units import duration_s, duration_text, size_bytes, size_text

# What a job's own environment bears: observerd may be called from inside a job.
JOB_VARIABLES = frozenset(
    f"OBSERVERD_{name}"
    for name in (
        "JOB",
        "RUN_ID",
        "SCHEDULED_TIME",
        "SCHEDULE",
        "ATTEMPT",
        "MESSAGE_ID",
        "DEADLINE",
        "LOG_STREAM",
        "PAYLOAD",
        "WARDEN",
    )
)


# What is called so is a secret: not to be shown, and not for everybody to read.
SECRET_NAME = re.compile("PASS|PWD|SECRET|TOKEN|KEY|CREDENTIAL|AUTH", re.IGNORECASE)


class Kind(NamedTuple):
    """A kind of value: how it is described, read from TOML, and written again."""

    form: str
    read: Callable[[object], Any]
    """Raises ValueError, each line of it "what: value (what next)"."""
    write: Callable[[Any], Any] = lambda value: value
    numeric: bool = False
    """Whether the digits of an environment variable or a flag mean a number."""


class _Short(reprlib.Repr):
    """Values as faults show them: cut short, and true and false as TOML writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60

    def repr_bool(self, value: bool, _: int) -> str:  # noqa: FBT001 reprlib calls it so
        return str(value).lower()


_SHORT = _Short()


def shown(value: object) -> str:
    """A faulty value, as a fault shows it."""
    return _SHORT.repr(value)


def _fault(what: str, value: object, next_: str) -> ValueError:
    return ValueError(f"{what}: {shown(value)}" + (f" ({next_})" if next_ else ""))


def duration(least_s: float, most_s: float, why: str = "") -> Kind:
    bounds = f"{duration_text(least_s)} to {duration_text(most_s)}"

    def read(value: object) -> float:
        seconds = _seconds(value)
        if not least_s <= seconds <= most_s:
            raise _fault(f"must be {bounds}", value, why)
        return float(seconds)

    return Kind(f"duration, {bounds}", read, duration_text, numeric=True)


def _seconds(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    try:
        return duration_s(value)  # type: ignore[arg-type]  # It refuses every other type.
    except ValueError:
        raise _fault("not a duration", value, 'write "90s", "15m", "2h" or "1h30m"') from None


def whole(least: int, most: int, why: str = "") -> Kind:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _fault("must be a whole number", value, f"write {least} to {most}")
        if not least <= value <= most:
            raise _fault(f"must be {least} to {most}", value, why)
        return value

    return Kind(f"whole number, {least} to {most}", read, numeric=True)


def choice(*names: str) -> Kind:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in names:
            raise _fault("not known", value, f"write {', '.join(names[:-1])} or {names[-1]}")
        return value

    return Kind(", ".join(f'"{name}"' for name in names), read)


def text(form: str, pattern: str, example: str) -> Kind:
    def read(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value) or not value.isprintable():
            raise _fault(f"not a {form}", value, f"write it like {example!r}")
        return value

    return Kind(form, read)


def optional(kind: Kind) -> Kind:
    """Empty means not set: TOML has no null for a later layer to take a value back with."""
    return kind._replace(
        form=f"{kind.form}, or empty", read=lambda value: None if value == "" else kind.read(value)
    )


def _url(example: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        from urllib.parse import urlsplit  # noqa: PLC0415 pathlib and boto3 load it anyway, and not every command does

        url = value if isinstance(value, str) and value.isprintable() and " " not in value else ""
        parts = urlsplit("")
        with contextlib.suppress(ValueError):
            parts = urlsplit(url)
        if "@" in parts.netloc:
            # Nothing here would send them along, and every line with the address would tell them.
            raise ValueError(f"holds a user or a password, which is not supported (write {example})")
        with contextlib.suppress(ValueError):
            # Asking for the port checks it.
            if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
                return url
        raise _fault("not a URL", value, f"write {example}")

    return read


def _listen(value: object) -> str:
    address = value if isinstance(value, str) else " "
    found = re.fullmatch(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})", address)
    if address and (found is None or int(found[1]) >= 1 << 16):
        raise _fault("not an address to listen on", value, "write '127.0.0.1:9748'")
    return address


def _command(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _fault("must be a list of strings", value, 'write ["/path", "argument"]')
    if not value or not value[0]:
        raise _fault("names no program", value, "write its path first")
    if any("\0" in each for each in value):
        raise _fault("holds a NUL character", value, "no argument can")
    if "/" in value[0] and not value[0].startswith("/"):
        raise _fault("relative path", value[0], "write the whole path, or a bare name to look up in PATH")
    return tuple(value)


def _shell(value: object) -> tuple[str, ...]:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise _fault("must be a shell command", value, "write one string")
    return ("/bin/sh", "-c", value)


def _environment(value: object) -> Mapping[str, str]:
    # What stands there may be a secret, and faults go to the journal: no fault shows a value.
    if not isinstance(value, dict):
        raise ValueError('must be a table of strings (write { NAME = "value" })')  # noqa: TRY004 faults are values
    faults = [fault for name, content in value.items() if (fault := _variable_fault(name, content))]
    if faults:
        raise ValueError("\n".join(map(str, faults)))
    return MappingProxyType(dict(value))


def _variable_fault(name: str, content: object) -> ValueError | None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return _fault("not a variable's name", name, "letters, digits and _")
    if name in JOB_VARIABLES:
        return _fault("cannot be set", name, "observerd sets it for each run")
    if not isinstance(content, str) or "\0" in content:
        return ValueError(f"{name} must be a string without a NUL character (write it in quotes)")
    return None


def _directory(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise _fault("not an absolute path", value, "write it from / on")
    return value


def _file(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/") or not value.isprintable():
        raise _fault("not a file's path", value, "write it from / on")
    return value


def _exit_codes(value: object) -> frozenset[int]:
    # type() and not isinstance(): true is no exit code.
    if not isinstance(value, list) or not all(type(each) is int and 0 <= each <= 255 for each in value):  # noqa: PLR2004 wait(2) keeps 8 bits
        raise _fault("must be a list of exit codes", value, "write numbers from 0 to 255")
    return frozenset(value)


def _some_exit_codes(value: object) -> frozenset[int]:
    if value == []:
        raise _fault("lists none", value, "the job could never succeed")
    return _exit_codes(value)


def _size(value: object) -> int:
    try:
        return size_bytes(value)  # type: ignore[arg-type]  # It refuses every other type.
    except ValueError:
        raise _fault("not a size", value, 'write "512M" or "2G"') from None


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise _fault("must be true or false", value, "without quotes")
    return value


SWITCH = Kind("true, false", _switch)
QUEUE_URL = Kind("URL", _url("https://sqs.REGION.amazonaws.com/ACCOUNT/NAME"))
PUSH_URL = Kind("URL", _url("http://pushgateway.example.com:9091"))
PING_URL = Kind("URL", _url("https://hc-ping.com/UUID"))
LISTEN = Kind("HOST:PORT, or empty", _listen)
FILE = Kind("path of a file", _file)
DIRECTORY = Kind("absolute path", _directory)
COMMAND = Kind("list of strings", _command, list)
SHELL = Kind("string", _shell)
USER = text("user name", r"[^\s:/]+", "batch")
ENVIRONMENT = Kind("table of strings", _environment, dict)
EXIT_CODES = Kind("list of 0 to 255", _exit_codes, sorted)
SOME_EXIT_CODES = Kind("list of 0 to 255", _some_exit_codes, sorted)
SIZE = Kind("size", _size, size_text)
