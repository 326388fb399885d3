"""One instance with the daemon on it: service.py, systemd, instance.py, and the core itself."""

from collections.abc import Callable
from typing import Any

from observerd.core.consumer import EX_CONFIG, EX_OK, Consumer, Limits
from observerd.core.events import (
    Count,
    Counted,
    Discard,
    DrainRequested,
    End,
    Event,
    Exit,
    Extend,
    Extended,
    Finished,
    GaveUp,
    GiveUp,
    GiveUpAnswer,
    Held,
    Hold,
    Ignore,
    Message,
    Order,
    Poll,
    Protect,
    ProtectAnswer,
    Protected,
    RebalanceRecommended,
    Received,
    ReceiveFailed,
    ReceiveFault,
    Release,
    Released,
    Reload,
    Reloaded,
    ReloadRequested,
    Shrink,
    SpotNoticed,
    Start,
    StopRequested,
    TargetState,
    TargetStateChanged,
    TimeUp,
)
from observerd.simulation.group import Group, Instance, State
from observerd.simulation.queue import Refused
from observerd.simulation.runner import SETTLE, Life, Surroundings
from observerd.simulation.stack import Stack
from observerd.simulation.wire import Limit, NoAnswer, Refusal, Wire

# observerd/aws.py: what each client waits for an answer, and how often it asks.
POLL, EXTEND, GROUP = Limit(30.0), Limit(5.0), Limit(5.0)
# observerd/core/job.py's default grace, and its GRACE_MARGIN_S.
GRACE_S = 35.0
# The warden, or systemd: a job outlives its daemon by this much.
ORPHAN_S = 0.2
# The Stalled alarm has rung after twenty minutes, and somebody has got up.
PERSON_S = 3_600.0
# observerd/metadata.py: how often the instance metadata is looked at, and what it is waited for.
LOOK_EVERY_S, METADATA_S = 5.0, 3.0
# A daemon in a crash loop lives this long.
LOOP_LIFE_S = 3.0

MakeConsumer = Callable[[Limits, float, float], Consumer]


def limits_of(stack: Stack) -> Limits:
    """What assembly.limits_of makes of the template's configuration."""
    return Limits(
        slots=stack.slots,
        receive_at_most=1,
        visibility_timeout_s=stack.visibility_timeout_s,
        idle_timeout_s=stack.idle_timeout_s,
        drain_timeout_s=stack.drain_timeout_s,
        grace_s=GRACE_S,
        gives_up=True,
        hooked=True,
        protects=True,
    )


