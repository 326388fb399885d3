"""Celery on SQS: as its documentation starts one, or (BENCH_TUNED) as one who has read all of it would."""

import os
from urllib.parse import urlsplit

import job
from celery import Celery

TUNED = bool(os.environ.get("BENCH_TUNED"))

app = Celery("bench", broker=f"sqs://bench:bench@{urlsplit(os.environ['AWS_ENDPOINT_URL']).netloc}//")
options = {"region": "us-east-1", "is_secure": False}
if "BENCH_VISIBILITY_S" in os.environ:
    options["visibility_timeout"] = int(os.environ["BENCH_VISIBILITY_S"])
if TUNED:
    # No pause after an empty poll; a crash gives back what was not done; full batches from SQS.
    options["polling_interval"] = 0
    app.conf.update(task_acks_late=True, worker_prefetch_multiplier=10)
app.conf.update(
    broker_transport_options=options,
    task_default_queue="jobs",
    task_ignore_result=True,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="work")
def work(number: int) -> None:
    job.run(number)
