"""An emulated AWS on a loopback port of its own, for as long as a with statement lasts."""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
import botocore.session
from botocore.config import Config

from demo.events import Broke, Called, Event

REPOSITORY = Path(__file__).resolve().parent.parent
# Importing moto takes two seconds; a machine with better things to do may take ten times as long.
START_S = 40.0


class CloudFault(Exception):
    """The emulated AWS does not do what it was asked. The text is for people."""


class Cloud:
    """`with Cloud() as cloud:` starts the emulator and ends it; nothing of it is left behind.

    Every event in it goes to every listener, on the thread that saw it. long_poll_s caps how long
    a receive waits for a first message; None leaves it to the caller, as SQS does. keep_files leaves the
    directory, which holds every log, where it is. waiting() is around the wait for the emulator to be up:
    what it lets through there is cleaned up after, like any other end.
    """

    def __init__(
        self,
        region: str = "ap-northeast-1",
        *,
        long_poll_s: int | None = None,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.region = region
        self.keep_files = False
        self._long_poll_s = long_poll_s
        self._waiting = waiting
        self._clients: dict[tuple[str, str], Any] = {}
        self._listeners: list[Callable[[Event], None]] = []
        self._ending = False

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            self.directory = Path(tempfile.mkdtemp(prefix="observerd-demo-"))
            undo.callback(self._remove)
            emulator = _Emulator(
                self._argv(), self.base_environment, self.directory / "emulator.log", self.tell
            )
            undo.callback(emulator.end)
            with self._waiting():
                self.endpoint = f"http://127.0.0.1:{emulator.port()}"
            self._session = _nobodys_session()
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Tell listener of every event from now on. It must not block."""
        self._listeners.append(listener)

    def tell(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)

    def client(self, service: str, caller: str = "YOU") -> Any:
        """A boto3 client, the same one for the same arguments. Ask for them all on one thread: sessions are
        not safe to share, clients are."""
        key = (service, caller)
        if key not in self._clients:
            self._clients[key] = self._new_client(service, caller)
        return self._clients[key]

    def _new_client(self, service: Any, caller: str) -> Any:
        bounded = Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"mode": "standard", "total_max_attempts": 2},
            proxies={},  # Not None: a proxy that the environment names cannot reach our loopback.
        )
        return self._session.client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint,
            aws_access_key_id=caller,
            aws_secret_access_key="emulated",
            config=bounded,
        )

    def imds(self, instance_id: str) -> str:
        """The metadata service of one instance, for AWS_EC2_METADATA_SERVICE_ENDPOINT."""
        return f"{self.endpoint}/imds/{instance_id}"

    def environment(self, caller: str | None = None) -> dict[str, str]:
        """All that a process in this cloud may know of AWS. Without a caller it has no keys of its own."""
        named = {"AWS_ACCESS_KEY_ID": caller, "AWS_SECRET_ACCESS_KEY": "emulated"} if caller else {}
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            **named,
        }

    @property
    def base_environment(self) -> dict[str, str]:
        """What every process here starts from. By DEMO_DIRECTORY leftovers() knows it."""
        path = os.environ.get("PATH", os.defpath)
        return {
            "PATH": path,
            "LANG": "C.UTF-8",
            "HOME": str(self.directory),
            "DEMO_DIRECTORY": str(self.directory),
        }

    def leftovers(self, patience_s: float) -> list[int]:
        """The processes of this cloud that still run when they have been given that time to end."""
        deadline = time.monotonic() + patience_s
        while (found := self._processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _processes(self) -> list[int]:
        mark = f"DEMO_DIRECTORY={self.directory}".encode()
        return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if mark in _environment_of(entry)]

    def _argv(self) -> list[str]:
        capped = [] if self._long_poll_s is None else ["--long-poll-s", str(self._long_poll_s)]
        return [sys.executable, "-m", "demo.emulator", "--region", self.region, *capped]

    def _remove(self) -> None:
        if not self.keep_files:
            shutil.rmtree(self.directory, ignore_errors=True)


class _Emulator:
    """The process. Each line it writes, but for the first, is a call."""

    def __init__(
        self, argv: list[str], environment: dict[str, str], log: Path, tell: Callable[[Event], None]
    ) -> None:
        self._log = log
        self._tell = tell
        self._ending = False
        self._first_line: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,  # Even a kill -9 of ours closes it, and then the emulator ends.
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=REPOSITORY,
                env=environment,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, name="emulator", daemon=True)
        self._reader.start()

    def port(self) -> int:
        """Blocks until it serves. Raises CloudFault."""
        try:
            line = self._first_line.get(timeout=START_S)
        except queue.Empty:
            raise CloudFault(f"the emulated AWS was not up within {START_S:g} s") from None
        if not line:
            raise CloudFault(f"the emulated AWS did not start: {self._last_words()}")
        return int(json.loads(line)["port"])

    def end(self) -> None:
        self._ending = True
        # It keeps nothing that is worth a farewell.
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            self._first_line.put(output.readline())
            for line in output:
                self._tell(Called(**json.loads(line)))
        status = self._process.wait()
        if not self._ending:
            self._tell(Broke(f"the emulated AWS ended with status {status}: {self._last_words()}"))

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"


def _nobodys_session() -> boto3.session.Session:
    """Knows no profile, key or setting of whoever runs this: it must never reach a real account."""
    files = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    nobodys = botocore.session.Session({**files, "profile": (None, None, None, None)})
    return boto3.session.Session(botocore_session=nobodys)


def _environment_of(entry: Path) -> bytes:
    try:
        return (entry / "environ").read_bytes()
    except OSError:
        # Gone, or somebody else's.
        return b""
