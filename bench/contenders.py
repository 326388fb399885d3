"""Who takes part, each started as its own documentation has it. Who is not installed is left out, by name."""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.daemon import observerd
from bench.processes import REPOSITORY, Program
from bench.sqs import Sqs

PEERS = Path(__file__).parent / "peers"
INSTALLED = REPOSITORY / "build" / "bench"
PYTHON_PEERS, NODE_PEERS = INSTALLED / "python", INSTALLED / "node"
INSTALL_S = 600.0
# A message with its attributes.
Sent = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Task:
    """What a contender is to do: a command, in which {number} is that of the message."""

    command: tuple[str, ...]
    visibility_s: int | None = None
    """For which a message is hidden that has been received. None: as each contender has it."""


@dataclass(frozen=True, slots=True)
class Contender:
    """How one is started, and what its messages look like."""

    name: str
    argv: Callable[[int], Sequence[str]]
    """For so many slots."""
    message: Callable[[int], Sent]
    processes: Callable[[int], int] = lambda _: 1
    """How many are started for so many slots."""
    environ: Mapping[str, str] = field(default_factory=dict)
    needs: Path | None = None
    """What is there if it is installed."""
    daemon: bool = False
    """observerd itself, whose command line comes with a configuration."""

    def programs(self, directory: Path, sqs: Sqs, slots: int, task: Task) -> Iterator[Program]:
        """What to start for so many slots on that queue."""
        argv, environ = self._prepared(directory, sqs, slots, task)
        for number in range(self.processes(slots)):
            yield Program(argv, directory / f"{_file_name(self.name)}-{number}.log", **environ)

    def _prepared(
        self, directory: Path, sqs: Sqs, slots: int, task: Task
    ) -> tuple[Sequence[str], dict[str, str]]:
        if self.daemon:
            command = [part.replace("{number}", "$OBSERVERD_PAYLOAD") for part in task.command]
            visibility = {"visibility_timeout": f"{task.visibility_s}s"} if task.visibility_s else {}
            return observerd(directory, sqs.queue_url, {"work": command}, slots=slots, **visibility), {}
        environ = {
            "BENCH_COMMAND": json.dumps(task.command),
            "QUEUE_URL": sqs.queue_url,
            "AWS_ENDPOINT_URL": sqs.endpoint,
            "PYTHONPATH": str(PEERS),
            **self.environ,
        }
        if task.visibility_s:
            environ["BENCH_VISIBILITY_S"] = str(task.visibility_s)
        return self.argv(slots), environ


def bodies(contender: Contender, numbers: Sequence[int]) -> list[Sent]:
    return [contender.message(number) for number in numbers]


def present() -> tuple[list[Contender], list[str]]:
    """Who can take part, and a line for each who cannot."""
    here = [each for each in ALL if each.needs is None or each.needs.exists()]
    return here, [f"{each.name}: left out, not installed" for each in ALL if each not in here]


# ---- installing


def install() -> list[str]:
    """Have the peers below build/bench, as locked. Returns a line for each kind that cannot be had."""
    faults = []
    for what, locked, place, commands in (
        ("Python peers", PEERS / "requirements.txt", PYTHON_PEERS, _pip()),
        ("Node peers", PEERS / "package-lock.json", NODE_PEERS, _npm()),
    ):
        stamp = place / "installed"
        wanted = hashlib.sha256(locked.read_bytes()).hexdigest()
        if stamp.is_file() and stamp.read_text() == wanted:
            continue
        print(f"installing the {what} into {place.relative_to(REPOSITORY)}", file=sys.stderr)
        if fault := _install(place, commands):
            faults.append(f"{what} cannot be installed: {fault}")
            shutil.rmtree(place, ignore_errors=True)
        else:
            stamp.write_text(wanted)
    return faults


