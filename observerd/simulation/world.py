"""A whole history: one plan, one design, all the parts on one clock, and the promises held against it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import inf

from observerd.core.consumer import Consumer
from observerd.core.events import Attribute, Message
from observerd.core.request import instant_text
from observerd.core.run import Run as CoreRun
from observerd.simulation.books import Books, Broken, Run
from observerd.simulation.clock import Clock, Line
from observerd.simulation.cloudwatch import MINUTE_S, Metrics, Watch
from observerd.simulation.crontab import Schedule
from observerd.simulation.faults import OUTSIDE, Fault, Plan
from observerd.simulation.figures import Figures
from observerd.simulation.group import ZONES, Group, Instance, Rules, Software, State
from observerd.simulation.jobs import BAD, USUAL, WELL, Behaviour, Health, behaviour, job_of
from observerd.simulation.producer import Producer
from observerd.simulation.queue import Queue, Stored
from observerd.simulation.runner import Surroundings
from observerd.simulation.stack import Alarm, Point, Stack, alarms
from observerd.simulation.wire import Refusal, Troubles, Wire
from observerd.simulation.worker import MakeConsumer, Worker

# When the last schedule has fired, what is left has a day and a bit to come to its end in.
CALM_S = 100_000.0
# Beyond the metrics' delay: a minute for the point, one for its arrival, one for the alarm.
WAKE_MARGIN_S = 180.0
# The daemon is up and asks again every few seconds; in trouble it asks after ten minutes at last, and the
# longest trouble lasts an hour.
PROTECTION_S, TROUBLED_PROTECTION_S = 60.0, 5_000.0
# In a time of late metrics.
LATE_METRICS_S = 300.0
# A message that meets an exit is sent while the request to terminate travels, or about the last look.
AT_ONCE_S, AROUND_THE_LOOK_S = 0.2, 30.0


@dataclass(frozen=True, slots=True)
class History:
    """What became of one plan in one design."""

    plan: Plan
    runs: tuple[Run, ...]
    instance_s: float
    """Instance-seconds, as billed."""
    launches: int
    desired_changes: int
    timeline: tuple[Line, ...]
    lifetimes: tuple[tuple[float, float], ...]
    """Of each instance: from and until."""
    broken: Broken | None = None


class World:
    """Our design. seed.py has the other."""

    strict = True
    fifo = True

    def __init__(
        self,
        plan: Plan,
        figures: Figures | None = None,
        stack: Stack | None = None,
        make_consumer: MakeConsumer = Consumer,
    ) -> None:
        self.plan = plan
        self.figures = figures or Figures()
        self.stack = stack or self._stack()
        self.clock = Clock(plan.start)
        self.troubles = Troubles()
        self.books = Books(self.clock, self.strict, self.stack.max_lateness_s)
        self.jobs = {
            line.job: job_of(line.job, plan.job_s, self.stack.max_lateness_s) for line in plan.schedules
        }
        self.bad_jobs = 0
        self.late_metrics = 0
        self.meets_exits = 0
        self.make_consumer = make_consumer
        self.queue = self._queue()
        self.group = self._group()
        self.producer = self._producer()
        self._surroundings = Surroundings(
            self.clock, self.books, self.stack, self.figures.spot_notice_s, self.figures.metadata_lag_s,
            self.queue, plan.draw("workers"), self.jobs, self._behave, self._bury, self.troubles,
            self._gives_up,
        )  # fmt: skip
        self.metrics = Metrics()
        self.watches = [Watch(self.clock, alarm, partial(self._act, alarm)) for alarm in self.alarms()]
        self._metric_draw = plan.draw("metrics")
        self._ticking = False
        self._unattended_since: float | None = None
        self._waiting_since: float | None = None
        self._grown_at = 0.0
        self._queue_delay_s, self._delay_of = 0.0, 0.0

    def play(self) -> History:
        """The history, to its end or to the first promise broken."""
        for moment, line in self.plan.due():
            self.clock.at(moment, self.producer.due, line, instant_text(moment))
        for fault in self.plan.faults:
            self.clock.at(self.plan.start + fault.at, self._strike, fault)
        broken = None
        try:
            self.clock.run(self.plan.end + CALM_S)
            self.books.close()
        except Broken as fault:
            broken = fault
            self.clock.note("PROMISE", str(fault))
        return self._history(broken)

    # ---- the parts

    def alarms(self) -> tuple[Alarm, ...]:
        return alarms(self.stack)

    def install(self, instance: Instance) -> Software:
        wire = self._wire("instance", instance.id)
        return Worker(self._surroundings, self.group, instance, wire, self.make_consumer)

    def _queue(self) -> Queue:
        return Queue(
            self.clock, self.figures, self.books, self.plan.draw("queue"), self.fifo, self.stack.retention_s,
            self.stack.max_receive_count if self.fifo else None, self.stir,
        )  # fmt: skip

    def _stack(self) -> Stack:
        return replace(Stack(), slots=self.plan.slots)

    def _rules(self) -> Rules:
        return Rules(self.stack.max_size, self.stack.hook_timeout_s)

    def _group(self) -> Group:
        return Group(
            self.clock, self.figures, self.books, self.plan.draw("group"), self._rules(), self.install,
            self.protects_within_s(), self._waits_s, self.stir,
        )  # fmt: skip

    def _producer(self) -> Producer:
        return Producer(
            self.clock, self.figures, self.stack, self.books, self.plan.draw("producer"),
            self._wire("producer"), self.queue, self.group,
        )  # fmt: skip

    def _wire(self, *names: object) -> Wire:
        return Wire(self.clock, self.figures, self.plan.draw("wire", *names), self.troubles)

    def _behave(self, run: CoreRun) -> Behaviour:
        draw = self.plan.draw("job", run.request.run_id, run.message.receive_count)
        return behaviour(draw, self.plan.job_s, self.health())

    def health(self) -> Health:
        """How the jobs are that begin now."""
        if self.bad_jobs:
            return BAD
        return USUAL if self.plan.jobs_fail else WELL

    def _bury(self, message: Message, facts: Mapping[str, Attribute]) -> None:
        self.books.buried(message, facts)

    def _gives_up(self) -> None:
        """A worker begins to give itself up; the worst moment for a message to be sent."""
        if self.meets_exits:
            self.meets_exits -= 1
            draw = self.plan.draw("meets", self.clock.now)
            within_s = draw.choice((AT_ONCE_S, AROUND_THE_LOOK_S))
            for line in draw.choices(self.plan.schedules, k=draw.choice((1, 1, 3))):
                self.clock.after(draw.uniform(0.0, within_s), self._send_by_hand, line)

    def _send_by_hand(self, line: Schedule) -> None:
        instant = instant_text(self.clock.now)
        if not self.books.is_due(line.job, instant):
            self.producer.send_now(line, instant)

    # ---- every minute in which there is something to see

    def stir(self) -> None:
        if not self._ticking:
            self._ticking = True
            minute = int(self.clock.now // MINUTE_S)
            self.clock.at((minute + 1) * MINUTE_S, self._tick)

    def _tick(self) -> None:
        minute = int(self.clock.now // MINUTE_S)
        self._record(minute - 1)
        for watch in self.watches:
            watch.evaluate(self.metrics, minute)
        self._check_instances()
        self._check_messages()
        if (
            self.queue.stored
            or self.group.desired
            or self.group.alive()
            or any(w.is_red for w in self.watches)
        ):
            self.clock.after(MINUTE_S, self._tick)
        else:
            self._ticking = False

    def _record(self, minute: int) -> None:
        point = Point(
            self.queue.waiting(), self.queue.in_flight(), self.group.desired, self.group.in_service()
        )
        self.metrics.put(minute, point, self._known_at())

    def _known_at(self) -> float:
        """When CloudWatch has the point of the minute that has just passed."""
        woken_at = self.queue.awake_since
        if woken_at != self._delay_of:
            self._delay_of = woken_at
            self._queue_delay_s = self._metric_draw.uniform(0.0, self.figures.metric_delay_s)
        if self.clock.now - self.queue.active_at > self.figures.queue_sleeps_after_s:
            return inf
        late_s = self._metric_draw.uniform(0.0, self.figures.metric_lag_s)
        late_s += self._metric_draw.uniform(60.0, LATE_METRICS_S) if self.late_metrics else 0.0
        return max(self.clock.now + late_s, woken_at + self._queue_delay_s)

    def _act(self, alarm: Alarm) -> None:
        """The scaling policy of a red alarm."""
        if alarm.name == "Grow":
            self._grow()
        else:
            self.group.scale(1 if alarm.name == "Wake" else 0, alarm.name)

    def _grow(self) -> None:
        """By one, or by three where far more wait than allowed; not while the last ones still warm up."""
        if self.clock.now - self._grown_at < self.stack.warm_up_s:
            return
        over = self.queue.waiting() / max(1, self.group.desired) - self.stack.backlog_per_worker
        wanted = self.group.desired + (3 if over > 10 else 1)  # noqa: PLR2004 GrowPolicy's second step
        if self.group.desired < self.stack.max_size:
            self._grown_at = self.clock.now
            self.group.scale(wanted, "Grow")

    # ---- the promises that time alone may break

    def _check_instances(self) -> None:
        now, bound_s = self.clock.now, self.outlives_s()
        for instance in self.group.alive():
            if instance.software.works() or instance.left_to_people or self._is_kept(instance):
                instance.workless_since = now
            elif self.strict and now - instance.workless_since > bound_s:
                raise Broken(
                    "outlives", f"{instance.id} has had no work for {bound_s:.0f} s and is still there"
                )

    def _is_kept(self, instance: Instance) -> bool:
        """Whether it stays without work: because people want it, or for what waits behind running jobs."""
        return self.group.rules.min_size > 0 or instance.state is State.STANDBY or self.queue.waiting() > 0

    def _check_messages(self) -> None:
        now = self.clock.now
        waiting = self.queue.takeable()
        self._waiting_since = None if waiting is None else waiting.visible_at
        if waiting is None or self.group.someone_is_awake() or self._is_left_to_people():
            self._unattended_since = None
            return
        if self._unattended_since is None:
            self._unattended_since = now
            self._check_relied(waiting)
        elif self.strict and now - self._unattended_since > self.unattended_s():
            raise Broken("unattended", f"{waiting.id} has waited for {now - self._unattended_since:.0f} s")

    def _is_left_to_people(self) -> bool:
        return any(each.left_to_people for each in self.group.alive())

    def _check_relied(self, waiting: Stored) -> None:
        """A worker that dies may leave what its producer relied on; one that leaves may not."""
        none_dies = OUTSIDE.issuperset(fault.kind for fault in self.plan.faults)
        if self.strict and none_dies and self.books.relies(waiting.id) and not self._was_let_go(waiting):
            raise Broken("relied", f"{waiting.id} waits, and the last worker has left")

    def _was_let_go(self, waiting: Stored) -> bool:
        """A last look ends after the drain limit, even if what failed in it is still to come back."""
        return any(
            (each.gone_at or self.clock.now) > waiting.sent_at
            and (each.gone_at or self.clock.now) - each.hook_began_at > self.stack.drain_timeout_s
            for each in self.group.instances
            if each.hook_began_at
        )

    def outlives_s(self) -> float:
        """The idle time, an hour of the Leak alarm behind the metrics' delay, and the hook."""
        leak_s = 3_600.0 + self.figures.metric_delay_s + WAKE_MARGIN_S
        return self.stack.idle_timeout_s + leak_s + self.stack.hook_timeout_s

    def unattended_s(self) -> float:
        # A point that is later than an alarm looks back is seen by none, so the whole fault may be blind.
        late_s = sum(
            fault.for_s + LATE_METRICS_S for fault in self.plan.faults if fault.kind == "late-metrics"
        )
        return self.figures.metric_delay_s + WAKE_MARGIN_S + late_s

    def protects_within_s(self) -> float | None:
        """A minute, or what an Auto Scaling or a daemon in trouble makes of it."""
        if not self.strict:
            return None
        return TROUBLED_PROTECTION_S if self.plan.faults else PROTECTION_S

    def _waits_s(self) -> float | None:
        waiting = self.queue.takeable()
        return None if waiting is None else self.clock.now - max(waiting.visible_at, waiting.sent_at)

    # ---- what goes wrong

    def _strike(self, fault: Fault) -> None:
        self.clock.note("FAULT", str(fault))
        FAULTS[fault.kind](self, fault)

    def lasting(self, fault: Fault, begin: Callable[[], None], end: Callable[[], None]) -> None:
        begin()
        self.clock.after(fault.for_s, end)

    def instance(self, fault: Fault) -> Instance | None:
        alive = self.group.alive()
        return alive[fault.where % len(alive)] if alive else None

    # ---- the end

    def _history(self, broken: Broken | None) -> History:
        lifetimes = tuple((each.launched_at, each.gone_at or self.clock.now) for each in self.group.instances)
        billed = sum(max(self.figures.billed_at_least_s, until - since) for since, until in lifetimes)
        return History(
            self.plan, tuple(self.books.runs.values()), billed, len(lifetimes), self.group.desired_changes,
            tuple(self.clock.history), lifetimes, broken,
        )  # fmt: skip


