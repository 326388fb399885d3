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
import reprlib
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

from observerd.core.job import JOB_NAME, TIMEOUT_LIMIT_S, VISIBILITY_LIMIT_S, Job
from observerd.core.settlement import BACKOFF_CAP_S
from observerd.core.units import duration_s, duration_text, size_bytes, size_text

DEFAULT_FILE = Path("/etc/observerd/observerd.toml")
# A configuration is read whole into memory. Nobody writes a megabyte of it by hand.
FILE_LIMIT_BYTES = 1 << 20
PREFIX = "OBSERVERD_"
# What a job's own environment bears: observerd may be called from inside a job.
JOB_VARIABLES = frozenset(
    PREFIX + name
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
# Kubernetes sets these for a service that happens to be called observerd.
_SERVICE_LINK = re.compile(PREFIX + r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)")


T = TypeVar("T")


# Where what is no key here does stand.
_ELSEWHERE = {"job": "jobs are defined in jobs.d/*.toml", "name": "the name stands in [job.NAME]"}


class BadConfig(Exception):
    """faults are all there are, sorted, each one line: "FILE: KEY: what: value (what next)".

    config is what could be read all the same, with defaults for the rest: enough to end a machine that cannot
    serve, and for nothing else.
    """

    def __init__(self, faults: tuple[str, ...], config: "Config | None" = None) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults
        self.config = config or Config()


# ---- kinds of values


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


def one_line(text: str) -> str:
    """Text with whatever would break a line, or act on a terminal, escaped."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _fault(what: str, value: object, next_: str) -> ValueError:
    return ValueError(f"{what}: {_SHORT.repr(value)}" + (f" ({next_})" if next_ else ""))


def _duration(least_s: float, most_s: float, why: str = "") -> Kind:
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


def _whole(least: int, most: int, why: str = "") -> Kind:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _fault("must be a whole number", value, f"write {least} to {most}")
        if not least <= value <= most:
            raise _fault(f"must be {least} to {most}", value, why)
        return value

    return Kind(f"whole number, {least} to {most}", read, numeric=True)


def _choice(*names: str) -> Kind:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in names:
            raise _fault("not known", value, f"write {', '.join(names[:-1])} or {names[-1]}")
        return value

    return Kind(", ".join(f'"{name}"' for name in names), read)


def _text(form: str, pattern: str, example: str) -> Kind:
    def read(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value) or not value.isprintable():
            raise _fault(f"not a {form}", value, f"write it like {example!r}")
        return value

    return Kind(form, read)


def _optional(kind: Kind) -> Kind:
    """Empty means not set: TOML has no null for a later layer to take a value back with."""
    return kind._replace(
        form=f"{kind.form}, or empty", read=lambda value: None if value == "" else kind.read(value)
    )


def _url_of(example: str) -> Callable[[object], str]:
    return lambda value: _url(value, example)


def _url(value: object, example: str = "https://sqs.REGION.amazonaws.com/ACCOUNT/NAME") -> str:
    from urllib.parse import urlsplit  # noqa: PLC0415 pathlib and boto3 load it anyway, and not every command does

    text = value if isinstance(value, str) and value.isprintable() and " " not in value else ""
    with contextlib.suppress(ValueError):
        parts = urlsplit(text)
        # Asking for the port checks it.
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return text
    raise _fault("not a URL", value, f"write {example}")


def _ping_url(value: object) -> str:
    try:
        return _url(value)
    except ValueError:
        raise _fault("not a URL", value, "write https://hc-ping.com/UUID") from None


def _listen(value: object) -> str:
    text = value if isinstance(value, str) else " "
    found = re.fullmatch(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})", text)
    if text and (found is None or int(found[1]) >= 1 << 16):
        raise _fault("not an address to listen on", value, "write '127.0.0.1:9748'")
    return text


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
    if not isinstance(value, dict):
        raise _fault("must be a table of strings", value, 'write { NAME = "value" }')
    faults = [fault for name, text in value.items() if (fault := _variable_fault(name, text))]
    if faults:
        raise ValueError("\n".join(map(str, faults)))
    return MappingProxyType(dict(value))


def _variable_fault(name: str, text: object) -> ValueError | None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return _fault("not a variable's name", name, "letters, digits and _")
    if name in JOB_VARIABLES:
        return _fault("cannot be set", name, "observerd sets it for each run")
    if not isinstance(text, str) or "\0" in text:
        return _fault(f"{name} must be a string", text, "write it in quotes")
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


_SWITCH = Kind("true, false", _switch)
_URL = Kind("URL", _url)
_TOPIC = "arn:aws:sns:eu-west-1:123456789012:alerts"
_FILE = Kind("path of a file", _file)
_USER = _text("user name", r"[^\s:/]+", "batch")
_ENVIRONMENT = Kind("table of strings", _environment, dict)
_EXIT_CODES = Kind("list of 0 to 255", _exit_codes, sorted)
_SOME_EXIT_CODES = Kind("list of 0 to 255", _some_exit_codes, sorted)

# ---- the keys


def _key(kind: Kind, default: Any, help_: str) -> Any:
    """A key of the file. Its name there is the attribute's without the unit."""
    return attrs.field(default=default, metadata={"kind": kind, "help": help_})


# Nothing compares configurations; each method not generated is time saved at every start.
@attrs.frozen(eq=False)
class Config:
    """observerd's own settings. Attributes that end in _s are seconds."""

    queue_url: str = _key(_URL, "", "The queue to serve. `run` and `send` need it.")
    dead_letter_queue_url: str | None = _key(
        _optional(_URL), None, "Where failed messages go. Default: as the queue's redrive policy says."
    )
    region: str | None = _key(
        _optional(_text("region", r"[a-z0-9-]+", "eu-west-1")),
        None,
        "The AWS region. Default: taken from the queue's URL, or as the AWS tools find it.",
    )
    slots: int = _key(_whole(1, 256), 1, "How many jobs may run at once.")
    visibility_timeout_s: float = _key(
        _duration(3, VISIBILITY_LIMIT_S, "SQS hides a message for 12 hours at most"),
        120.0,
        "How long a message stays hidden after the last sign of life. Renewed at every third of it.",
    )
    idle_timeout_s: float = _key(
        _duration(0, 604_800, 'exit_action = "stay" never leaves'),
        120.0,
        "With nothing to do for this long, leave.",
    )
    max_uptime_s: float | None = _key(
        _optional(_duration(60, 2_592_000)),
        None,
        "Older than this, leave as soon as there is nothing to do. Default: age does not matter.",
    )
    drain_timeout_s: float = _key(
        _duration(0, VISIBILITY_LIMIT_S, "no job runs longer than SQS lends its message"),
        3_600.0,
        "How long running jobs may go on after a request to stop. Then they get TERM.",
    )
    exit_action: str = _key(
        _choice("auto", "terminate", "exit", "poweroff", "stay"),
        "auto",
        "What leaving means: `terminate` this instance and shrink its group, `exit` the daemon, `poweroff`"
        " the machine, or `stay` and never leave for idleness. `auto` terminates on EC2 and exits elsewhere.",
    )
    auto_scaling_group: str | None = _key(
        _optional(_text("group name", r".{1,255}", "cron-workers")),
        None,
        "The group this instance is in. Default: asked of the instance metadata.",
    )
    lifecycle_hook: str | None = _key(
        _optional(_text("hook name", r"[A-Za-z0-9_/-]{1,255}", "drain")),
        None,
        "The group's terminating lifecycle hook, completed on the way out.",
    )
    log_group: str | None = _key(
        _optional(_text("log group name", r"[.\-_/#A-Za-z0-9]{1,512}", "/observerd/jobs")),
        None,
        "The CloudWatch Logs group for the jobs' output. Default: the journal only.",
    )
    stack: str | None = _key(
        _optional(_text("stack name", r"[A-Za-z][A-Za-z0-9-]{0,127}", "cron")),
        None,
        "The name that this system's CloudWatch metrics bear as Stack. Default: it has none of them.",
    )
    notify_topic: str | None = _key(
        _optional(
            _text("topic's ARN", r"arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]{1,261}", _TOPIC)
        ),
        None,
        "The SNS topic that is told when a run has failed for good, and when its job succeeds again.",
    )
    cloudwatch_metrics: str = _key(
        _choice("job", "stack", "both", "off"),
        "job",
        "What CloudWatch's metrics of runs are kept for: each `job` of the stack, the `stack`, or `both`"
        " (each costs by the month). Missed-run alarms need `job`.",
    )
    log_level: str = _key(
        _choice("debug", "info", "warning", "error"), "info", "What observerd logs of itself."
    )
    log_format: str = _key(
        _choice("auto", "text", "json"),
        "auto",
        "How observerd's own lines look. `auto` is text, with priorities where the journal reads them.",
    )
    metrics_listen: str = _key(
        Kind("HOST:PORT, or empty", _listen),
        "127.0.0.1:9748",
        "Where Prometheus metrics and the status page are served. Empty: nowhere.",
    )
    metrics_hosts: str = _key(
        _text("list of host names", r"[A-Za-z0-9. -]*", "worker-1.example.com proxy.example.com"),
        "",
        "Names, separated by spaces, by which browsers and Prometheus may ask for them. IP addresses,"
        " `localhost` and the machine's own name always work.",
    )
    metrics_tls_certificate: str | None = _key(
        _optional(_FILE), None, "PEM file with a certificate, and its chain, for HTTPS. Default: plain HTTP."
    )
    metrics_tls_key: str | None = _key(_optional(_FILE), None, "PEM file with that certificate's key.")
    metrics_tls_client_ca: str | None = _key(
        _optional(_FILE),
        None,
        "PEM file with the authorities whose client certificates are let in, and no others.",
    )
    metrics_textfile_directory: str | None = _key(
        _optional(Kind("absolute path", _directory)),
        None,
        "Where to leave, at exit, files for node_exporter's textfile collector. Default: nowhere.",
    )
    metrics_push_url: str | None = _key(
        _optional(Kind("URL", _url_of("http://pushgateway.example.com:9091"))),
        None,
        "The push gateway to leave metrics with at exit. Default: none.",
    )
    status_output: str = _key(
        _choice("show", "hide"), "show", "Whether the status page has the last lines of runs that failed."
    )
    executor: str = _key(
        _choice("auto", "direct", "systemd", "shadow"),
        "auto",
        "How jobs are started: each in a unit by `systemd`, or as children of the daemon by `direct`."
        " `auto` is `systemd` where that is PID 1 and observerd is root. `shadow` does everything but start"
        " them.",
    )
    default_user: str = _key(
        _USER, "observerd", "Whom a job runs as that names no user, where the daemon is root."
    )
    job_environment: Mapping[str, str] = _key(
        _ENVIRONMENT,
        attrs.Factory(lambda: MappingProxyType({})),
        "Variables that every job gets. A later table replaces an earlier one.",
    )
    flush_timeout_s: float = _key(
        _duration(0, 300), 5.0, "How long the end of a run waits for CloudWatch Logs to take its last lines."
    )


class JobKey(NamedTuple):
    kind: Kind
    help: str
    enforced: bool = True
    """Whether the direct executor does what it says."""


JOB_KEYS: Mapping[str, JobKey] = {
    "command": JobKey(
        Kind("list of strings", _command, list),
        "The program, by path or by a name in PATH, and its arguments.",
    ),
    "shell": JobKey(Kind("string", _shell), "A line for /bin/sh instead of `command`."),
    "user": JobKey(_USER, "Whom it runs as. Default: `default_user`."),
    "working_directory": JobKey(Kind("absolute path", _directory), "Where it starts."),
    "environment": JobKey(_ENVIRONMENT, "Variables on top of `job_environment`."),
    "timeout": JobKey(
        _duration(
            0.1,
            TIMEOUT_LIMIT_S,
            "SQS takes a message back 12 hours after it was received, and the end of a run needs a little",
        ),
        "How long it may run. Then its processes get TERM.",
    ),
    "grace": JobKey(_duration(0, 600), "Time between TERM and KILL."),
    "attempts": JobKey(
        _whole(1, 10, "the queue itself gives up after 10 receives"),
        "How often it is started at most. Then its message goes to the dead-letter queue.",
    ),
    "backoff": JobKey(
        _duration(0, BACKOFF_CAP_S), "Wait before the second attempt. Doubles with each, up to 15 minutes."
    ),
    "max_lateness": JobKey(
        _duration(0, 1_209_600, "SQS keeps a message for 14 days at most"),
        "Later than this it is recorded as missed and not run. Default: any lateness will do.",
    ),
    "success_exit_codes": JobKey(_SOME_EXIT_CODES, "Exit codes that mean success."),
    "no_retry_exit_codes": JobKey(_EXIT_CODES, "Exit codes after which another attempt is pointless."),
    "nice": JobKey(_whole(-20, 19), "Scheduling priority, as nice(1) counts."),
    "description": JobKey(_text("line of text", r".{0,200}", "Feeds the store"), "For people."),
    "ping_url": JobKey(
        _optional(Kind("URL", _ping_url)),
        "A monitor to be told of start, success and failure, in the form of healthchecks.",
    ),
    "memory_max": JobKey(
        Kind("size", _size, size_text), "The most memory it may use, e.g. 512M.", enforced=False
    ),
    "tasks_max": JobKey(_whole(1, 4_194_304), "The most processes and threads it may have.", enforced=False),
    "cpu_quota": JobKey(
        _text("percentage", r"[1-9][0-9]{0,4}%", "50%"), "The most CPU time, of one CPU.", enforced=False
    ),
    "cpu_weight": JobKey(
        _whole(1, 10_000), "Its share of the CPUs where they are short; others have 100.", enforced=False
    ),
    "io_weight": JobKey(
        _whole(1, 10_000), "Its share of the disks where they are short; others have 100.", enforced=False
    ),
    "sandbox": JobKey(
        _SWITCH, "Whether it gets a /tmp of its own and less of a view of the system.", enforced=False
    ),
    "metadata_access": JobKey(
        _SWITCH,
        "Whether it may reach the instance metadata service, and so use the instance's role.",
        enforced=False,
    ),
}


def key_of(attribute: str) -> str:
    """The key of a Config's or Job's attribute: keys bear no unit."""
    return attribute.removesuffix("_s")


def config_keys() -> dict[str, "attrs.Attribute[Any]"]:
    """Config's attributes by their keys; metadata holds "kind" and "help"."""
    return {key_of(each.name): each for each in attrs.fields(Config)}


# ---- what load() answers


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
    reading.fault(file, "job", f"must be a table: {_SHORT.repr(tables)} (write [job.NAME])")
    return {}


def _job(reading: "_Reading", file: Path, name: str, table: object) -> Job | None:
    """The job, or None where its faults have been told."""
    label = f"job.{name}"
    if not JOB_NAME.fullmatch(name):
        reading.fault(file, label, "not a job name (letters, digits, '.', '_' and '-', at most 80)")
    if not isinstance(table, dict):
        reading.fault(file, label, f"must be a table: {_SHORT.repr(table)} (write [job.NAME])")
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

    def name(self, file: Path) -> str:
        """The file as seen from the configuration's directory."""
        return str(file.relative_to(self.base))

    def fault(self, where: Path | str, key: str, what: str) -> None:
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
            self.fault(file, "", f"cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            self.fault(file, "", f"not UTF-8: byte {error.start} (save it as UTF-8)")
        except RecursionError:
            self.fault(file, "", "not TOML: nested too deeply")
        except ValueError as error:
            self.fault(file, "", f"not TOML: {error}")
        else:
            self.files.append(file)
            return table
        return {}

    def _content(self, file: Path) -> bytes:
        """Raises OSError. What is checked is what was opened: a name can be given to another file."""
        # Without O_NONBLOCK a named pipe would hold the start for ever.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            self._check_trust(file, status)
            content = opened.read(FILE_LIMIT_BYTES + 1)
        if len(content) > FILE_LIMIT_BYTES:
            raise OSError(errno.EFBIG, "larger than 1 MiB")
        return content

    def _check_trust(self, path: Path, status: os.stat_result) -> None:
        """As cron does: who may write here, or may let others, runs commands as root."""
        quoted = shlex.quote(str(path))
        if status.st_uid not in (0, self._uid):
            self.fault(path, "", f"owned by user {status.st_uid}, not by root (run: chown root {quoted})")
        if status.st_mode & 0o022:
            mode = stat.S_IMODE(status.st_mode)
            self.fault(path, "", f"writable by group or others: mode {mode:04o} (run: chmod go-w {quoted})")
