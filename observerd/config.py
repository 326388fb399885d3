"""Reads the configuration: files, environment and flags in, one frozen Config and the jobs out.

Later layers win: the file, conf.d beside it, OBSERVERD_* in the environment, flags. Each layer is checked as
a whole even where a later one overrules it, and every fault is told at once, so that nobody mends a machine
image one start at a time. Reading is on the way to the first receive of a machine that has just booted:
what only a fault needs is imported when there is one.
"""

import contextlib
import dataclasses
import errno
import functools
import os
import re
import shlex
import stat
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

import attrs
from cattrs import BaseConverter, ClassValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, override

from observerd.core.job import JOB_NAME, Job
from observerd.keys import JOB_KEYS, Config, config_keys, key_of
from observerd.kinds import JOB_VARIABLES, SECRET_NAME, Kind, shown

DEFAULT_FILE = Path("/etc/observerd/observerd.toml")
# A configuration is read whole into memory. Nobody writes a megabyte of it by hand.
FILE_LIMIT_BYTES = 1 << 20
PREFIX = "OBSERVERD_"
# Kubernetes sets these for a service that happens to be called observerd.
_SERVICE_LINK = re.compile(PREFIX + r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)")
# Where what is no key here does stand.
_ELSEWHERE = {"job": "jobs are defined in jobs.d/*.toml", "name": "the name stands in [job.NAME]"}

T = TypeVar("T")


class BadConfig(Exception):
    """faults are all there are, sorted, each one line: "FILE: KEY: what: value (what next)".

    config is what could be read all the same, with defaults for the rest: enough to end a machine that cannot
    serve, and for nothing else.
    """

    def __init__(self, faults: tuple[str, ...], config: Config | None = None) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults
        self.config = config or Config()


@attrs.frozen(eq=False)
class Loaded:
    config: Config
    jobs: Mapping[str, Job]
    origins: Mapping[str, str]
    """Where each key's value is from: a file as seen from the configuration's directory, OBSERVERD_X, --flag
    or "default". Also the file of each job, by "job.NAME"."""
    warnings: tuple[str, ...]
    files: tuple[Path, ...]
    """All that were read."""

    def run_by(self, executor: str) -> "Loaded":
        """The same, with "auto" settled."""
        return attrs.evolve(self, config=attrs.evolve(self.config, executor=executor))


def load(
    path: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, str | None],
    *,
    need_queue: bool,
    jobs_only: bool = False,
) -> Loaded:
    """Read everything that configures observerd. Raises BadConfig with every fault there is.

    path None is the default file, which need not exist; conf.d and jobs.d lie beside it. flags are the texts
    given by key, None where none was. jobs_only reads jobs.d alone.
    """
    file = path or DEFAULT_FILE
    reading = _Reading(file.parent, os.geteuid())
    layers = () if jobs_only else _layers(reading, file, environ, flags, must_exist=path is not None)
    config, origins = _merged(reading, layers)
    if need_queue and "queue_url" not in origins:
        reading.fault(file, "queue_url", f"not set (set it there or in {_variable('queue_url')})")
    _check_tls(reading, file, config)
    jobs = dict(_jobs(reading))
    if not jobs:
        reading.warnings.append(f"no job is defined in {reading.base / 'jobs.d'}")
    if reading.faults:
        raise BadConfig(tuple(sorted(reading.faults)), config)
    origins |= {f"job.{name}": origin for name, (_, origin) in jobs.items()}
    return Loaded(
        config,
        MappingProxyType({name: job for name, (job, _) in jobs.items()}),
        MappingProxyType(dict.fromkeys(config_keys(), "default") | origins),
        tuple(reading.warnings),
        tuple(reading.files),
    )


# ---- layers


class _Layer(NamedTuple):
    where: str
    """What a fault names: the file, "environment" or "command line"."""
    table: Mapping[str, object]
    spell: Callable[[str], str] = str
    """A key as it is written in this layer."""
    origin: str | None = None
    """None: the key as it is written here tells enough."""


def _layers(
    reading: "_Reading",
    file: Path,
    environ: Mapping[str, str],
    flags: Mapping[str, str | None],
    *,
    must_exist: bool,
) -> Iterator[_Layer]:
    """Earliest first: each later one wins."""
    files = [file] if must_exist or os.path.lexists(file) else []
    for each in (*files, *reading.toml_files("conf.d")):
        yield _Layer(str(each), reading.table(each), origin=reading.name(each))
    yield _environment_layer(reading, environ)
    given = {key: _typed(key, text) for key, text in flags.items() if text is not None}
    yield _Layer("command line", given, _flag)


