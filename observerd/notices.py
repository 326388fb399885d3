"""What people and monitors are told of a run: texts and addresses out of events. Sends nothing."""

import uuid
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from observerd.console import log_stream_url
from observerd.core.events import Began, Finished, Outcome, Report
from observerd.core.request import instant_text

# SNS: a subject has 100 ASCII characters at most, without control characters (API Reference, Publish).
SUBJECT_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Scene:
    """Where it happens, for the links and commands in a notice."""

    stack: str | None
    region: str
    queue_url: str
    log_group: str | None
    worker: str

    @property
    def name(self) -> str:
        return self.stack or "observerd"


class Notice(NamedTuple):
    """A message for an SNS topic. attributes are for the subscriptions' filter policies."""

    subject: str
    text: str
    attributes: dict[str, str]


class Ping(NamedTuple):
    """A request to a monitor. body is for whoever looks there."""

    url: str
    body: str


def is_final_failure(event: Finished) -> bool:
    """Whether the run did not succeed, and nobody will try again by himself."""
    return event.outcome is Outcome.MISSED or event.report.settled.startswith("dead-lettered")


def of_failure(event: Finished, scene: Scene) -> Notice:
    """What a person who is woken by it needs: what, why, its last words, where to look, what to paste."""
    report = event.report
    what = "was missed" if event.outcome is Outcome.MISSED else "failed for good"
    lines = [f"{_job(report)} {what}.", "", *_facts(event, scene), *_last(report), *_next(event, scene)]
    return Notice(
        _subject(scene, f"{_job(report)} {what}: {report.reason or event.outcome.value}"),
        "\n".join(lines),
        _attributes(event, scene, "failure"),
    )


def of_recovery(event: Finished, scene: Scene) -> Notice:
    """That a job which had failed for good has succeeded."""
    report = event.report
    return Notice(
        _subject(scene, f"{_job(report)} has recovered"),
        "\n".join([f"{_job(report)} has succeeded again.", "", *_facts(event, scene)]),
        _attributes(event, scene, "recovery"),
    )


def _subject(scene: Scene, text: str) -> str:
    """In one line of ASCII."""
    line = "".join(each if " " <= each <= "~" else "?" for each in f"[{scene.name}] {text}")
    return line if len(line) <= SUBJECT_LIMIT else f"{line[: SUBJECT_LIMIT - 3]}..."


def _facts(event: Finished, scene: Scene) -> list[str]:
    report = event.report
    stream, group = report.log_stream, scene.log_group
    link = log_stream_url(scene.region, group, stream) if stream and group else stream
    facts = {
        "outcome": event.outcome.value,
        "reason": report.reason,
        "exit code": report.exit_code,
        "signal": report.signal,
        "attempt": event.message.receive_count,
        "scheduled": None if report.scheduled_at is None else instant_text(report.scheduled_at),
        "took": None if report.duration_s is None else f"{report.duration_s:.1f} s",
        "run": report.run_id,
        "worker": scene.worker,
        "log": link,
    }
    return [f"{name + ':':<10} {value}" for name, value in facts.items() if value is not None]


def _last(report: Report) -> list[str]:
    if not report.last_lines:
        return []
    return ["", "last lines:", *(f"    {line}" for line in report.last_lines.splitlines())]


def _next(event: Finished, scene: Scene) -> list[str]:
    report = event.report
    where = f" --stack {scene.stack} --region {scene.region}" if scene.stack else ""
    if event.outcome is Outcome.MISSED:
        # Its message is deleted; whatever else is final lies in the dead-letter queue.
        run = f"    observerd send {report.job}{where or f' --queue-url {scene.queue_url}'}"
        return [
            "",
            "why it was late, and how to run it now:",
            f"    observerd why {report.run_id}{where}",
            run,
        ]
    name = report.run_id or event.message.id
    return ["", "once the cause is mended:", f"    observerd dlq retry {name}{where}"]


def _attributes(event: Finished, scene: Scene, kind: str) -> dict[str, str]:
    given = {"kind": kind, "stack": scene.stack, "job": event.report.job, "outcome": event.outcome.value}
    return {name: value for name, value in given.items() if value}


def _job(report: Report) -> str:
    return report.job or "a message that names no job"


# ---- pings, in the form of healthchecks (healthchecks.io/docs/http_api)


def ping_of_start(url: str, event: Began) -> Ping:
    return Ping(_signal(url, "/start", event.run_id, event.message.receive_count), "")


def ping_of_end(url: str, event: Finished) -> Ping:
    """Success, the final failure, or a line in the log for what will be tried again."""
    report = event.report
    run_id, attempt = report.run_id or event.message.id, event.message.receive_count
    if event.outcome is Outcome.SUCCEEDED:
        return Ping(_signal(url, "", run_id, attempt), report.last_lines)
    suffix = "/fail" if is_final_failure(event) else "/log"
    told = f"{event.outcome.value}: {report.reason or ''}\n{report.settled}\n{report.last_lines}"
    return Ping(_signal(url, suffix, run_id, attempt), told)


def _signal(url: str, suffix: str, run_id: str, attempt: int) -> str:
    """The monitor's URL for the signal, with an id by which it finds start and end together: a UUID."""
    parts = urlsplit(url)
    rid = f"rid={uuid.uuid5(uuid.NAMESPACE_URL, f'{run_id}-{attempt}')}"
    query = f"{parts.query}&{rid}" if parts.query else rid
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}{suffix}", query=query))
