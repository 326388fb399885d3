"""A fleet of daemons as processes, the queue that they share, and what befalls them."""

import contextlib
import json
import os
import random
import resource
import signal
import sys
import time
from collections import Counter, defaultdict
from math import inf
from pathlib import Path
from typing import NamedTuple

from tests.chaos.accounts import Facts, Life
from tests.chaos.aws_faults import AwsFaults
from tests.chaos.ledger import KEY, Notary, Tampered, read
from tests.chaos.processes import ProcessLimit
from tests.chaos.proxy import FAIR, FOUL, Proxy
from tests.chaos.worker import Worker
from tests.fake_logs import GROUP, LogsServer
from tests.fake_sqs import FakeSqs
from tests.support import eventually

VISIBILITY_S = 3.0
# How often each kind is sent; "stranger" is a job that no worker knows, "garbage" no request at all.
MIX = {"quick": 8, "slow": 5, "long": 1, "flaky": 2, "failing": 1, "refusing": 1, "stranger": 1, "garbage": 1}
JOB_KINDS = ("quick", "slow", "long", "flaky", "failing", "refusing")
LEDGER_PROGRAM = Path(__file__).with_name("ledger.py")
OWN_CLOCK = Path(__file__).with_name("own_clock")


class Sample(NamedTuple):
    """What a worker had at one moment of its life."""

    at: float
    worker: str
    rss_bytes: int
    descriptors: int
    threads: int
    zombies: int