def _environment_layer(reading: "_Reading", environ: Mapping[str, str]) -> _Layer:
    keys = {_variable(key): key for key in config_keys()}
    table = {}
    for name, text in environ.items():
        if name in keys:
            table[keys[name]] = _typed(keys[name], text)
        elif name.startswith(PREFIX) and name not in JOB_VARIABLES and not _SERVICE_LINK.fullmatch(name):
            reading.unknown("environment", name, name.removeprefix(PREFIX).lower(), keys.values(), _variable)
    return _Layer("environment", table, _variable)


def _typed(key: str, text: str) -> object:
    """The TOML value that text means for key: digits are a number only where one is wanted."""
    kind = config_keys()[key].metadata["kind"]
    return int(text) if kind.numeric and re.fullmatch(r"[+-]?[0-9]{1,9}", text) else text


def _variable(key: str) -> str:
    return PREFIX + key.upper()


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _merged(reading: "_Reading", layers: Iterable[_Layer]) -> tuple[Config, dict[str, str]]:
    """The configuration, and where each key that was given comes from."""
    merged: dict[str, object] = {}
    origins: dict[str, str] = {}
    for layer in layers:
        reading.structure(_config_shape(), layer.table, layer.where, layer.spell)
        merged.update(layer.table)
        origins.update({key: layer.origin or layer.spell(key) for key in layer.table})
    return (_salvaged(merged) if reading.faults else _config_shape().read(merged)), origins


def _salvaged(merged: Mapping[str, object]) -> Config:
    """The keys that can be read each by itself."""
    good = {}
    for key, value in merged.items():
        with contextlib.suppress(ClassValidationError):
            _config_shape().read({key: value})
            good[key] = value
    return _config_shape().read(good)


def _check_tls(reading: "_Reading", file: Path, config: Config) -> None:
    names = ("metrics_tls_certificate", "metrics_tls_key", "metrics_tls_client_ca")
    certificate, key, client_ca = (getattr(config, name) for name in names)
    for name, value, needed_by in ((names[0], certificate, key or client_ca), (names[1], key, certificate)):
        if needed_by and not value:
            reading.fault(file, name, f"not set (HTTPS needs {names[0]} and {names[1]})")


# ---- jobs


def _jobs(reading: "_Reading") -> Iterator[tuple[str, tuple[Job, str]]]:
    """Each job's name, the job, and the file it is from."""
    defined_in: dict[str, Path] = {}
    for file in reading.toml_files("jobs.d"):
        for name, table in _job_tables(reading, file).items():
            if name in defined_in:
                reading.fault(file, f"job.{name}", f"already defined in {defined_in[name]} (keep one)")
            defined_in.setdefault(name, file)
            job = _job(reading, file, name, table)
            if job is not None:
                yield name, (job, reading.name(file))


def _job_tables(reading: "_Reading", file: Path) -> dict[str, object]:
    table = reading.table(file)
    for key in table.keys() - {"job"}:
        reading.unknown(str(file), key, key, ["job"])
    tables = table.get("job", {})
    if isinstance(tables, dict):
        return tables
    reading.fault(file, "job", f"must be a table: {shown(tables)} (write [job.NAME])")
    return {}


def _job(reading: "_Reading", file: Path, name: str, table: object) -> Job | None:
    """The job, or None where its faults have been told."""
    label = f"job.{name}"
    if not JOB_NAME.fullmatch(name):
        reading.fault(file, label, "not a job name (letters, digits, '.', '_' and '-', at most 80)")
    if not isinstance(table, dict):
        reading.fault(file, label, f"must be a table: {shown(table)} (write [job.NAME])")
        return None
    given = dict(table)
    if "name" in given:
        reading.unknown(str(file), f"{label}.name", "name", JOB_KEYS)
    if "command" in given and "shell" in given:
        reading.fault(file, label, "has both command and shell (keep one)")
    # What is read is faulty in any case where both are there.
    command = "shell" if "shell" in given and "command" not in given else "command"
    given = {key: value for key, value in given.items() if key != "shell" or command == "shell"}
    return reading.structure(
        _job_shape(command), given | {"name": name}, str(file), lambda key: f"{label}.{key}", JOB_KEYS
    )


