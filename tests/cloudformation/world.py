"""A stack minute by minute: queue, group, workers and the alarms of the template, with what the alarms do."""

from itertools import count

from cloudformation.template import load
from tests.cloudformation.cloudwatch import Alarm, Metrics

TEMPLATE = load("observerd.yaml")["Resources"]
PARAMETERS = {"BacklogPerWorker": 10, "MissedAfterHours": 26, "Slots": 4}
ALARMS = [
    Alarm.of(name, it["Properties"], PARAMETERS)
    for name, it in TEMPLATE.items()
    if it["Type"] == "AWS::CloudWatch::Alarm"
]
OF_EVERY_MINUTE = [it for it in ALARMS if it.period_min == 1]
BOOT_MIN = 2
IDLE_MIN = 2
SLOTS = 4
MAX_SIZE = 3
VISIBLE = ("Queue", "ApproximateNumberOfMessagesVisible")
IN_FLIGHT = ("Queue", "ApproximateNumberOfMessagesNotVisible")


class Worker:
    """It takes messages when it is up, and leaves when it has long had none. Stuck, it does neither."""

    def __init__(self, up_at, stuck, protected):
        self.up_at, self.stuck, self.protected = up_at, stuck, protected
        self.runs, self.idle_since = {}, up_at

    def work(self, world):
        self.runs = {job: end for job, end in self.runs.items() if end > world.now}
        while not self.stuck and len(self.runs) < SLOTS and (message := world.first_takeable()):
            world.waiting.remove(message)
            job, minutes = message
            self.runs[job] = world.now + minutes
        if self.runs:
            self.idle_since = world.now + 1

    def leaves(self, world):
        return not self.stuck and not self.runs and world.now - self.idle_since >= IDLE_MIN


class World:
    """The stack at one minute; advance() is the next one. `changes` is the history of the alarms' states."""

    def __init__(self, *, sleepy=True, lost=False):
        self.now, self.desired, self.workers, self.waiting = 0, 0, [], []
        self.metrics, self.red, self.changes = Metrics(), set(), []
        self.sleepy, self.lost = sleepy, lost  # Metrics of a sleeping queue come late, or never.
        self.used_at, self.woken_at, self.grown_at = -10_000, -10_000, -10_000
        self.jobs = count()
        self.launches, self.launches_fail = 0, False
        self.workers_get_stuck = self.workers_protect_themselves = False

    def send(self, *minutes, wake=True, job=None):
        """One message for each, whose run takes so many minutes: of that job, or each of a job of its own.

        The producer wakes the group, if it can.
        """
        self.waiting += [(job or next(self.jobs), it) for it in minutes]
        if wake and self.desired == 0:
            self.desired = 1

    def advance(self, minutes=1):
        for _ in range(minutes):
            self.now += 1
            self._launch()
            self._work()
            self._publish()
            self._evaluate()

    def first_takeable(self):
        """SQS hands out one message of a group at a time, and counts those behind it as visible."""
        busy = {job for worker in self.in_service() for job in worker.runs}
        return next((it for it in self.waiting if it[0] not in busy), None)

    def in_service(self):
        return [it for it in self.workers if it.up_at <= self.now]

    def _launch(self):
        while len(self.workers) < self.desired and not self.launches_fail:
            up_at = self.now + BOOT_MIN
            self.launches += 1
            self.workers.append(Worker(up_at, self.workers_get_stuck, self.workers_protect_themselves))

    def _work(self):
        for worker in self.in_service():
            worker.work(self)
            if worker.leaves(self):
                self.workers.remove(worker)
                self.desired = max(0, self.desired - 1)

    def _publish(self):
        in_flight = sum(len(it.runs) for it in self.in_service())
        self._publish_queue({VISIBLE: len(self.waiting), IN_FLIGHT: in_flight})
        self.metrics.put(("Workers", "GroupDesiredCapacity"), self.now, self.desired)
        self.metrics.put(("Workers", "GroupInServiceInstances"), self.now, len(self.in_service()))

    def _publish_queue(self, points):
        """A queue unused for six hours falls asleep; awake again, its points are late at first."""
        if self.waiting or any(not it.stuck for it in self.in_service()):
            self.woken_at = self.now if self.sleepy and self.now - self.used_at >= 360 else self.woken_at
            self.used_at = self.now
        if self.sleepy and self.now - self.used_at >= 360:
            return
        late = self.now < self.woken_at + 15
        for metric, value in points.items():
            if not (late and self.lost):
                self.metrics.put(metric, self.now, value, self.woken_at + 15 if late else None)

    def _evaluate(self):
        for alarm in OF_EVERY_MINUTE:
            rings = alarm.rings(self.metrics, self.now + 1)
            if rings != (alarm.name in self.red):
                self.changes.append((self.now, alarm.name, "ALARM" if rings else "OK"))
                self.red ^= {alarm.name}
            if rings:
                self._act(alarm)

    def _act(self, alarm):
        """The actions of an alarm, which CloudWatch repeats in every minute of ALARM."""
        for action in TEMPLATE[alarm.name]["Properties"]["AlarmActions"]:
            if policy := TEMPLATE.get(action.get("Ref")):
                value = alarm.value(self.metrics, self.now // alarm.period_min, self.now + 1)
                self._scale(policy["Properties"], value - alarm.threshold if value is not None else 0)

    def _scale(self, policy, excess):
        [step] = [
            it["ScalingAdjustment"]
            for it in policy["StepAdjustments"]
            if it["MetricIntervalLowerBound"] <= excess < it.get("MetricIntervalUpperBound", float("inf"))
        ]
        if policy["AdjustmentType"] == "ExactCapacity":
            self.desired = step
        elif self.now - self.grown_at >= TEMPLATE["Workers"]["Properties"]["DefaultInstanceWarmup"] // 60:
            self.desired, self.grown_at = self.desired + step, self.now
        self.desired = min(self.desired, MAX_SIZE)
        self._shrink()

    def _shrink(self):
        for worker in [it for it in self.workers if not it.protected and not it.runs]:
            if len(self.workers) > self.desired:
                self.workers.remove(worker)
