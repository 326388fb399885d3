"""CloudWatch's embedded metric format: the keys that make it count a log line. Values in, values out.

Metrics that way need no call and no permission of their own, and the last ones of a short-lived worker leave
with its last lines. The names are a contract: the stack's missed-run alarms and dashboard look at them
(cloudformation/, docs/cloudformation.md).
"""

from dataclasses import dataclass
from typing import Any

from observerd.core.events import Outcome
from observerd.core.lines import NAMESPACE

STACK, JOB_NAME = "Stack", "JobName"
JOB_SUCCEEDED, JOB_FAILED, JOB_MISSED = "JobSucceeded", "JobFailed", "JobMissed"
JOB_DURATION, START_DELAY, WORKER_SECONDS = "JobDuration", "StartDelay", "WorkerSeconds"
COUNT, SECONDS = "Count", "Seconds"

# A stranger may have chosen a name that no job has, and each new name would be a new metric to pay for.
UNKNOWN_JOB = "_unknown"

# What an interrupted or lost run comes to, the worker that takes it over says.
_COUNTED = {
    Outcome.SUCCEEDED: JOB_SUCCEEDED,
    Outcome.FAILED: JOB_FAILED,
    Outcome.TIMED_OUT: JOB_FAILED,
    Outcome.OUT_OF_MEMORY: JOB_FAILED,
    Outcome.REJECTED: JOB_FAILED,
    Outcome.CRASHED: JOB_FAILED,
    Outcome.MISSED: JOB_MISSED,
}

_DIMENSIONS = {
    "job": ((STACK, JOB_NAME),),
    "stack": ((STACK,),),
    "both": ((STACK, JOB_NAME), (STACK,)),
}


@dataclass(frozen=True, slots=True)
class Emf:
    """The metrics of one stack's workers. Without a stack, or with dimensions "off", there are none."""

    stack: str | None
    dimensions: str = "job"
    """"job", "stack", "both" or "off": what each metric of a run is kept for."""

    def of_run(
        self,
        outcome: Outcome,
        job: str | None,
        duration_s: float | None,
        start_delay_s: float | None,
        at: float,
    ) -> dict[str, Any]:
        """What to add to the line of a run's end, at that Unix time."""
        counted = _COUNTED.get(outcome)
        if counted is None or job is None:
            return {}
        return self._line(
            _DIMENSIONS.get(self.dimensions, ()),
            {JOB_NAME: UNKNOWN_JOB if outcome is Outcome.REJECTED else job},
            {
                counted: (COUNT, 1),
                JOB_DURATION: (SECONDS, duration_s),
                START_DELAY: (SECONDS, start_delay_s),
            },
            at,
        )

    def of_worker(self, lived_s: float, at: float) -> dict[str, Any]:
        """What to add to the line of a worker's end."""
        dimensions = () if self.dimensions == "off" else ((STACK,),)
        return self._line(dimensions, {}, {WORKER_SECONDS: (SECONDS, lived_s)}, at)

    def _line(
        self,
        dimensions: tuple[tuple[str, ...], ...],
        targets: dict[str, str],
        metrics: dict[str, tuple[str, float | None]],
        at: float,
    ) -> dict[str, Any]:
        if self.stack is None or not dimensions:
            return {}
        known = {name: (unit, value) for name, (unit, value) in metrics.items() if value is not None}
        series = {
            "Namespace": NAMESPACE,
            "Dimensions": dimensions,
            "Metrics": [{"Name": name, "Unit": unit} for name, (unit, _) in known.items()],
        }
        return {
            "_aws": {"Timestamp": int(at * 1000), "CloudWatchMetrics": [series]},
            STACK: self.stack,
            **targets,
            **{name: value for name, (_, value) in known.items()},
        }
