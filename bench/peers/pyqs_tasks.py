"""PyQS finds a task by the path in its message."""

import job


def work(number: int) -> None:
    job.run(number)
