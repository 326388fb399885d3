"""sqs-workers: it does one message at a time, so a slot is a process, forked as by its own process_queues."""

import multiprocessing
import sys

import job
from sqs_workers import SQSEnv

queue = SQSEnv(codec="json").queue("jobs")


@queue.processor("work")
def work(number: int) -> None:
    job.run(number)


workers = [multiprocessing.Process(target=queue.process_queue) for _ in range(int(sys.argv[1]))]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
