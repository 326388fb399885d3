"""The design of the original article, fault for fault, in the same world: what observerd is measured against.

One receive without a wait when the machine has booted; the message is deleted, then the work is done; one
alarm that is always red sets the capacity to 0 or 1 by the messages that CloudWatch last saw.
"""

from dataclasses import replace

from observerd.core.events import Message
from observerd.simulation.cloudwatch import MINUTE_S
from observerd.simulation.group import Group, Instance, Rules, Software
from observerd.simulation.jobs import Behaviour, behaviour
from observerd.simulation.producer import Producer
from observerd.simulation.queue import Queue
from observerd.simulation.stack import Alarm, Point, Stack
from observerd.simulation.wire import Limit, Wire
from observerd.simulation.world import World

# boto3's defaults: a minute for an answer, five attempts.
CALL = Limit(60.0, 5)
# "Three hours are enough for a daily batch."
RETENTION_S = 10_800.0
# The queue was made with the console's default.
VISIBILITY_S = 30.0


class SeedWorld(World):
    """The promises are not held against it, only counted."""

    strict = False
    fifo = False

    def alarms(self) -> tuple[Alarm, ...]:
        return (Alarm("Always", _visible, lambda value: value >= 0, 1),)

    def install(self, instance: Instance) -> Software:
        return Script(self, instance, self._wire("instance", instance.id))

    def job_takes(self, message: Message) -> Behaviour:
        """The same run takes as long as in our design."""
        run = self.books.run_of(message.id)
        draw = self.plan.draw("job", run.run_id, 1)
        return behaviour(draw, self.plan.job_s, self.health())

    def _stack(self) -> Stack:
        return replace(super()._stack(), retention_s=RETENTION_S, max_size=1)

    def _rules(self) -> Rules:
        return Rules(self.stack.max_size, None)

    def _producer(self) -> Producer:
        producer = super()._producer()
        producer.wakes = False
        return producer

    def _act(self, alarm: Alarm) -> None:
        """The step policy: no message, no instance; one or more, one instance."""
        minute = int(self.clock.now // MINUTE_S)
        seen = (self.metrics.seen(minute - back, self.clock.now).waiting for back in (1, 2, 3))
        newest = next((waiting for waiting in seen if waiting is not None), 0)
        self.group.scale(1 if newest else 0, alarm.name)


def _visible(point: Point) -> float | None:
    return point.waiting


class Script:
    """consumer.py under @reboot. Implements group.Software."""

    def __init__(self, world: SeedWorld, instance: Instance, wire: Wire) -> None:
        self.wire = wire
        self.never_ready = False
        self._world = world
        self._clock = world.clock
        self._queue: Queue = world.queue
        self._group: Group = world.group
        self._instance = instance
        self._holder = f"{instance.id}.1"
        self._runs = False
        self._message: Message | None = None
        self._ends_at = 0.0

    def boot(self) -> None:
        if not self.never_ready:
            figures = self._world.figures
            wait_s = self.wire.draw.uniform(figures.reboot_low_s, figures.reboot_high_s)
            self._clock.after(wait_s, self._look)

    def in_service(self) -> None:
        """It does not know of its group."""

    def brought_to_another_state(self) -> None:
        """As in_service."""

    def shut_down(self) -> None:
        """It does not catch TERM."""
        self.crash()

    def die(self) -> None:
        self.crash()

    def serves(self) -> bool:
        return not self._instance.runs or self._runs

    def works(self) -> bool:
        return self._message is not None

    def crash(self, *, for_good: bool = False) -> None:
        """Nothing starts it again."""
        self.never_ready = self.never_ready or for_good
        self._runs = False
        if self._message is not None:
            self._world.books.ended(self._message.id, self._holder, "killed")
            self._message = None

    def hang(self, seconds: float) -> None:
        """A script that waits longer does what it did, later."""
        self._ends_at += seconds

    def restart(self) -> None:
        """There is no service to restart."""

    def reload(self) -> None:
        """Nor to reload."""

    def drain(self) -> None:
        """Nor to ask anything of."""

    def terminate(self) -> None:
        """Nor a command to call."""

    def taken_back(self) -> None:
        """It does not look."""

    def rebalance(self) -> None:
        """As taken_back."""

    def _look(self) -> None:
        if self._instance.runs and not self.never_ready:
            self._runs = True
            self._clock.note(self._instance.id, "the script asks for a message, once")
            self.wire.receive(
                lambda answer: self._queue.receive(self._holder, 1, 0.0, VISIBILITY_S, answer),
                CALL,
                self._found,
                self._give_up,
            )

    def _found(self, messages: tuple[Message, ...]) -> None:
        if not messages:
            self._give_up("it finds none")
        elif self._runs:
            (message,) = messages
            self.wire.call(
                "queue",
                CALL,
                lambda: self._queue.delete(message, self._holder),
                lambda _: self._work(message),
                self._give_up,
            )

    def _give_up(self, why: object) -> None:
        self._clock.note(self._instance.id, f"the script ends: {why}")
        self._runs = False

    def _work(self, message: Message) -> None:
        if not self._runs:
            return
        self._message = message
        self._world.books.started(message.id, self._holder)
        behaviour = self._world.job_takes(message)
        self._ends_at = self._clock.now + behaviour.run_s
        self._clock.at(self._ends_at, self._done, message, behaviour)

    def _done(self, message: Message, behaviour: Behaviour) -> None:
        if self._message is not message:
            return
        if self._clock.now < self._ends_at:
            self._clock.at(self._ends_at, self._done, message, behaviour)
            return
        how = "failed" if behaviour.exit_code else "succeeded"
        self._world.books.ended(message.id, self._holder, how)
        self._message, self._runs = None, False