# ---- from tables to classes


class _Shape(Generic[T]):
    """A class, and the key and kind that each of its attributes is read from."""

    def __init__(self, cls: type[T], keys: Mapping[str, tuple[str, Kind]]) -> None:
        self._cls = cls
        self._keys = {attribute: key for attribute, (key, _) in keys.items()}
        overrides: dict[str, Any] = {
            attribute: override(rename=key, struct_hook=_hook(kind))
            for attribute, (key, kind) in keys.items()
        }
        self._structure = make_dict_structure_fn(
            cls, BaseConverter(), _cattrs_forbid_extra_keys=True, _cattrs_use_linecache=False, **overrides
        )

    def read(self, table: Mapping[str, object]) -> T:
        """Raises ClassValidationError, which holds every fault."""
        return self._structure(table, self._cls)

    def faults(self, invalid: ClassValidationError) -> Iterator[tuple[str, str | None]]:
        """Each faulty key with what is wrong, or None where the key itself is unknown."""
        of_values, others = invalid.group_exceptions()
        for error, note in of_values:
            yield self._keys[note.name], _what(error)
        for other in others:
            if not isinstance(other, ForbiddenExtraKeysError):
                raise other
            yield from ((key, None) for key in other.extra_fields)


def _hook(kind: Kind) -> Callable[[object, object], Any]:
    return lambda value, _: kind.read(value)


def _what(error: Exception) -> str:
    if isinstance(error, KeyError):
        return 'not set (write command = ["/path", "argument"], or shell = "...")'
    if not isinstance(error, ValueError):
        raise error  # Ours, not the reader's: cattrs collects whatever is raised.
    return str(error)


@functools.cache
def _config_shape() -> _Shape[Config]:
    return _Shape(Config, {each.name: (key, each.metadata["kind"]) for key, each in config_keys().items()})


@functools.cache
def _job_shape(command: str) -> _Shape[Job]:
    """Of jobs whose command is read from the key command: "command" or "shell"."""
    keys = {each.name: key_of(each.name) for each in dataclasses.fields(Job)} | {"command": command}
    kinds = {key: each.kind for key, each in JOB_KEYS.items()} | {"name": Kind("name", str)}
    return _Shape(Job, {attribute: (key, kinds[key]) for attribute, key in keys.items()})


# ---- files