# ---- what each kind of fault does


def _service(service: str, *, hangs: bool = False) -> Callable[[World, Fault], None]:
    def strike(world: World, fault: Fault) -> None:
        broken = world.troubles.hangs if hangs else world.troubles.down
        world.lasting(fault, lambda: broken.add(service), lambda: broken.discard(service))

    return strike


def _counted(owner: Callable[[World], object], name: str) -> Callable[[World, Fault], None]:
    """A trouble that several faults may bring at once."""

    def strike(world: World, fault: Fault) -> None:
        def add(step: int) -> None:
            setattr(owner(world), name, getattr(owner(world), name) + step)

        world.lasting(fault, lambda: add(1), lambda: add(-1))

    return strike


def _switched(owner: Callable[[World], object], name: str) -> Callable[[World, Fault], None]:
    def strike(world: World, fault: Fault) -> None:
        world.lasting(
            fault, lambda: setattr(owner(world), name, True), lambda: setattr(owner(world), name, False)
        )

    return strike


def _lose_zone(world: World, fault: Fault) -> None:
    zone = ZONES[fault.where % len(ZONES)]
    world.lasting(fault, lambda: world.group.lose_zone(zone), lambda: world.group.lost_zones.discard(zone))


def _slow_boot(world: World, fault: Fault) -> None:
    world.group.slow_boots += 1
    world.group.slow_boot_s = fault.for_s


