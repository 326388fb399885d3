"""What the subcommands about the configuration print: text out of values, nothing else."""

import dataclasses
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from observerd.config import Loaded
from observerd.core.job import Job
from observerd.core.lines import one_line
from observerd.core.units import duration_text
from observerd.executors import choice
from observerd.keys import JOB_KEYS, config_keys, key_of
from observerd.kinds import SECRET_NAME, Kind

# What must not stand in a terminal's history or a ticket, in any text: a URL's password, and --token=... or
# PGPASSWORD=... of a command.
_SECRET_PARTS = (
    re.compile(r"(://[^\s/:@]*:)[^\s/@]+(?=@)"),
    re.compile(rf"""([\w-]*(?:{SECRET_NAME.pattern})[\w-]*=)("[^"]*"|'[^']*'|\S+)""", re.IGNORECASE),
)
_MASK = "********"
# A command cut shorter than this tells nothing; then the line may rather wrap.
_LEAST_COMMAND = 20


def check_config(loaded: Loaded) -> str:
    """That there is no fault, and what may yet surprise."""
    lines = [f"ok: {_count(len(loaded.jobs), 'job')}, {_count(len(loaded.files), 'file')}"]
    lines += [f"warning: {one_line(warning)}" for warning in (*loaded.warnings, *_of_executor(loaded))]
    if not loaded.config.queue_url:
        lines.append("note: queue_url is not set, which `observerd run` needs")
    return "\n".join(lines)


def _of_executor(loaded: Loaded) -> list[str]:
    """An image is checked where it is built, which is not where its jobs will run: no more than warnings."""
    try:
        return list(choice.unkept(loaded.run_by(choice.choose(loaded.config.executor, os.environ))))
    except choice.Unsuitable as fault:
        return [str(fault)]


def show_config(loaded: Loaded, *, as_json: bool) -> str:
    """Every value and where it is from: a table, or {"KEY": {"value": ..., "origin": ...}, ...}."""
    values = {
        key: _written(each.metadata["kind"], getattr(loaded.config, each.name))
        for key, each in config_keys().items()
    }
    if as_json:
        return _json({key: {"value": value, "origin": loaded.origins[key]} for key, value in values.items()})
    rows = [
        (label, _cell(value), loaded.origins[key])
        for key, whole in values.items()
        for label, value in _entries(key, whole)
    ]
    return "\n".join(_aligned([("KEY", "VALUE", "FROM"), *rows]))


def jobs(loaded: Loaded, *, as_json: bool, width: int | None) -> str:
    """The jobs by name: a table, its commands cut to a terminal of that width, or a JSON list."""
    defined = [loaded.jobs[name] for name in sorted(loaded.jobs)]
    if as_json:
        return _json([_job_values(job) | {"file": loaded.origins[f"job.{job.name}"]} for job in defined])
    if not defined:
        return "no job is defined"
    rows = [("NAME", "USER", "TIMEOUT", "ATTEMPTS", "COMMAND"), *map(_job_row, defined)]
    before = len(_aligned([(*row[:-1], "|") for row in rows])[0]) - 1
    most = None if width is None else max(_LEAST_COMMAND, width - before)
    return "\n".join(_aligned([(*row[:-1], _cut(row[-1], most)) for row in rows]))


def _job_row(job: Job) -> tuple[str, ...]:
    command = one_line(shlex.join(map(_masked, job.command)))
    return job.name, job.user or "(default)", duration_text(job.timeout_s), str(job.attempts), command


def _job_values(job: Job) -> dict[str, Any]:
    """As in jobs.d, but for a shell line, which is shown as the command that it becomes."""
    values = {key_of(each.name): getattr(job, each.name) for each in dataclasses.fields(job)}
    written = {
        key: _written(JOB_KEYS[key].kind, value) if key in JOB_KEYS else value
        for key, value in values.items()
    }
    if job.ping_url:
        # Whoever knows it can report a success.
        written["ping_url"] = "/".join([*job.ping_url.split("/")[:3], _MASK])
    return written


def _written(kind: Kind, value: Any) -> Any:
    """The value as a configuration file has it, without its secrets. None: not set."""
    if isinstance(value, Mapping):
        return {name: _MASK if SECRET_NAME.search(name) else _masked(text) for name, text in value.items()}
    written = None if value is None else kind.write(value)
    if isinstance(written, list):
        return [_masked(each) if isinstance(each, str) else each for each in written]
    return _masked(written) if isinstance(written, str) else written


def _masked(text: str) -> str:
    for pattern in _SECRET_PARTS:
        text = pattern.sub(rf"\g<1>{_MASK}", text)
    return text


def _entries(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """One row for each variable of a table, and one for anything else."""
    if isinstance(value, dict) and value:
        yield from ((f"{key}.{name}", text) for name, text in value.items())
    else:
        yield key, value or (None if isinstance(value, dict) else value)


def _cell(value: Any) -> str:
    return "-" if value is None else one_line(str(value)) or '""'


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _cut(text: str, most: int | None) -> str:
    return text if most is None or len(text) <= most else text[: most - 1] + "…"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