class _Reading:
    """One reading of the configuration: what was read, and what was wrong with it."""

    def __init__(self, base: Path, uid: int) -> None:
        self.base = base
        self.faults: list[str] = []
        self.warnings: list[str] = []
        self.files: list[Path] = []
        self._uid = uid
        self._ways: set[Path] = set()
        self._public = False
        """Whether everybody may read the file that was read last."""

    def name(self, file: Path) -> str:
        """The file as seen from the configuration's directory."""
        return str(file.relative_to(self.base))

    def fault(self, where: Path | str, key: str, what: str) -> None:
        from observerd.core.lines import one_line  # noqa: PLC0415 only a fault needs it

        self.faults.append(one_line(f"{where}: {key}: {what}" if key else f"{where}: {what}"))

    def unknown(
        self, where: str, label: str, key: str, known: Iterable[str], spell: Callable[[str], str] = str
    ) -> None:
        from difflib import get_close_matches  # noqa: PLC0415 only a fault needs it

        names = list(known)
        near = get_close_matches(key, names, n=1)
        hint = f"did you mean {spell(near[0])!r}?" if near else f"known: {', '.join(map(spell, names))}"
        self.fault(where, label, f"unknown key ({_ELSEWHERE.get(key, hint)})")

    def structure(
        self,
        shape: _Shape[T],
        table: Mapping[str, object],
        where: str,
        spell: Callable[[str], str],
        known: Iterable[str] = (),
    ) -> T | None:
        """The table as an object, or None where its faults have been told."""
        try:
            return shape.read(table)
        except ClassValidationError as invalid:
            for key, what in shape.faults(invalid):
                if what is None:
                    self.unknown(where, spell(key), key, known or config_keys())
                for line in (what or "").splitlines():
                    self.fault(where, spell(key), line)
        return None

    def toml_files(self, directory: str) -> list[Path]:
        """In lexical order. What editors and package managers leave behind does not end in .toml."""
        path = self.base / directory
        try:
            self._check_trust(path, path.stat())
            self._check_way(path)
            self._ways.add(path)
            files = sorted(path.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            self.fault(path, "", f"cannot be read: {error.strerror}")
            return []
        return [file for file in files if file.name.endswith(".toml") and not file.name.startswith(".")]

    def table(self, file: Path) -> dict[str, object]:
        """What the file says; nothing where its faults have been told."""
        try:
            table = tomllib.loads(self._content(file).decode())
        except OSError as error:
            self._unreadable(file, error)
        except UnicodeDecodeError as error:
            self.fault(file, "", f"not UTF-8: byte {error.start} (save it as UTF-8)")
        except RecursionError:
            self.fault(file, "", "not TOML: nested too deeply")
        except ValueError as error:
            self.fault(file, "", f"not TOML: {error}")
        else:
            self.files.append(file)
            if self._public:
                self._warn_of_secrets(file, table)
            return table
        return {}

    def _unreadable(self, path: Path, error: OSError) -> None:
        """Root, too, is denied a file of another's where it has no capabilities left, as by our unit."""
        text = f"cannot be read: {error.strerror}"
        with contextlib.suppress(OSError):
            if isinstance(error, PermissionError) and (owner := path.stat().st_uid) != self._uid:
                mend = "run as root" if self._uid else f"run: chown root {shlex.quote(str(path))}"
                text += f", owned by user {owner} ({mend})"
        self.fault(path, "", text)

    def _content(self, file: Path) -> bytes:
        """Raises OSError. What is checked is what was opened: a name can be given to another file."""
        # Without O_NONBLOCK a named pipe would hold the start for ever.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            self._check_trust(file, status)
            self._check_way(file)
            self._public = bool(status.st_mode & stat.S_IROTH)
            content = opened.read(FILE_LIMIT_BYTES + 1)
        if len(content) > FILE_LIMIT_BYTES:
            raise OSError(errno.EFBIG, "larger than 1 MiB")
        return content

    def _warn_of_secrets(self, file: Path, table: Mapping[str, Any]) -> None:
        if secrets := sorted({name for name in _variables(table) if SECRET_NAME.search(name)}):
            names, quoted = ", ".join(secrets), shlex.quote(str(file))
            self.warnings.append(f"{file}: everybody may read {names} there (run: chmod o-r {quoted})")

    def _check_way(self, path: Path) -> None:
        """Who may write to a directory on the way may put another one of root's files in this one's place."""
        if path.parent in self._ways and not path.is_symlink():
            return
        for directory in _way(path):
            if directory not in self._ways:
                self._ways.add(directory)
                status = directory.stat()
                # In a sticky directory, as /tmp is, nobody moves what is another's.
                self._check_trust(directory, status, 0 if status.st_mode & stat.S_ISVTX else 0o022)

    def _check_trust(self, path: Path, status: os.stat_result, forbidden: int = 0o022) -> None:
        """As cron does: who may write here, or may let others, runs commands as root."""
        quoted = shlex.quote(str(path))
        if status.st_uid not in (0, self._uid):
            self.fault(path, "", f"owned by user {status.st_uid}, not by root (run: chown root {quoted})")
        if status.st_mode & forbidden:
            mode = stat.S_IMODE(status.st_mode)
            self.fault(path, "", f"writable by group or others: mode {mode:04o} (run: chmod go-w {quoted})")


def _way(path: Path) -> Iterator[Path]:
    """Every directory that is searched for path, which exists; links are followed as the kernel does."""
    here, left = Path("/"), [*reversed(path.absolute().parts[1:])]
    while left:
        yield here
        step = here.parent if left[-1] == ".." else here / left[-1]
        left.pop()
        if step.is_symlink():
            target = step.readlink()
            left += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            here = Path("/") if target.is_absolute() else here
        else:
            here = step


def _variables(table: Mapping[str, Any]) -> Iterator[str]:
    """The names in every environment that a file gives, whatever else may be wrong with it."""
    jobs = table.get("job")
    for each in (table, *(jobs.values() if isinstance(jobs, dict) else ())):
        for key in ("job_environment", "environment"):
            if isinstance(each, dict) and isinstance(each.get(key), dict):
                yield from each[key]
