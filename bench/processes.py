"""Programs as processes, and what they cost."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.patience import NotMeasured

REPOSITORY = Path(__file__).parent.parent
OTHERS = Path(__file__).parent / "others"


class Program:
    """with Program(argv, log) as program: a process, killed at the end if it has not ended."""

    def __init__(self, argv: Sequence[str], log: Path, **environ: str) -> None:
        self._argv = argv
        self._log = log
        self._environ = {**_environment(), **environ}

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self.began_at = time.monotonic()
            self._process = subprocess.Popen(
                self._argv,
                cwd=REPOSITORY,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self.kill_family()

    def kill(self) -> float:
        """End it now. The CPU time that it has used, in seconds."""
        self._process.kill()
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime + usage.ru_stime

    def output(self, within_s: float) -> str:
        """What it has printed when it has ended by itself. Raises NotMeasured."""
        if not self._ends(within_s):
            raise NotMeasured(f"{self._name} took longer than {within_s:g} s")
        if status := self._process.wait():
            raise NotMeasured(self._last_words(f"{self._name} ended with {status}"))
        return self._log.read_text()

    def _ends(self, within_s: float) -> bool:
        """Seen at once: Popen.wait looks twenty times a second."""
        end = os.pidfd_open(self._process.pid)
        try:
            return bool(select.select([end], [], [], within_s)[0])
        finally:
            os.close(end)

    def check(self) -> None:
        """Raises NotMeasured if it has ended."""
        if self._process.poll() is not None:
            raise NotMeasured(self._last_words(f"{self._name} ended with {self._process.returncode}"))

    def cpu_s(self) -> float:
        """CPU time of all its threads so far, to the nanosecond; not of its children."""
        # As clock_getcpuclockid(3) has it: the clock of another process is made of its number.
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def children_cpu_s(self) -> float:
        """CPU time of the children it has waited for, in the hundredths that proc(5) counts."""
        fields = self._proc("stat").rsplit(")", 1)[1].split()
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        return _kilobytes(self._proc("status"), "VmRSS") * 1024

    def peak_bytes(self) -> int:
        """The greatest resident memory so far, its own."""
        return _kilobytes(self._proc("status"), "VmHWM") * 1024

    def family(self) -> list[int]:
        """It and all that descends from it and lives, parents first."""
        return [self._process.pid, *_descendants(self._process.pid)]

    def kill_family(self) -> None:
        """End it with all that descends from it, as a machine ends."""
        family = self.family()
        # Stopped first, so that nobody is started in a dead one's place.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in {*family, *self.family()}:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        self._process.wait()

    @property
    def _name(self) -> str:
        return Path(self._argv[1] if self._argv[1] != "-m" else self._argv[2]).name

    def _proc(self, file: str) -> str:
        self.check()
        return Path(f"/proc/{self._process.pid}/{file}").read_text()

    def _last_words(self, text: str) -> str:
        lines = self._log.read_text(errors="replace").split("\n")
        return ": ".join((text, *[line for line in lines if line.strip()][-1:]))


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a program's whole family, so far."""

    cpu_s: float
    """Of those that live, and of those that they have waited for: in hundredths, as proc(5) counts."""
    peak_bytes: int
    """The greatest resident memory of each, added up: pages that they share count for each."""
    bytes: int
    """What they hold now; pages that they share count once."""


def cost(programs: Iterable[Program]) -> Cost:
    each = [_cost(pid) for program in programs for pid in program.family()]
    return Cost(sum(c.cpu_s for c in each), sum(c.peak_bytes for c in each), sum(c.bytes for c in each))


def cpu_s(programs: Iterable[Program]) -> float:
    return sum(_cpu_s(pid) for program in programs for pid in program.family())


def _cost(pid: int) -> Cost:
    peak, now = _read(pid, "status"), _read(pid, "smaps_rollup")
    return Cost(_cpu_s(pid), _kilobytes(peak, "VmHWM") * 1024, _kilobytes(now, "Pss") * 1024)


def _cpu_s(pid: int) -> float:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _descendants(pid: int) -> Iterator[int]:
    for thread in _threads(pid):
        for child in map(int, _read(pid, f"task/{thread}/children").split()):
            yield child
            yield from _descendants(child)


def _threads(pid: int) -> list[str]:
    with suppress(OSError):
        return [each.name for each in Path(f"/proc/{pid}/task").iterdir()]
    return []


def _read(pid: int, file: str) -> str:
    """Empty if the process has ended meanwhile."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/{file}").read_text()
    return ""


def _kilobytes(text: str, name: str) -> int:
    """Of one line of a file such as proc(5)'s status; 0 without it."""
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name}:")), 0)


def other(name: str, *arguments: str) -> tuple[str, ...]:
    """The command line of one of bench/others."""
    return (sys.executable, str(OTHERS / f"{name}.py"), *arguments)


def kill_the_rest() -> None:
    """End the children that are left: an interrupt in the middle of a start leaves one to nobody."""
    for pid in map(int, Path("/proc/thread-self/children").read_text().split()):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _environment() -> dict[str, str]:
    """The same for everybody, and nothing of the caller's AWS."""
    return {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