def _spot(world: World, fault: Fault) -> None:
    if instance := world.instance(fault):
        instance.software.taken_back()
        world.clock.after(world.figures.spot_notice_s, world.group.interrupt, instance)


def _rebalance(world: World, fault: Fault) -> None:
    if instance := world.instance(fault):
        instance.software.rebalance()


def _hardware(world: World, fault: Fault) -> None:
    if instance := world.instance(fault):
        world.group.lose(instance, "its hardware failed")


def _partition(world: World, fault: Fault) -> None:
    if instance := world.instance(fault):
        wire = instance.software.wire
        world.lasting(fault, lambda: setattr(wire, "cut", True), lambda: setattr(wire, "cut", False))


def _crash(world: World, fault: Fault) -> None:
    if instance := world.instance(fault):
        instance.software.crash()


def _crash_loop(world: World, fault: Fault) -> None:
    if instance := world.instance(fault):
        instance.software.crash(for_good=True)


def _hang(world: World, fault: Fault) -> None:
    if instance := world.instance(fault):
        instance.software.hang(fault.for_s)


def _never_ready(world: World, _: Fault) -> None:
    world.group.duds += 1


def _ended_by_hand(world: World, fault: Fault) -> None:
    if instance := world.instance(fault):
        _by_hand(lambda: world.group.terminate(instance, "a person", decrement=False))