class Worker:
    """What runs on one instance. Implements group.Software."""

    def __init__(
        self,
        world: Surroundings,
        group: Group,
        instance: Instance,
        wire: Wire,
        make_consumer: MakeConsumer,
    ) -> None:
        self.wire = wire
        self.never_ready = False
        self._world = world
        self._clock = world.clock
        self._group = group
        self._instance = instance
        self._make_consumer = make_consumer
        self._consumer: Consumer | None = None
        self._lives: dict[str, Life] = {}
        self._inbox: list[Event] = []
        self._age = 0
        """Counts the daemons of this instance: what was meant for an earlier one reaches nobody."""
        self._wake_at: float | None = None
        self._starts: list[float] = []
        self._restarting = False
        self._loops = False
        self._hung = 0
        self._leaves = False
        self._gone_at: float | None = None
        self._rebalance = False
        self._heard: set[str] = set()
        """What this daemon has been told of the metadata, its state apart."""
        self._state: TargetState | None = None
        """What this daemon was last told of that."""
        self._knows_itself = False
        """Whether this daemon has ever read the instance's id."""
        self._back_at = 0.0
        # A monotonic clock counts from the boot, and no clock of the world's reads the same.
        self._offset_s = instance.launched_at - 100.0

    # ---- what the group does

    def boot(self) -> None:
        if self.never_ready:
            self._clock.note(self._instance.id, "booted, but the daemon does not come up")
        else:
            self._start()

    def in_service(self) -> None:
        """Nobody tells the instance: it has to ask."""

    def brought_to_another_state(self) -> None:
        lag_s = self._world.draw.uniform(0.0, self._world.metadata_lag_s)
        self._clock.after(lag_s, self._look_soon)

    def taken_back(self) -> None:
        self._gone_at = self._clock.now + self._world.spot_notice_s
        self._look_soon()

    def rebalance(self) -> None:
        self._rebalance = True
        self._look_soon()

    def shut_down(self) -> None:
        self._leaves = True
        if self._consumer is not None:
            self._tell(StopRequested("SIGTERM"))

    def die(self) -> None:
        self._leaves = True
        self._stop_process()
        for life in self._lives.values():
            life.kill()
        self._lives.clear()

    def serves(self) -> bool:
        if self._leaves or self._instance.state in (State.STANDBY, State.ENDING, State.GONE):
            return False
        coming = not self._instance.runs and not self.never_ready
        return coming or self._restarting or (self._consumer is not None and self._consumer.phase == 0)

    def works(self) -> bool:
        return bool(self._lives) or self._clock.now < self._back_at

    # ---- what befalls it

    def crash(self, *, for_good: bool = False) -> None:
        """The daemon is killed; systemd starts it again."""
        self._loops = self._loops or for_good
        if self._consumer is not None:
            self._clock.note(self._instance.id, "the daemon is killed")
            self._stop_process()
            self._orphan_lives()
            self._restart()

    def hang(self, seconds: float) -> None:
        """The main thread stands still; the watchdog bites when it has not been fed for long enough."""
        if self._consumer is None:
            return
        self._clock.note(self._instance.id, f"the daemon hangs for {seconds:.0f} s")
        self._hung += 1
        fed_s = self._world.draw.uniform(0.0, self._world.stack.watchdog_s / 2)
        age = self._age
        self._clock.after(self._world.stack.watchdog_s - fed_s, self._bite, age)
        self._clock.after(seconds, self._go_on, age)

    def restart(self) -> None:
        """Systemctl restart: TERM, then a new one."""
        if self._consumer is not None:
            self._restarting = True
            self._tell(StopRequested("SIGTERM"))

    def reload(self) -> None:
        self._tell(ReloadRequested())

    def drain(self) -> None:
        self._tell(DrainRequested("a person"))

    def terminate(self) -> None:
        """As `observerd terminate`: a daemon that runs finishes its jobs and completes the hook."""
        runs = self._consumer is not None
        self._call_group(
            lambda: self._terminate("a person", Shrink.IF_ALLOWED),
            lambda _: None if runs else self._complete(),
            lambda _: None,
        )

    # ---- the watch on the instance metadata

    def _look_soon(self) -> None:
        self._clock.after(self._world.draw.uniform(0.0, LOOK_EVERY_S), self._look, self._age)

    def _look(self, age: int) -> None:
        """Tell what is new, the most urgent first; to a daemon that has just started all of it is."""
        if age != self._age:
            return
        if self._world.troubles.silent_metadata:
            self._clock.after(LOOK_EVERY_S, self._look, age)
            return
        self._knows_itself = True
        for name, event in self._notices().items():
            if name not in self._heard:
                self._heard.add(name)
                self._tell(event)
        state, self._state = self._state, self._target_state()
        if age == self._age and state is not self._state:
            self._tell(TargetStateChanged(self._state))

    def _notices(self) -> dict[str, Event]:
        known: dict[str, Event] = {}
        if self._gone_at is not None:
            known["spot"] = SpotNoticed("terminate", max(0.0, self._gone_at - self._clock.now))
        if self._rebalance:
            known["rebalance"] = RebalanceRecommended()
        return known

    def _target_state(self) -> TargetState:
        match self._instance.state:
            case State.WAITING | State.ENDING:
                return TargetState.TERMINATED
            case State.STANDBY:
                return TargetState.STANDBY
        return TargetState.IN_SERVICE

    # ---- the process

    def _start(self) -> None:
        if self._leaves:
            return
        self._restarting = False
        self._age += 1
        self._starts.append(self._clock.now)
        self._clock.note(self._instance.id, "the daemon starts")
        self._consumer = self._make_consumer(limits_of(self._world.stack), self._mono(), self._jitter())
        if self._loops:
            self._clock.after(LOOP_LIFE_S, self._loop_on, self._age)
        self._heard.clear()
        self._state, self._knows_itself = None, False
        self._handle(TimeUp())
        self._look_soon()

    def _loop_on(self, age: int) -> None:
        if age == self._age:
            self.crash()

    def _stop_process(self) -> None:
        self._age += 1
        self._consumer = None
        self._wake_at = None
        self._inbox.clear()
        self._hung = 0

    def _restart(self) -> None:
        stack, now = self._world.stack, self._clock.now
        recent = [at for at in self._starts if now - at < stack.starts_within_s]
        if self._leaves:
            return
        if len(recent) >= stack.starts_at_most:
            self._fail()
        else:
            self._restarting = True
            self._clock.after(stack.restart_s, self._start)

    def _fail(self) -> None:
        """OnFailure=: the instance is ended from outside."""
        self._leaves = True
        self._clock.note(self._instance.id, "the daemon is given up by systemd")
        self._end_from_outside(self._world.stack.failed_turns)

    def _end_from_outside(self, turns: int) -> None:
        if not self._instance.runs:
            return
        if not turns:
            self._clock.note(self._instance.id, "is left to people")
            self._instance.left_to_people = True
            self._clock.after(PERSON_S, self._end_by_a_person)
            return
        again_s = self._world.stack.failed_turn_s
        self._call_group(
            lambda: self._terminate("the failure unit", Shrink.IF_ALLOWED),
            lambda _: self._complete(),
            lambda _: self._clock.after(again_s, self._end_from_outside, turns - 1),
        )

    def _end_by_a_person(self) -> None:
        if self._instance.state is State.IN_SERVICE:
            self._group.terminate(self._instance, "a person", decrement=False)

    def _orphan_lives(self) -> None:
        for life in self._lives.values():
            life.orphan()
            self._clock.after(ORPHAN_S, life.kill)
        self._lives.clear()

    def _bite(self, age: int) -> None:
        if age == self._age and self._hung:
            self._clock.note(self._instance.id, "the watchdog bites")
            self.crash()

    def _go_on(self, age: int) -> None:
        if age != self._age:
            return
        self._hung -= 1
        if not self._hung:
            told, self._inbox = self._inbox, []
            for event in told:
                self._tell(event)
            self._tell(TimeUp())

    # ---- the main thread

    @property
    def _holder(self) -> str:
        """The name that the queue and the books know this daemon by."""
        return f"{self._instance.id}.{self._age}"

    def _mono(self) -> float:
        return self._clock.now - self._offset_s

    def _jitter(self) -> float:
        return self._world.draw.random()

    def _told(self, age: int) -> Callable[[Event], None]:
        """The inbox of one daemon: a later one must not hear what an earlier one asked."""

        def tell(event: Event) -> None:
            if age == self._age:
                self._tell(event)

        return tell

    def _tell(self, event: Event) -> None:
        if self._consumer is None:
            return
        if self._hung:
            self._inbox.append(event)
        else:
            self._handle(event)

    def _handle(self, event: Event) -> None:
        consumer = self._consumer
        if consumer is None:
            return
        if isinstance(event, Finished):
            del self._lives[event.message.id]
            self._back_at = max(self._back_at, self._clock.now + (event.back_in_s or 0.0))
        orders = consumer.on(event, self._mono())
        for order in orders:
            self._perform(order)
        self._arm()

    def _arm(self) -> None:
        wake_at = None if self._consumer is None else self._consumer.wake_at()
        if wake_at is not None and (self._wake_at is None or wake_at < self._wake_at):
            self._wake_at = wake_at
            self._clock.at(wake_at + self._offset_s, self._time_up, self._age, wake_at)

    def _time_up(self, age: int, wake_at: float) -> None:
        if age != self._age or wake_at != self._wake_at:
            return
        self._wake_at = None
        if self._consumer is not None and not self._hung:
            if (self._consumer.wake_at() or wake_at + 1) <= wake_at:
                # The clock may be a rounding short of the moment it was asked for.
                self._handle_at(wake_at)
            else:
                self._arm()

    def _handle_at(self, moment: float) -> None:
        consumer = self._consumer
        assert consumer is not None  # noqa: S101 the caller looked
        for order in consumer.on(TimeUp(), max(moment, self._mono())):
            self._perform(order)
        self._arm()

    # ---- the hands

    def _perform(self, order: Order) -> None:  # noqa: C901, PLR0912 a table
        match order:
            case Poll(at_most, wait_s):
                self._poll(at_most, wait_s)
            case Release(messages):
                self._release(messages, self._told(self._age))
            case Extend(leases):
                self._extend(leases)
            case Start(message):
                self._life(message).live()
            case Discard(message):
                self._life(message).discard()
            case End(message, cause, grace_s):
                self._clock.note(self._instance.id, f"tells the job of {message.id} to end: {cause.value}")
                self._lives[message.id].ring(cause, grace_s)
            case Count():
                self._count()
            case GiveUp(shrink):
                self._give_up(shrink)
            case Hold():
                self._hold()
            case Protect():
                self._protect()
            case Reload():
                self._tell(Reloaded(self._world.jobs))
            case Exit():
                self._exit(order)
            case Ignore(message, stale):
                what = "what may be another's by now," if stale else "a second delivery of"
                self._clock.note(self._instance.id, f"leaves {what} {message.id} alone")

    def _life(self, message: Message) -> Life:
        life = Life(self._world, self.wire, self._holder, message, self._told(self._age))
        self._lives[message.id] = life
        return life

    def _poll(self, at_most: int, wait_s: int) -> None:
        tell = self._told(self._age)

        queue, holder, visibility_s = self._world.queue, self._holder, self._world.stack.visibility_timeout_s
        self.wire.receive(
            lambda answer: queue.receive(holder, at_most, wait_s, visibility_s, answer),
            POLL,
            lambda messages: tell(Received(messages)),
            lambda fault: tell(ReceiveFailed(ReceiveFault.UNREACHABLE, str(fault))),
        )

    def _release(self, messages: tuple[Message, ...], tell: Callable[[Event], None]) -> None:
        """One after the other, as the receiver does it."""
        if not messages:
            tell(Released())
            return
        first, rest = messages[0], messages[1:]
        self.wire.call(
            "queue",
            Limit(10.0, 3),
            lambda: self._world.queue.change_visibility(first, 0.0),
            lambda _: self._release(rest, tell),
            lambda _: self._release(rest, tell),
        )

    def _extend(self, leases: tuple[tuple[Message, int], ...]) -> None:
        asked_at, tell = self._mono(), self._told(self._age)
        handles = tuple(message.receipt_handle for message, _ in leases)

        def ask() -> Extended:
            answers: dict[bool, list[str]] = {True: [], False: []}
            for message, seconds in leases:
                answers[self._extended(message, seconds)].append(message.receipt_handle)
            return Extended(asked_at, kept=tuple(answers[True]), refused=tuple(answers[False]))

        self.wire.call("queue", EXTEND, ask, tell, lambda _: tell(Extended(asked_at, unanswered=handles)))

    def _extended(self, message: Message, seconds: int) -> bool:
        try:
            self._world.queue.change_visibility(message, seconds)
        except Refused:
            return False
        return True

    def _count(self) -> None:
        tell, queue = self._told(self._age), self._world.queue
        self.wire.call(
            "queue", SETTLE, queue.count, lambda count: tell(Counted(count)), lambda _: tell(Counted(None))
        )

    def _give_up(self, shrink: Shrink) -> None:
        tell = self._told(self._age)
        self._clock.note(self._instance.id, "gives itself up")
        self._world.gives_up()

        def answered(answer: GiveUpAnswer) -> None:
            self._clock.note(self._instance.id, f"the group answers: {answer.value}")
            tell(GaveUp(answer))

        def failed(fault: Exception) -> None:
            is_denied = isinstance(fault, Refusal) and fault.code == "AccessDenied"
            answered(GiveUpAnswer.DENIED if is_denied else GiveUpAnswer.FAILED)

        self._call_group(lambda: self._terminate(self._instance.id, shrink), answered, failed)

    def _terminate(self, who: str, shrink: Shrink) -> GiveUpAnswer:
        """As Instance.give_up: at its minimum of 0 already, somebody else has lowered it."""
        state = self._instance.state
        if state in (State.WAITING, State.ENDING):
            return GiveUpAnswer.TERMINATING
        if self._world.troubles.denies_give_up:
            raise Refusal("AccessDenied")
        try:
            decrement = shrink is not Shrink.NEVER and state is not State.STANDBY
            self._group.terminate(self._instance, who, decrement=decrement)
        except Refusal as refusal:
            if refusal.code != "ValidationError":
                raise
            if self._group.rules.min_size and shrink is Shrink.ALWAYS:
                return GiveUpAnswer.KEPT
            self._group.terminate(self._instance, who, decrement=False)
        return GiveUpAnswer.TERMINATING

    def _protect(self) -> None:
        tell = self._told(self._age)

        def failed(fault: Exception) -> None:
            is_early = isinstance(fault, Refusal) and fault.code == "ValidationError"
            tell(Protected(ProtectAnswer.NOT_YET if is_early else ProtectAnswer.FAILED))

        self._call_group(
            lambda: self._group.protect(self._instance),
            lambda _: tell(Protected(ProtectAnswer.PROTECTED)),
            failed,
        )

    def _hold(self) -> None:
        tell = self._told(self._age)
        self._call_group(
            lambda: self._group.heartbeat(self._instance),
            lambda _: tell(Held()),
            lambda fault: tell(Held(str(fault))),
        )

    def _exit(self, order: Exit) -> None:
        consumer = self._consumer
        assert consumer is not None  # noqa: S101 it has just given the order
        self._clock.note(self._instance.id, f"the daemon exits {order.status}: {order.reason}")
        ending = consumer.ending
        if order.status == EX_OK:
            self._world.books.left(self._holder)
        self._stop_process()
        self._orphan_lives()
        if ending:
            self._leaves = True
            self._complete()
        elif self._restarting or order.status not in (EX_OK, EX_CONFIG):
            self._restart()
        elif order.status == EX_CONFIG:
            self._fail()

    def _complete(self) -> None:
        self._call_group(lambda: self._group.complete(self._instance), lambda _: None, lambda _: None)

    def _call_group(
        self,
        act: Callable[[], Any],
        answered: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> None:
        if self._world.troubles.silent_metadata and not self._knows_itself:
            self._clock.after(METADATA_S, failed, NoAnswer("instance metadata"))
        else:
            self.wire.call("group", GROUP, act, answered, failed)
