"""dramatiq on SQS, with what it gives an actor by default."""

import os

import dramatiq
import job
from dramatiq_sqs import SQSBroker

# Its default hides a message for twelve hours: where a crash is watched, the queue's own time counts.
options = {"visibility_timeout": None} if "BENCH_VISIBILITY_S" in os.environ else {}
dramatiq.set_broker(SQSBroker(**options))


@dramatiq.actor(queue_name="jobs", actor_name="work")
def work(number: int) -> None:
    job.run(number)
