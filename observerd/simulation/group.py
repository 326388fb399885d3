"""The Auto Scaling group and EC2: launches that take time or fail, protection, hooks, zones, health."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from observerd.simulation.books import Books, Broken
from observerd.simulation.clock import Clock
from observerd.simulation.figures import Figures
from observerd.simulation.wire import Refusal, Wire

ZONES = ("a", "b", "c")
# A launch that failed is tried again after half a minute at first, five minutes at most (Auto Scaling waits
# longer with every failure; how long is not published).
LAUNCH_RETRY_S, LAUNCH_RETRY_CAP_S = 30.0, 300.0
# A hook may be held for a hundred times its timeout, 48 hours at most (Auto Scaling guide, lifecycle hooks).
HOOK_TIMEOUTS_AT_MOST, HOOK_AT_MOST_S = 100, 172_800.0


class State(Enum):
    PENDING = "Pending"
    IN_SERVICE = "InService"
    STANDBY = "Standby"
    WAITING = "Terminating:Wait"
    ENDING = "Terminating:Proceed"
    GONE = "Terminated"


class Software(Protocol):
    """What runs on an instance."""

    wire: Wire
    never_ready: bool
    """Whether the machine boots without its software coming up."""

    def boot(self) -> None: ...
    def in_service(self) -> None: ...
    def brought_to_another_state(self) -> None:
        """The group is ending the instance (a hook may keep it for a while), or puts it aside, or back."""

    def shut_down(self) -> None:
        """The operating system stops: TERM for everything."""

    def die(self) -> None:
        """The machine is gone."""

    def serves(self) -> bool:
        """Whether it takes messages, or soon will."""
        ...

    def works(self) -> bool:
        """Whether it has something to do, or will when what it gave back comes back."""
        ...

    def crash(self, *, for_good: bool = False) -> None:
        """The program dies; for good: at every start."""

    def hang(self, seconds: float) -> None:
        """The program stands still."""

    def restart(self) -> None:
        """A person restarts the program."""

    def reload(self) -> None:
        """A person has the program read its configuration again."""

    def drain(self) -> None:
        """A person has the program finish what it does, and leave."""

    def terminate(self) -> None:
        """A person ends the instance from inside."""

    def taken_back(self) -> None:
        """EC2 says that it takes the Spot instance back two minutes from now."""

    def rebalance(self) -> None:
        """EC2 says that it may take the Spot instance back."""


@dataclass(slots=True, eq=False)
class Instance:
    id: str
    zone: str
    launched_at: float
    state: State = State.PENDING
    protected: bool = False
    was_protected: bool = False
    in_service_at: float = float("inf")
    left_to_people: bool = False
    """Whether nothing of ours ends it any more, and an alarm has called somebody."""
    runs: bool = False
    """Whether the operating system is up."""
    gone_at: float | None = None
    workless_since: float = 0.0
    hook_ends_at: float = 0.0
    hook_began_at: float = 0.0
    software: Software = field(init=False)

    @property
    def alive(self) -> bool:
        return self.state is not State.GONE


@dataclass(slots=True)
class Rules:
    """What a design makes of its group."""

    max_size: int
    hook_timeout_s: float | None
    min_size: int = 0


@dataclass(slots=True)
class Group:
    """Its calls act at once, like the queue's."""

    clock: Clock
    figures: Figures
    books: Books
    draw: random.Random
    rules: Rules
    install: Callable[[Instance], Software]
    protects_within_s: float | None
    """How long after it is in service a worker is protected; None: the design has no such rule."""
    waits: Callable[[], float | None]
    """For how long a message that could be taken has been waiting; None: there is none."""
    stirred: Callable[[], None]
    desired: int = 0
    instances: list[Instance] = field(default_factory=list)
    desired_changes: int = 0
    launch_fails: bool = False
    lost_zones: set[str] = field(default_factory=set)
    duds: int = 0
    """How many of the next instances boot without their daemon coming up."""
    slow_boots: int = 0
    slow_boot_s: float = 0.0
    _too_low: bool = False
    """Whether somebody excused has lowered the capacity below what stands."""
    _reacting: bool = False
    _launch_failures: int = 0
    _count: int = 0

    # ---- what callers may ask

    def set_desired(self, capacity: int, who: str) -> None:
        """Raises Refusal."""
        if not self.rules.min_size <= capacity <= self.rules.max_size:
            raise Refusal("ValidationError")
        if capacity < self.desired:
            self._too_low = self._too_low or who in EXCUSED
            self._check_lowered(capacity, who)
        self._become(capacity, who)

    def scale(self, capacity: int, policy: str) -> None:
        """As a scaling policy does it: within the group's bounds."""
        self.set_desired(max(self.rules.min_size, min(capacity, self.rules.max_size)), policy)

    def terminate(self, instance: Instance, who: str, *, decrement: bool) -> None:
        """TerminateInstanceInAutoScalingGroup, which does not mind protection. Raises Refusal."""
        if instance.state not in (State.PENDING, State.IN_SERVICE, State.STANDBY):
            raise Refusal("ScalingActivityInProgress")
        if decrement and self.desired <= self.rules.min_size:
            raise Refusal("ValidationError")
        if decrement:
            self._become(self.desired - 1, who)
            self._check_work(self.desired, who, but=instance)
        self._end(instance, f"ended by {who}")

    def protect(self, instance: Instance) -> None:
        """Raises Refusal unless it is in service."""
        if instance.state not in (State.IN_SERVICE, State.STANDBY):
            raise Refusal("ValidationError")
        instance.protected = instance.was_protected = True

    def unprotect(self, instance: Instance) -> None:
        """Nothing of ours asks for it: it is what planted bugs do."""
        instance.protected = False

    def heartbeat(self, instance: Instance) -> None:
        """Raises Refusal when no hook waits for it."""
        if instance.state is not State.WAITING or self.rules.hook_timeout_s is None:
            raise Refusal("ValidationError")
        latest = min(HOOK_AT_MOST_S, HOOK_TIMEOUTS_AT_MOST * self.rules.hook_timeout_s)
        ends_at = self.clock.now + self.rules.hook_timeout_s
        instance.hook_ends_at = min(instance.hook_began_at + latest, ends_at)
        self.clock.at(instance.hook_ends_at, self._hook_is_over, instance)

    def complete(self, instance: Instance) -> None:
        """Raises Refusal when no hook waits for it."""
        if instance.state is not State.WAITING:
            raise Refusal("ValidationError")
        self._proceed(instance, "its hook is completed")

    def enter_standby(self, instance: Instance, *, decrement: bool) -> None:
        """Raises Refusal unless it is in service."""
        if instance.state is not State.IN_SERVICE or (decrement and self.desired <= self.rules.min_size):
            raise Refusal("ValidationError")
        instance.state = State.STANDBY
        self.clock.note(instance.id, "in standby")
        if decrement:
            self._become(self.desired - 1, "a person")
        instance.software.brought_to_another_state()
        self._react()

    def exit_standby(self, instance: Instance) -> None:
        """Its place is made again. Raises Refusal when it is not there, or when there is no room for it."""
        if instance.state is not State.STANDBY or self.desired >= self.rules.max_size:
            raise Refusal("ValidationError")
        instance.state, instance.in_service_at = State.IN_SERVICE, self.clock.now
        self.clock.note(instance.id, "back in service")
        self._become(self.desired + 1, "a person")
        instance.software.brought_to_another_state()

    def set_minimum(self, size: int) -> None:
        """By a person."""
        self.rules.min_size = size
        self.clock.note("group", f"minimum size {size}")
        if self.desired < size:
            self._become(size, "a person")

    # ---- what the world does to it

    def interrupt(self, instance: Instance) -> None:
        """EC2 takes a Spot instance back: no hook stops that."""
        if instance.alive:
            self._proceed(instance, "taken back by EC2")
            self._react()

    def lose(self, instance: Instance, why: str) -> None:
        """The machine is dead at once; the group finds out in its own time."""
        if not instance.alive:
            return
        self.clock.note(instance.id, f"dead: {why}")
        instance.runs = False
        instance.software.die()
        wait_s = self.draw.uniform(self.figures.health_check_low_s, self.figures.health_check_high_s)
        self.clock.after(wait_s, self._found_dead, instance)

    def lose_zone(self, zone: str) -> None:
        self.lost_zones.add(zone)
        for each in list(self.instances):
            if each.zone == zone and each.alive:
                self.lose(each, f"zone {zone} is lost")

    # ---- what the world sees

    def alive(self) -> list[Instance]:
        return [each for each in self.instances if each.alive]

    def in_service(self) -> int:
        return sum(each.state is State.IN_SERVICE for each in self.instances)

    def someone_is_awake(self) -> bool:
        """Somebody takes messages, or will without being asked again."""
        standing = [each for each in self.instances if each.state in (State.PENDING, State.IN_SERVICE)]
        return len(standing) < self.desired or any(
            each.software.serves() for each in self.instances if each.alive
        )

    # ---- how it works

    def _become(self, capacity: int, who: str) -> None:
        if capacity != self.desired:
            self.clock.note("group", f"desired capacity {self.desired} → {capacity} by {who}")
            self.desired = capacity
            self.desired_changes += 1
            self._react()
            self.stirred()

    def _check_lowered(self, capacity: int, who: str) -> None:
        """A capacity lowered over a waiting message must be raised again for it."""
        waited_s = self.waits()
        if self.books.strict and waited_s is not None and waited_s > SURELY_SEEN_S and who not in EXCUSED:
            raise Broken("oscillates", f"lowered by {who} while a message has waited for {waited_s:.0f} s")
        self._check_work(capacity, who, but=None)

    def _check_work(self, capacity: int, who: str, *, but: Instance | None) -> None:
        """Below the workers at work it must be raised again, or one of them is ended."""
        standing = [each for each in self.instances if each.state is State.IN_SERVICE and each is not but]
        working = sum(self.books.works(each.id) for each in standing)
        if self.books.strict and capacity < working and not self._too_low:
            raise Broken("oscillates", f"lowered to {capacity} by {who} while {working} work")

    def _react(self) -> None:
        if not self._reacting:
            self._reacting = True
            wait_s = self.draw.uniform(self.figures.group_reacts_low_s, self.figures.group_reacts_high_s)
            self.clock.after(wait_s, self._reconcile)

    def _reconcile(self) -> None:
        self._reacting = False
        standing = [each for each in self.instances if each.state in (State.PENDING, State.IN_SERVICE)]
        self._too_low = self._too_low and self.desired < len(standing)
        for _ in range(self.desired - len(standing)):
            self._launch()
        for _ in range(len(standing) - self.desired):
            self._scale_in()

    def _launch(self) -> None:
        self._count += 1
        # A failed launch is tried in the next zone.
        zone = ZONES[(self._count + self._launch_failures) % len(ZONES)]
        if self.launch_fails or zone in self.lost_zones:
            self._launch_failures += 1
            wait_s = min(LAUNCH_RETRY_CAP_S, LAUNCH_RETRY_S * 2.0 ** (self._launch_failures - 1))
            self.clock.note("group", f"launch failed in zone {zone}, again in {wait_s:.0f} s")
            self.clock.after(wait_s, self._react)
            return
        self._launch_failures = 0
        now = self.clock.now
        instance = Instance(f"i-{self._count}", zone, now, workless_since=now)
        instance.software = self.install(instance)
        if self.duds:
            self.duds -= 1
            instance.software.never_ready = True
        self.instances.append(instance)
        self.clock.note(instance.id, f"launched in zone {zone}")
        self.clock.after(
            self.draw.uniform(self.figures.launch_low_s, self.figures.launch_high_s), self._running, instance
        )

    def _running(self, instance: Instance) -> None:
        if not instance.alive or instance.zone in self.lost_zones:
            return
        boot_s = self.draw.uniform(self.figures.boot_low_s, self.figures.boot_high_s)
        if self.slow_boots:
            self.slow_boots -= 1
            boot_s += self.slow_boot_s
        in_s = self.draw.uniform(self.figures.in_service_low_s, self.figures.in_service_high_s)
        self.clock.after(boot_s, self._booted, instance)
        self.clock.after(in_s, self._enter_service, instance)

    def _booted(self, instance: Instance) -> None:
        if instance.state in (State.PENDING, State.IN_SERVICE, State.STANDBY, State.WAITING):
            instance.runs = True
            instance.software.boot()

    def _enter_service(self, instance: Instance) -> None:
        if instance.state is State.PENDING:
            instance.state, instance.in_service_at = State.IN_SERVICE, self.clock.now
            self.clock.note(instance.id, "in service")
            instance.software.in_service()

    def _scale_in(self) -> None:
        """The oldest that nothing protects; protection keeps what is in service only."""
        candidates = [
            each
            for each in self.instances
            if each.state is State.PENDING or (each.state is State.IN_SERVICE and not each.protected)
        ]
        if not candidates:
            self.clock.note("group", "could not scale in: all remaining instances are protected")
            return
        chosen = candidates[0]
        if self._ought_to_be_safe(chosen):
            self.books.condemned.add(chosen.id)
            if self.books.works(chosen.id):
                raise Broken("killed", f"scaling in chose {chosen.id}, which runs a job")
        self._end(chosen, "ended by scaling in")

    def _ought_to_be_safe(self, instance: Instance) -> bool:
        """Whether it was protected once, or has been in service for long enough to be."""
        if self.protects_within_s is None:
            return False
        return instance.was_protected or self.clock.now - instance.in_service_at > self.protects_within_s

    def _end(self, instance: Instance, why: str) -> None:
        self.clock.note(instance.id, why)
        if self.rules.hook_timeout_s is None:
            self._proceed(instance, "no hook")
        else:
            instance.state = State.WAITING
            instance.hook_began_at = self.clock.now
            self.heartbeat(instance)
            instance.software.brought_to_another_state()
        self._react()

    def _hook_is_over(self, instance: Instance) -> None:
        if instance.state is State.WAITING and self.clock.now >= instance.hook_ends_at:
            self._proceed(instance, "its hook has run out")

    def _proceed(self, instance: Instance, why: str) -> None:
        if instance.state in (State.ENDING, State.GONE):
            return
        instance.state = State.ENDING
        self.clock.note(instance.id, f"shuts down: {why}")
        instance.software.shut_down()
        wait_s = self.draw.uniform(self.figures.shutdown_low_s, self.figures.shutdown_high_s)
        self.clock.after(wait_s, self._gone, instance)

    def _gone(self, instance: Instance) -> None:
        if not instance.alive:
            return
        instance.state, instance.gone_at, instance.runs = State.GONE, self.clock.now, False
        self.clock.note(instance.id, "gone")
        instance.software.die()
        self.books.gone(instance.id)
        self.stirred()

    def _found_dead(self, instance: Instance) -> None:
        # The hook waits for nobody here: it runs out by itself.
        if instance.state in (State.PENDING, State.IN_SERVICE, State.STANDBY):
            self._end(instance, "found dead by the health check")


# Long enough for any poll on its way to have brought it: a worker that does not have it is not idle.
SURELY_SEEN_S = 45.0
# Who may lower the capacity over work: not a healthy worker's choice. Wake sets 1 by the metric of the minute
# before, and undoes what Grow has raised within it; protection keeps the workers that stand.
EXCUSED = ("a person", "Leak", "Wake")