def _shrunk_by_hand(world: World, _: Fault) -> None:
    _by_hand(lambda: world.group.set_desired(0, "a person"))


def _by_hand(act: Callable[[], None]) -> None:
    try:
        act()
    except Refusal:
        return  # The person sees it and shrugs.


def _message_at_exit(world: World, fault: Fault) -> None:
    world.meets_exits += 1 + fault.where % 3


def _given_up_by_hand(world: World, fault: Fault) -> None:
    if instance := world.instance(fault):
        instance.software.terminate()


def _standby_by_hand(world: World, fault: Fault) -> None:
    """What does not fit in again afterwards is ended."""
    if instance := world.instance(fault):
        decrement = bool(fault.where % 2)

        def back() -> None:
            _by_hand(lambda: world.group.exit_standby(instance))
            if instance.state is State.STANDBY:
                _by_hand(lambda: world.group.terminate(instance, "a person", decrement=False))

        world.lasting(
            fault, lambda: _by_hand(lambda: world.group.enter_standby(instance, decrement=decrement)), back
        )


def _minimum_by_hand(world: World, fault: Fault) -> None:
    world.lasting(fault, lambda: world.group.set_minimum(1), lambda: world.group.set_minimum(0))


def _hook_deleted(world: World, fault: Fault) -> None:
    def put(timeout_s: float | None) -> None:
        world.group.rules.hook_timeout_s = timeout_s

    world.lasting(fault, lambda: put(None), lambda: put(world.stack.hook_timeout_s))