def _pip() -> tuple[Sequence[str], ...]:
    pip = (str(PYTHON_PEERS / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes")
    return (
        (sys.executable, "-m", "venv", str(PYTHON_PEERS)),
        (*pip, "--only-binary", ":all:", "-r", str(PEERS / "requirements.txt")),
    )


def _npm() -> tuple[Sequence[str], ...]:
    files = [str(PEERS / name) for name in ("package.json", "package-lock.json", "consumer.mjs")]
    return (
        ("cp", *files, str(NODE_PEERS)),
        ("npm", "ci", "--prefix", str(NODE_PEERS), "--ignore-scripts", "--no-audit", "--no-fund"),
    )


def _install(place: Path, commands: Sequence[Sequence[str]]) -> str:
    """What went wrong, in one line; empty if nothing."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for command in commands:
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=INSTALL_S, errors="replace"
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{command[0]}: {error}"
        if done.returncode:
            told = [line for line in done.stderr.splitlines() if "error" in line.lower()]
            return ": ".join((Path(command[0]).name, *(told[:1] or [f"status {done.returncode}"])))
    return ""


# ---- messages, each in its contender's own form


def _plain(number: int) -> Sent:
    return str(number), {}


def _observerd(number: int) -> Sent:
    return json.dumps({"v": 1, "job": "work", "payload": number}), {}


def _celery(number: int) -> Sent:
    name = str(uuid.UUID(int=number))
    arguments = [[number], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    envelope = {
        "body": base64.b64encode(json.dumps(arguments).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "work", "id": name, "root_id": name, "retries": 0},
        "properties": {
            "correlation_id": name,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "jobs"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": name,
        },
    }
    return base64.b64encode(json.dumps(envelope).encode()).decode(), {}


def _dramatiq(number: int) -> Sent:
    message = {
        "queue_name": "jobs",
        "actor_name": "work",
        "args": [number],
        "kwargs": {},
        "options": {},
        "message_id": str(uuid.UUID(int=number)),
        "message_timestamp": 0,
    }
    return base64.b64encode(json.dumps(message).encode()).decode(), {}


def _sqs_workers(number: int) -> Sent:
    told = {"ContentType": "json", "JobName": "work"}
    return json.dumps({"number": number}), {
        name: {"StringValue": value, "DataType": "String"} for name, value in told.items()
    }


def _pyqs(number: int) -> Sent:
    return json.dumps({"task": "pyqs_tasks.work", "args": [number], "kwargs": {}}), {}


# ---- command lines


def _python(*arguments: str) -> tuple[str, ...]:
    return (str(PYTHON_PEERS / "bin" / "python"), *arguments)


def _celery_worker(slots: int) -> Sequence[str]:
    return _python("-m", "celery", "-A", "celery_app", "worker", "-c", str(slots), "-l", "ERROR")


def _tuned_celery_worker(slots: int) -> Sequence[str]:
    return (*_celery_worker(slots), "--without-gossip", "--without-mingle", "--without-heartbeat")


def _dramatiq_workers(slots: int) -> Sequence[str]:
    # A consumer holds ten messages at most: more slots are more processes, of eight threads by default.
    processes, threads = (slots // 8, 8) if slots > 8 else (1, slots)  # noqa: PLR2004 its own figure
    return _python("-m", "dramatiq", "dramatiq_app", "-p", str(processes), "-t", str(threads))


def _node() -> str:
    """That of npm, which is of the version that is locked."""
    found = sorted((NODE_PEERS / "node_modules").glob("node-linux-*/bin/node"))
    return str(found[0]) if found else "node"


_PYTHON = PYTHON_PEERS / "installed"
OURS = Contender("observerd", lambda _: (), _observerd, daemon=True)
SEED = Contender(
    "seed's loop",
    lambda _: (sys.executable, str(PEERS / "seed_loop.py")),
    _plain,
    processes=lambda slots: slots,
)
ALL = (
    OURS,
    SEED,
    Contender("Celery, tuned", _tuned_celery_worker, _celery, environ={"BENCH_TUNED": "1"}, needs=_PYTHON),
    Contender("Celery", _celery_worker, _celery, needs=_PYTHON),
    Contender("dramatiq_sqs", _dramatiq_workers, _dramatiq, needs=_PYTHON),
    Contender(
        "sqs-workers",
        lambda slots: _python(str(PEERS / "sqs_workers_app.py"), str(slots)),
        _sqs_workers,
        needs=_PYTHON,
    ),
    Contender(
        "PyQS",
        lambda slots: (str(PYTHON_PEERS / "bin" / "pyqs"), "jobs", "-c", str(slots)),
        _pyqs,
        needs=_PYTHON,
    ),
    Contender(
        "sqs-consumer",
        lambda slots: (_node(), str(NODE_PEERS / "consumer.mjs"), str(slots)),
        _plain,
        needs=NODE_PEERS / "installed",
    ),
)


def versions() -> dict[str, str]:
    """Of the peers, as locked."""
    python = dict(
        line.split(" ")[0].split("==")
        for line in (PEERS / "requirements.txt").read_text().splitlines()
        if "==" in line
    )
    node = json.loads((PEERS / "package.json").read_text())["dependencies"]
    names = ("celery", "dramatiq", "dramatiq-sqs", "sqs-workers", "pyqs")
    return {name: python[name] for name in names} | {"sqs-consumer": node["sqs-consumer"]}


def _file_name(name: str) -> str:
    return "".join(each if each.isalnum() else "-" for each in name)