class Fleet:
    """with Fleet(directory, size) as fleet: so many running workers on one queue."""

    def __init__(self, directory, size, seed=0):
        self.directory = directory
        self.ledger = directory / "ledger"
        self.ledger.touch()
        self._key = os.urandom(32)
        self._notary = Notary(self.ledger)
        self.random = random.Random(seed)
        self.kinds = {}
        self.killed = {}
        """When each was killed by us, by the worker's name."""
        self.hurt = {}
        """When each was made to stand still."""
        self.still = defaultdict(list)
        """From when to when each was made to stand still."""
        self.deaf = defaultdict(list)
        """The same, where its jobs went on."""
        self.mute = defaultdict(list)
        """From when to when the disk of each was full, which it logs to."""
        self.samples = []
        self.befallen = Counter()
        self.faults = []
        """What went wrong with the workers themselves."""
        self._bodies = {}
        self._later = []
        self._told_to_leave = set()
        self._lives = [0] * size
        self._all = []
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        enter = self._stack.enter_context
        self.sqs = enter(FakeSqs())
        self.sqs.queues["jobs"].redrive = "dead"
        self.aws = enter(AwsFaults(self.sqs.port))
        self.network = enter(Proxy(self.aws.port, self.random.random()))
        self._logs = enter(LogsServer())
        self.cloudwatch = enter(Proxy(int(self._logs.url.rsplit(":", 1)[1]), self.random.random()))
        self.workers = [self._start(place) for place in range(len(self._lives))]
        return self

    def __exit__(self, *_):
        for worker in self._all:
            with contextlib.suppress(ProcessLookupError):
                self._signal(worker, signal.SIGCONT)
        self._stack.close()

    def _start(self, place):
        self._lives[place] += 1
        name = f"w{place}.{self._lives[place]}"
        directory = self.directory / name
        directory.mkdir()
        worker = Worker(
            name,
            self.sqs,
            directory,
            self._jobs(name),
            environ={
                "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": f"http://127.0.0.1:{self.cloudwatch.port}",
                "PYTHONPATH": str(OWN_CLOCK),
                "OWN_CLOCK": str(directory / "clock"),
            },
            queue_url=f"http://127.0.0.1:{self.network.port}/000000000000/jobs",
            slots=3,
            visibility_timeout=f"{VISIBILITY_S:g}s",
            exit_action="stay",
            log_group=GROUP,
            flush_timeout="1s",
        )
        worker.lasting = place == 0
        self._all.append(worker)
        self.hurt[name] = []
        return self._stack.enter_context(worker)

    def _jobs(self, name):
        program = [sys.executable, "-I", "-S", str(LEDGER_PROGRAM), str(self.ledger)]
        environment = f"{{ WORKER = '{name}', {KEY} = '{self._key.hex()}' }}"
        return "".join(
            f"[job.{kind}]\ncommand = {json.dumps([*program, kind])}\nattempts = 3\nbackoff = '0.4s'\n"
            f"timeout = '60s'\ngrace = '1s'\nenvironment = {environment}\n"
            for kind in JOB_KINDS
        )

    # ---- work

    def send(self, count):
        for kind in self.random.choices(list(MIX), list(MIX.values()), k=count):
            self._send(kind)

    def _send(self, kind):
        """The message's id."""
        number = len(self.kinds)
        body = json.dumps({"job": kind, "payload": number})
        if kind == "garbage":
            body = f"\x01{{not a request {number}"
        message_id = self.sqs.send(body)
        self.kinds[message_id], self._bodies[body] = kind, message_id
        return message_id

    def live(self, for_s, until=lambda: False):
        """Let time pass, with what befalls the fleet meanwhile; whether until() came true."""
        ends_at = time.monotonic() + for_s
        while time.monotonic() < ends_at and not until():
            now = time.monotonic()
            due = [each for each in self._later if each[0] <= now]
            self._later = [each for each in self._later if each[0] > now]
            for _, act in due:
                act()
            self._replace_the_dead()
            self._look_at_the_ledger()
            time.sleep(0.02)
        return until()

    def settle(self, for_s):
        """Mend everything, and let the fleet finish its work."""
        while self._later:
            self.live(0.1)
        self.network.weather, self.network.cut, self.cloudwatch.cut = FAIR, False, False
        self.aws.mend()
        return self.live(for_s, until=self._is_done)

    def _is_done(self):
        self._hasten()
        return not self.sqs.bodies()

    def _hasten(self):
        """A backoff that is longer than any lease need not be waited for."""
        soon = time.monotonic() + VISIBILITY_S
        with self.sqs._changed:
            for held in self.sqs.queues["jobs"].messages:
                if held.visible_at > soon + 1.0:
                    held.visible_at = soon
            self.sqs._changed.notify_all()

    def _replace_the_dead(self):
        for place, worker in enumerate(self.workers):
            if worker.process.poll() is not None:
                status = worker.status()
                if not self._was_to_end(worker, status):
                    self.faults.append(f"{worker.name} left with status {status}: {worker.lines[-5:]}")
                if status != -signal.SIGKILL:
                    self.faults += worker.wrong_in_its_metrics(was_full=bool(self.mute[worker.name]))
                worker.disk.close()
                self.workers[place] = self._start(place)

    def _was_to_end(self, worker, status):
        if worker.name in self._told_to_leave:
            # A second TERM may find nobody at home any more, when all is said and done.
            was_done = worker.said("leaving") or self.mute[worker.name]
            return status == 0 or (status == -signal.SIGTERM and was_done)
        return status == -signal.SIGKILL and worker.name in self.killed

    # ---- what befalls it

    def befall(self, name):
        self.befallen[name] += 1
        getattr(self, name)()

    def kill(self):
        worker = self._victim()
        self.killed[worker.name] = time.monotonic()
        worker.process.kill()

    def leave(self):
        """A stop, and soon another one that ends its jobs."""
        self._send_away(self._victim())

    def leave_on_a_full_disk(self):
        """What outlives a worker of its metrics finds no room, nor does what it says meanwhile."""
        worker = self._victim()
        self._fill_disk(worker)
        self._send_away(worker)

    def _send_away(self, worker):
        self._told_to_leave.add(worker.name)
        worker.signal(signal.SIGTERM)
        self._in(0.5, lambda: self._signal(worker, signal.SIGTERM))

    def stand_still(self):
        """A machine is paused beyond the leases of its jobs, as a hypervisor may do."""
        worker = self._victim()
        self._hurt(worker)
        self._signal(worker, signal.SIGSTOP)
        jobs = _descendants(worker.process.pid)
        for pid in jobs:
            _send(pid, signal.SIGSTOP)
        self._hurt(worker)  # In between a job may have ended: this process may have waited for a processor.
        began_at = time.monotonic()
        self._in(VISIBILITY_S + 1.5, lambda: self._go_on(worker, jobs, began_at))

    def hang(self):
        """A daemon stands still beyond its leases, and nothing else does: its jobs must not outlast them."""
        worker, began_at = self._begins_a_long_job(), time.monotonic()
        self._hurt(worker)
        self._signal(worker, signal.SIGSTOP)

        def wake():
            self._signal(worker, signal.SIGCONT)
            self.deaf[worker.name].append((began_at, time.monotonic()))

        self._in(VISIBILITY_S + 1.5, wake)

    def _begins_a_long_job(self):
        """A fresh worker with a job that would still run when another is given its message."""
        for _ in range(20):
            begun_by = self._begun_by(self._send("long"))
            if found := [worker for worker in self._fresh() if worker.name in begun_by]:
                return found[0]
        return self._victim()

    def _begun_by(self, message_id):
        """The names of those whose job for this message has said itself that it is there."""

        def names():
            return {entry.worker for entry in self._entries() if entry.message_id == message_id}

        assert self.live(30.0, until=names), "nobody begins a job"
        return names()

    def _go_on(self, worker, jobs, began_at):
        """The daemon first: how far a job comes in the same instant is the scheduler's secret."""
        fenced = [pid for pid in jobs if pid in _descendants(worker.process.pid) and _is_job(pid)]
        self._signal(worker, signal.SIGCONT)
        if worker.process.poll() is None:
            eventually(lambda: not any(_is_job(pid) for pid in fenced))
        for pid in jobs:
            _send(pid, signal.SIGCONT)
        self.still[worker.name].append((began_at, time.monotonic()))

    def foul_weather(self):
        self.network.weather = FOUL
        self._in(3.0, lambda: setattr(self.network, "weather", FAIR))

    def cut_off(self):
        self.network.cut = True
        self._in(0.7, lambda: setattr(self.network, "cut", False))

    def throttle(self):
        self._sqs_answers("ThrottlingException", 0.7)

    def outage(self):
        self._sqs_answers("ServiceUnavailable", 1.0)

    def expired_credentials(self):
        self._sqs_answers("ExpiredTokenException", 1.0)

    def _sqs_answers(self, code, probability):
        self.aws.answer_with(code, probability)
        self._in(0.8, self.aws.mend)

    def no_cloudwatch(self):
        self.cloudwatch.cut = True
        self._in(2.0, lambda: setattr(self.cloudwatch, "cut", False))

    def full_disk(self):
        """Neither its log can be written nor, with CloudWatch down, the output of its jobs."""
        worker = self._victim()
        full = self._fill_disk(worker)

        def empty():
            worker.disk.empty()
            self.mute[worker.name].remove(full)
            self.mute[worker.name].append((full[0], time.monotonic()))

        self._in(1.5, empty)

    def _fill_disk(self, worker):
        full = (time.monotonic(), inf)
        self.mute[worker.name].append(full)
        if worker.disk.is_real:
            worker.disk.fill()
        else:
            # The same refusals (EFBIG), but the jobs that it starts meanwhile suffer them, too.
            self._limit(worker, resource.RLIMIT_FSIZE, 0)
        return full

    def clock_step(self):
        """SQS's, as all workers see it, or one worker's own."""
        step_s = self.random.choice((-86_400.0, -60.0, 60.0, 86_400.0))
        if self.random.random() < 0.5:
            self.sqs.clock_offset_s = self.random.choice((0.0, step_s))
        else:
            (self._victim().directory / "clock").write_text(str(step_s))

    def no_processes(self):
        """Neither a job nor a thread can be started."""
        try:
            limit = ProcessLimit(self._victim().process.pid)
        except OSError:
            self.no_descriptors()
        else:
            self._in(1.5, limit.lift)

    def no_descriptors(self):
        """Nothing can be started, and nothing opened."""
        worker = self._victim()
        in_use = max(map(int, _names(f"/proc/{worker.process.pid}/fd")), default=0)
        self._limit(worker, resource.RLIMIT_NOFILE, in_use + self.random.randint(0, 4))

    def no_memory(self):
        worker = self._victim()
        size = int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
        self._limit(worker, resource.RLIMIT_AS, size + 1_000_000)

    def _limit(self, worker, kind, soft):
        _, hard = resource.prlimit(worker.process.pid, kind)
        resource.prlimit(worker.process.pid, kind, (soft, hard))
        self._in(1.5, lambda: self._unlimit(worker, kind, hard))

    def _unlimit(self, worker, kind, hard):
        if worker.process.poll() is None:
            resource.prlimit(worker.process.pid, kind, (hard, hard))

    def _victim(self):
        """A worker that nothing has befallen yet. The first one is spared, to see how it ages."""
        for _ in range(30):
            if self.live(1.0, until=self._at_work):
                break
            self.send(len(self.workers))  # One may have had it all.
        return self.random.choice(self._fresh() or self._at_work())

    def _fresh(self):
        return [
            worker
            for worker in self._at_work()
            if not self.hurt[worker.name]
            and not self.mute[worker.name]
            and worker.name not in self._told_to_leave
            and worker.name not in self.killed
        ]

    def _at_work(self):
        """One that cannot even start its threads leaves at once, and systemd starts another."""
        others = [worker for worker in self.workers if not worker.lasting]
        return [worker for worker in others if worker.process.poll() is None and worker.said("run started")]

    def _hurt(self, worker):
        self.hurt[worker.name].append(time.monotonic())

    def _in(self, seconds, act):
        self._later.append((time.monotonic() + seconds, act))

    @staticmethod
    def _signal(worker, number):
        if worker.process.poll() is None:
            worker.process.send_signal(number)

    # ---- what is to be seen of it

    def sample(self):
        for worker in self.workers:
            pid = worker.process.pid
            # A dying process has no VmRSS any more.
            with contextlib.suppress(OSError, KeyError):
                status = dict(
                    line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                )
                self.samples.append(
                    Sample(
                        time.monotonic(),
                        worker.name,
                        int(status["VmRSS"].split()[0]) * 1024,
                        len(_names(f"/proc/{pid}/fd")),
                        int(status["Threads"]),
                        sum(_state(child) == "Z" for child in _children(pid)),
                    )
                )

    def facts(self):
        for worker in self._all:
            self.faults += worker.wrong_in_its_log(was_full=bool(self.mute[worker.name]))
        return Facts(
            kinds=self.kinds,
            entries=self._entries(),
            lives={
                each.name: Life(
                    tuple(self.hurt[each.name]),
                    self.killed.get(each.name, inf),
                    tuple(self.still[each.name]),
                    tuple(self.deaf[each.name]),
                    tuple(self.mute[each.name]),
                    self._undeleted(each),
                )
                for each in self._all
            },
            deleted=[held.id for held in self.sqs.queues["jobs"].deleted],
            left=[held.id for held in self.sqs.queues["jobs"].messages],
            dead={
                self._bodies[held.body]: {
                    name.removeprefix("Observerd"): each["StringValue"]
                    for name, each in held.attributes.items()
                }
                for held in self.sqs.queues["dead"].messages
            },
        )

    def _entries(self):
        self._look_at_the_ledger()
        try:
            return read(self.ledger, self._key)
        except Tampered as fault:
            self.faults.append(str(fault))
            return []

    def _look_at_the_ledger(self):
        try:
            self._notary.look()
        except Tampered as fault:
            self.faults.append(str(fault))

    @staticmethod
    def _undeleted(worker):
        return frozenset(
            line["message_id"] for line in worker.said("run ended") if line["settled"] != "deleted"
        )

    def jobs_left(self):
        return [pid for pid in map(int, filter(str.isdigit, _names("/proc"))) if _is_job(pid, self.ledger)]


def _is_job(pid, ledger=""):
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False
    return str(LEDGER_PROGRAM) in command and str(ledger) in command and _state(pid) != "Z"


def _state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "X"


def _descendants(pid):
    found = []
    for child in _children(pid):
        found += [child, *_descendants(child)]
    return found


def _children(pid):
    found = []
    with contextlib.suppress(OSError):
        for task in _names(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def _names(directory):
    try:
        return os.listdir(directory)  # noqa: PTH208 the names, at once: they vanish meanwhile
    except OSError:
        return []


def _send(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
