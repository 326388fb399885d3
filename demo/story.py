"""What happened, as lines for a person and as facts for the checks. Pure: it is told of events and when."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from demo.events import Booted, Broke, Called, CapacityChanged, Event, Launched, Left, Said

OK = 200
# The daemon's own streams; every other one of the jobs' log group is a run's.
OWN_STREAMS = ("_observerd/", "_events/")
ATTENTION = ("warning", "error", "critical")


class Line(NamedTuple):
    at: float
    who: str
    text: str
    bad: bool = False


class Hop(NamedTuple):
    """A step of the way: from one moment to another."""

    what: str
    begins: str
    ends: str


# In the order of the way. Each moment is the first of its kind.
HOPS = (
    Hop("producer: schedule fires to message sent", "scheduled", "sent"),
    Hop("wake: message sent to instance launched", "sent", "launched"),
    Hop("start: instance launched to message received", "launched", "received"),
    Hop("dispatch: message received to job started", "received", "started"),
    Hop("job: started to message deleted", "started", "deleted"),
    Hop("idle: message deleted to giving the instance up", "deleted", "idle"),
    Hop("leave: giving up, last look, daemon exits", "idle", "left"),
)

# What to wait for, in order, and what to call it when it does not come.
MILESTONES = {
    "sent": "the producer's message",
    "launched": "an instance in the group",
    "up": "the daemon to be up",
    "received": "the daemon to receive the message",
    "started": "the job to start",
    "deleted": "the message to be deleted",
    "ended": "the job's end to be written down",
    "idle": "the daemon to be idle",
    "given up": "the instance to be given up",
    "completed": "the lifecycle action to be completed",
    "left": "the daemon to exit",
}


@dataclass(frozen=True, slots=True)
class Names:
    """Which of the calls concern us."""

    queue_url: str
    dead_letter_queue_url: str
    object_path: str


class Story:
    """See the head of this file. The attributes are what is known so far."""

    def __init__(self, names: Names, capacity: int) -> None:
        self._names = names
        self.moments: dict[str, float] = {}
        """When each thing happened first."""
        self.capacities = [capacity]
        self.instances: list[str] = []
        self.message_ids: list[str] = []
        """Of the messages that were received."""
        self.deletions = 0
        self.run: dict[str, Any] = {}
        """What the daemon wrote down when the run ended."""
        self.metrics_address: str | None = None
        self.looked_again = False
        """Whether a receive that began after the instance was given up has found nothing."""
        self._given_up_at = inf
        self.hook: dict[str, Any] = {}
        """The parameters of CompleteLifecycleAction."""
        self.left: Left | None = None
        self.broke: str | None = None

    @property
    def is_over(self) -> bool:
        return self.left is not None or self.broke is not None

    @property
    def awaited(self) -> str:
        """What should have happened next, for people."""
        return next((text for name, text in MILESTONES.items() if name not in self.moments), "the end")

    def fired(self, event: dict[str, Any], at: float) -> list[Line]:
        self._mark("scheduled", at)
        return [Line(at, "schedule", f"fires: job {event['job']}, scheduled time {event['scheduled_time']}")]

    def told(self, event: Event, at: float) -> list[Line]:
        """What a person should know of the event."""
        return [Line(at, *words) for words in self._words(event, at)]

    def took_s(self, hop: Hop) -> float | None:
        if hop.begins not in self.moments or hop.ends not in self.moments:
            return None
        return self.moments[hop.ends] - self.moments[hop.begins]

    def _mark(self, moment: str, at: float) -> None:
        self.moments.setdefault(moment, at)

    def _words(self, event: Event, at: float) -> Iterator[tuple[Any, ...]]:
        match event:
            case Called():
                yield from self._called(event, at)
            case Said():
                yield from self._said(event, at)
            case CapacityChanged(before, after):
                self.capacities.append(after)
                yield "group", f"desired capacity {before} -> {after}"
            case Launched(instance_id, zone):
                self._mark("launched", at)
                self.instances.append(instance_id)
                yield "group", f"instance {instance_id} launched in {zone}"
            case Booted(_, pid):
                yield "machine", f"boots: user data written, `observerd run` started (process {pid})"
            case Left():
                self._mark("left", at)
                self.left = event
                yield "machine", _farewell(event), event.status != 0 or event.told
            case Broke(what):
                self.broke = what
                yield "demo", what, True

    def _called(self, call: Called, at: float) -> Iterator[tuple[Any, ...]]:
        if call.status != OK:
            if call.caller != "YOU":
                yield call.caller.lower(), f"{call.action} answered {call.status}", True
            return
        match call.action:
            case "SendMessage":
                yield from self._sent(call, at)
            case "ReceiveMessage" if call.caller == "WORKER":
                yield from self._received(call, at)
            case "PutLogEvents" if call.caller == "WORKER" and not _is_own(call):
                yield from (("logs", f"| {each['message']}") for each in call.parameters["logEvents"])
            case _:
                yield from self._settled(call, at)

    def _settled(self, call: Called, at: float) -> Iterator[tuple[Any, ...]]:
        match call.action:
            case self._names.object_path:
                self._mark("stored", at)
                yield "job", f"object stored: s3:/{call.action.removeprefix('PUT ')}"
            case "DeleteMessage" | "DeleteMessageBatch" if call.caller == "WORKER":
                self._mark("deleted", at)
                for _ in range(_deleted(call)):
                    self.deletions += 1
                    yield "worker", "message deleted"
            case "TerminateInstanceInAutoScalingGroup":
                self._mark("given up", at)
                self._given_up_at = call.ended_at
            case "CompleteLifecycleAction":
                self._mark("completed", at)
                self.hook = call.parameters
                result = call.parameters.get("LifecycleActionResult")
                yield "worker", f"lifecycle action completed: {result}"

    def _sent(self, call: Called, at: float) -> Iterator[tuple[Any, ...]]:
        url = call.parameters["QueueUrl"]
        if url == self._names.queue_url:
            self._mark("sent", at)
            yield call.caller.lower(), f"message sent to {url.rpartition('/')[2]}"
        elif url == self._names.dead_letter_queue_url:
            yield call.caller.lower(), f"message sent to {url.rpartition('/')[2]}, with evidence", True

    def _received(self, call: Called, at: float) -> Iterator[tuple[Any, ...]]:
        messages = (call.answer or {}).get("Messages", [])
        for each in messages:
            self._mark("received", at)
            self.message_ids.append(each["MessageId"])
            yield "worker", f"message received: {each['MessageId']}"
        if not messages and call.began_at > self._given_up_at and not self.looked_again:
            self.looked_again = True
            yield "worker", "last look: the queue is empty"

    def _said(self, said: Said, at: float) -> Iterator[tuple[Any, ...]]:
        facts = said.facts
        match said.message:
            case "metrics served":
                self.metrics_address = str(facts["address"])
                yield "worker", f"metrics served on http://{self.metrics_address}/metrics"
            case "serving":
                self._mark("up", at)
                yield "worker", f"daemon up, {facts['jobs']} job defined"
            case "run started":
                self._mark("started", at)
                yield (
                    "worker",
                    f"job started: {facts['job']}, run {facts['run_id']}, attempt {facts['attempt']}",
                )
            case "run ended":
                self._mark("ended", at)
                self.run = facts
                yield "worker", _end(facts), facts["outcome"] != "succeeded"
            case "giving this instance up":
                self._mark("idle", at)
                yield "worker", "gives this instance up"
            case "leaving":
                yield "worker", f"leaves: {facts['reason']}, status {facts['exit_status']}"
            case _ if facts.get("level", "error") in ATTENTION:
                yield "worker", _remark(said), True


def _end(facts: dict[str, Any]) -> str:
    how = f"exit code {facts['exit_code']}" if facts.get("exit_code") is not None else facts.get("reason")
    took = f", {facts['duration_s']:.1f} s" if "duration_s" in facts else ""
    return f"job ended: {facts['outcome']}, {how}{took}, {facts.get('lines', 0)} lines, {facts['settled']}"


def _remark(said: Said) -> str:
    known = {key: value for key, value in said.facts.items() if key not in ("time", "level")}
    return " ".join([said.message, *(f"{key}={value}" for key, value in known.items())])


def _farewell(left: Left) -> str:
    how = f"status {left.status}" if left.status >= 0 else f"signal {-left.status}"
    return f"daemon ended with {how}" + (", when the machine was switched off" if left.told else "")


def _is_own(put: Called) -> bool:
    return str(put.parameters["logStreamName"]).startswith(OWN_STREAMS)


def _deleted(call: Called) -> int:
    """How many messages a call has deleted: one, unless it is a batch."""
    return len(call.answer["Successful"]) if call.action == "DeleteMessageBatch" else 1