def _restarted_by_hand(world: World, fault: Fault) -> None:
    if instance := world.instance(fault):
        instance.software.restart()


def _reloaded_by_hand(world: World, fault: Fault) -> None:
    if instance := world.instance(fault):
        instance.software.reload()


def _drained_by_hand(world: World, fault: Fault) -> None:
    if instance := world.instance(fault):
        instance.software.drain()


FAULTS: dict[str, Callable[[World, Fault], None]] = {
    "queue-down": _service("queue"),
    "queue-hangs": _service("queue", hangs=True),
    "slow-calls": _counted(lambda world: world.troubles, "slow"),
    "lost-answers": _counted(lambda world: world.troubles, "lossy"),
    "empty-answers": _switched(lambda world: world.queue, "empty_answers"),
    "group-down": _service("group"),
    "group-hangs": _service("group", hangs=True),
    "give-up-denied": _counted(lambda world: world.troubles, "denies_give_up"),
    "metadata-silent": _counted(lambda world: world.troubles, "silent_metadata"),
    "message-at-exit": _message_at_exit,
    "wake-fails": _switched(lambda world: world.producer, "cannot_wake"),
    "producer-fails": _switched(lambda world: world.producer, "fails"),
    "fires-twice": _switched(lambda world: world.producer, "fires_twice"),
    "late-metrics": _counted(lambda world: world, "late_metrics"),
    "launch-fails": _switched(lambda world: world.group, "launch_fails"),
    "zone-lost": _lose_zone,
    "dead-letter-denied": _service("dead-letter"),
    "spot": _spot,
    "rebalance": _rebalance,
    "hardware": _hardware,
    "partition": _partition,
    "slow-boot": _slow_boot,
    "never-ready": _never_ready,
    "crash": _crash,
    "hang": _hang,
    "crash-loop": _crash_loop,
    "bad-jobs": _counted(lambda world: world, "bad_jobs"),
    "ended-by-hand": _ended_by_hand,
    "given-up-by-hand": _given_up_by_hand,
    "standby-by-hand": _standby_by_hand,
    "minimum-by-hand": _minimum_by_hand,
    "hook-deleted": _hook_deleted,
    "shrunk-by-hand": _shrunk_by_hand,
    "restarted-by-hand": _restarted_by_hand,
    "reloaded-by-hand": _reloaded_by_hand,
    "drained-by-hand": _drained_by_hand,
}
