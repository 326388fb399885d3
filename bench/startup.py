"""From exec to the first ReceiveMessage, beside the least that a boto3 program needs for it."""

import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.daemon import observerd
from bench.patience import NotMeasured, rounds
from bench.processes import Program, other
from bench.report import Row, budget, compared

LIMIT = budget("start")
START_S = 20.0
ALL_ROUNDS_S = 40.0


@dataclass(frozen=True, slots=True)
class Start:
    wall_s: float
    cpu_s: float


class FirstCall:
    """Listens where SQS would be, and answers nothing: only when a call arrives is of interest."""

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(START_S)
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.queue_url = f"{self.endpoint}/000000000000/jobs"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def arrived_at(self) -> float:
        """Wait for the head of the next call; when it was here. Raises NotMeasured."""
        try:
            return self._hear()
        except TimeoutError:
            raise NotMeasured(f"no call to SQS within {START_S:g} s") from None

    def _hear(self) -> float:
        connection, _ = self._socket.accept()
        connection.settimeout(START_S)
        head = b""
        with connection:
            while b"\r\n\r\n" not in head:
                chunk = connection.recv(65_536)
                if not chunk:
                    raise NotMeasured("the first connection was closed without a call")
                head += chunk
            arrived_at = time.monotonic()
        if b"ReceiveMessage" not in head:
            raise NotMeasured("the first call was not a ReceiveMessage")
        return arrived_at


def measure(directory: Path, pairs: int) -> Iterator[Row]:
    """Raises NotMeasured."""
    with FirstCall() as sqs:
        ours = observerd(directory, sqs.queue_url, {"noop": ["/bin/true"]})
        floor = other("boto3_floor", sqs.queue_url, sqs.endpoint)
        for warm_up in (ours, floor):  # Compiles what is imported.
            _start(sqs, warm_up, directory)
        found = [
            (_start(sqs, ours, directory), _start(sqs, floor, directory)) for _ in rounds(pairs, ALL_ROUNDS_S)
        ]
    for what, name in (("wall", "wall_s"), ("CPU", "cpu_s")):
        mine, floors = ([getattr(start, name) * 1000 for start in side] for side in zip(*found, strict=True))
        yield compared(f"exec to first receive, {what}", "ms", mine, "bare boto3 program", floors, LIMIT)


def _start(sqs: FirstCall, argv: Sequence[str], directory: Path) -> Start:
    with Program(argv, directory / "start.log") as program:
        arrived_at = sqs.arrived_at()
        return Start(arrived_at - program.began_at, program.kill())
