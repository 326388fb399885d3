"""`observerd why`: finds one run, all that is known of it, and what to look at next."""

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from observerd.aws import Account
from observerd.core.job import JOB_NAME
from observerd.core.request import instant_text, run_id_of
from observerd.operations.due import SENT_WITHIN_S, Schedule, schedules
from observerd.operations.place import Place
from observerd.operations.reading import DAY_S, Events, Seen, instant, kept_since
from observerd.operations.runs import span
from observerd.operations.screen import Progress
from observerd.operations.tale import RETRYING, RUNNING, SILENT_S, UNSENT, WAITING, Story, stories, time_text
from observerd.operations.timeline import WORKER_ENDINGS, End, Evidence, Launch, hops, steps_s
from observerd.operations.trouble import Trouble, asked

EX_USAGE, EX_NOINPUT = 64, 66
RUN_ID = re.compile(r"[0-9a-f]{16}")
# SQS's, or its beginning: one that could not be read has nothing else. A job's name comes first.
MESSAGE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f-]*)?")
# A message lives for 14 days at most, and so no run is settled later than that.
LIFE_S = 14 * 86_400.0
OF_WORKERS = " || ".join(
    f'($.event = "{name}")' for name in ("worker_up", *WORKER_ENDINGS, "given_up", "worker_left")
)
LAUNCHED = re.compile(r"Launching a new EC2 instance: (i-[0-9a-f]+)")
TERMINATED = re.compile(r"Terminating EC2 instance: (i-[0-9a-f]+)")
# Each of a cause's sentences begins with its time; the first is the activity's own.
BY_TIMES = re.compile(r"\bAt \d{4}-\S+ ")
# Scheduler's minute, and Lambda's three tries within the next three or so; and some patience.
TRIES_S = 1_200.0
# A page has a hundred activities.
PAGES_AT_MOST = 20
BEFELL = ("duplicate", "lease_lost", "told_to_end")


@dataclass(frozen=True, slots=True)
class Asked:
    """Which run a person means: one by its id, one by its job and time, or the last one of a job."""

    run_id: str | None
    job: str | None
    scheduled_at: float | None = None


def read_asked(text: str) -> Asked:
    """Of "RUN", "JOB@TIME" or "JOB". Raises Trouble."""
    if RUN_ID.fullmatch(text):
        return Asked(text, None)
    job, found, time = text.partition("@")
    known_job(job)
    if not found:
        return Asked(None, job)
    try:
        at = instant(time)
    except ValueError:
        raise Trouble(f"not a time: {time!r} (write {job}@2026-11-23T18:00:00Z)", EX_USAGE) from None
    return Asked(run_id_of(job, instant_text(at)), job, at)


def known_job(name: str) -> str:
    """The name, if a job can have it: it becomes part of a question. Raises Trouble."""
    if not JOB_NAME.fullmatch(name):
        raise Trouble(f"neither a run's id nor a job's name: {name!r}", EX_USAGE)
    return name


def events_of(account: Account, place: Place, asked_for: Asked, since: float) -> list[Seen]:
    """Every event of the run; none where there is no such run. Raises Trouble."""
    run_id, until = asked_for.run_id, None
    if asked_for.scheduled_at is not None:
        since, until = asked_for.scheduled_at - 3_600, asked_for.scheduled_at + LIFE_S
    with Progress("reading events") as progress:
        events = Events(account.client("logs"), place, progress.at)
        if run_id is None:
            run_id = _last_of(events, asked_for.job or "", since)
        if run_id is None and MESSAGE_ID.fullmatch(asked_for.job or ""):
            return _of_message(events, asked_for.job or "", since)
        return _of_run(events, run_id, since, until) if run_id else []


def _of_run(events: Events, run_id: str, since: float, until: float | None = None) -> list[Seen]:
    found = events.of_runs(f'$.run_id = "{run_id}"', since, until)
    return [seen for seen in found if seen.text("run_id") == run_id]


def _of_message(events: Events, beginning: str, since: float) -> list[Seen]:
    """Those of the run that the message became, or of a message that became none."""
    found = events.of_runs(f'$.message_id = "{beginning}*"', since)
    mine = [seen for seen in found if (seen.text("message_id") or "").startswith(beginning)]
    run_id = next((seen.text("run_id") for seen in mine if seen.text("run_id")), None)
    return _of_run(events, run_id, since) if run_id else mine


def _last_of(events: Events, job: str, since: float) -> str | None:
    # Events of no other kind are needed to know which run was the last.
    begun = events.of_runs(f'($.job = "{job}") && (($.event = "sent") || ($.event = "received"))', since)
    told = [story for story in stories(begun) if story.job == job]
    return told[-1].run_id if told else None


def story_of(account: Account, place: Place, asked_for: Asked, since: float) -> tuple[Story, list[Seen]]:
    """The run and its events. Raises Trouble where nothing tells of it."""
    found = events_of(account, place, asked_for, since)
    told = stories(found)
    if told:
        return told[0], found
    if asked_for.scheduled_at is not None:
        return Story(asked_for.run_id, asked_for.job, asked_for.scheduled_at), []
    what = f"run {asked_for.run_id}" if asked_for.run_id else f"run of {asked_for.job!r}"
    hint = "look further back with --since; one sent by hand is on record when a worker has it"
    raise Trouble(f"no {what} since {time_text(since)} ({hint})", EX_NOINPUT)


def evidence(account: Account, place: Place, story: Story, found: Sequence[Seen]) -> Evidence:
    """What the workers and the group add to a run's own events. What they do not tell is left out."""
    with Progress("reading the workers' events"):
        events = Events(account.client("logs"), place)
        since = story.began_at - 86_400
        of_workers = {
            attempt.worker: events.of_worker(attempt.worker, OF_WORKERS, since) for attempt in story.attempts
        }
    befell = [seen for seen in found if seen.event in BEFELL]
    launches, ends = of_group(account, place, story)
    return Evidence(story, befell, of_workers, launches, ends)


def of_group(account: Account, place: Place, story: Story) -> tuple[list[Launch], list[End]]:
    """The group's launches until the message was received, and its instances' ends; since it was sent."""
    sent_at = story.sent_at
    if place.group is None or sent_at is None:
        return [], []
    since = sent_at - 1.0
    until = story.attempts[0].received_at if story.attempts else float("inf")
    with suppress(Trouble):
        told = list(_activities(account.client("autoscaling"), place.group, since))
        launches = [launch for each in told if (launch := _launch(each)) and launch.at <= until]
        return launches, [end for each in told if (end := _end(each))]
    return [], []


def _activities(client: Any, group: str, since: float) -> Iterator[Any]:
    """Oldest first. AWS tells the newest first, of the last six weeks (DescribeScalingActivities)."""
    request, found = {"AutoScalingGroupName": group}, []
    for _ in range(PAGES_AT_MOST):
        answer = asked(client.describe_scaling_activities, **request)
        found += answer["Activities"]
        token = answer.get("NextToken")
        if not token or found[-1]["StartTime"].timestamp() < since:
            break
        request["NextToken"] = token
    yield from (each for each in reversed(found) if each["StartTime"].timestamp() >= since)


def _launch(activity: Any) -> Launch | None:
    found = LAUNCHED.search(activity.get("Description", ""))
    failed = activity.get("StatusCode") == "Failed"
    if found is None and not (failed and "aunch" in activity.get("Description", "")):
        return None
    fault = activity.get("StatusMessage", "no reason was given") if failed else None
    return Launch(activity["StartTime"].timestamp(), found[1] if found and not failed else None, fault)


def _end(activity: Any) -> End | None:
    found = TERMINATED.search(activity.get("Description", ""))
    if found is None:
        return None
    cause = BY_TIMES.sub("", activity.get("Cause", "")) or "no cause was given"
    return End(activity["StartTime"].timestamp(), found[1], cause)


# ---- what to look at next


@dataclass(frozen=True, slots=True)
class Look:
    """What there is to know about a run that is not over, now."""

    now: float
    known: Evidence
    due: Sequence[Schedule] | None = None
    """The schedules that name the job; None: they could not be read."""
    others: Sequence[Story] = ()
    """Runs of the same job that are going on."""
    ups: Sequence[Seen] = field(default=())
    """Workers that came up after the message was sent."""
    kept_since: float = 0.0
    """From when on there are events (Unix time)."""
    faults: Sequence[str] = ()
    """What the producer failed at when it should have sent the message."""


def look(account: Account, place: Place, known: Evidence, now: float) -> Look:
    """Look around for what may hold the run back. Raises Trouble."""
    story = known.story
    outcome = story.outcome(now)
    if outcome == UNSENT:
        return Look(
            now,
            known,
            _schedules_of(account, place, story.job),
            kept_since=_kept_since(account, place, story.began_at, now),
            faults=_faults_of_producer(account, place, story.began_at),
        )
    if outcome != WAITING:
        return Look(now, known)
    with Progress("looking around"):
        events = Events(account.client("logs"), place)
        ups = events.of_workers('$.event = "worker_up"', story.sent[0].at)
        lately = stories(events.of_workers(f'$.job = "{story.job}"', now - LIFE_S / 14))
    others = [each for each in lately if each.job == story.job and each.outcome(now) in (RUNNING, RETRYING)]
    came = [seen for seen in ups if seen.event == "worker_up" and seen.at >= story.sent[0].at]
    return Look(now, known, others=others, ups=came)


def _kept_since(account: Account, place: Place, at: float, now: float) -> float:
    if place.producer_logs is None or now - at < DAY_S:
        return 0.0
    with suppress(Trouble):
        return kept_since(account.client("logs"), place.producer_logs, now)
    return 0.0


def _faults_of_producer(account: Account, place: Place, at: float) -> list[str]:
    with suppress(Trouble), Progress("reading what the producer said"):
        return Events(account.client("logs"), place).faults_of_producer(at, at + TRIES_S)
    return []


def _schedules_of(account: Account, place: Place, job: str | None) -> list[Schedule] | None:
    if place.stack is None:
        return None
    try:
        return [each for each in schedules(account.client("scheduler"), place.stack) if each.job == job]
    except Trouble:
        return None


def advice(seen: Look, place: Place) -> list[str]:
    """What the last hop means and what to look at, a line each; nothing for a run that went well."""
    match seen.known.story.outcome(seen.now):
        case "succeeded":
            return []
        case "unsent":
            return _of_unsent(seen, place)
        case "waiting":
            return _of_waiting(seen, place)
        case "running":
            return _of_running(seen, place)
        case "vanished":
            return _of_vanished(seen, place)
        case "retrying":
            return _of_retrying(seen, place)
    return _of_failed(seen, place)


def _of_unsent(seen: Look, place: Place) -> list[str]:
    story, at = seen.known.story, seen.known.story.began_at
    if at > seen.now:
        return [f"It is due in {span(at - seen.now)}."]
    if at < seen.kept_since:
        return [f"What was before {time_text(seen.kept_since)} the logs have forgotten."]
    if seen.due is None:
        return ["No event tells of it, and the schedules could not be read.", *_producer_clues(place)]
    if not seen.due:
        return [f"No schedule of this stack names {story.job}. Run it now:", _send(story, place)]
    if off := [each.name for each in seen.due if not each.enabled]:
        return [f"Schedule {', '.join(off)} is switched off. Run it now:", _send(story, place)]
    if changed := [each for each in seen.due if each.changed_at > at]:
        when = time_text(changed[0].changed_at)
        return [f"Schedule {changed[0].name} was made or changed at {when}, after that time."]
    if not any(at in each.due(at - 1, at) for each in seen.due):
        near = sorted(moment for each in seen.due for moment in each.due(at - 86_400, at + 86_400))
        nearest = sorted(near, key=lambda moment: abs(moment - at))[:2]
        told = ", ".join(str(time_text(moment)) for moment in sorted(nearest)) or "none within a day"
        return [f"{story.job} is not due at that instant. The nearest: {told}."]
    if seen.now - at < SENT_WITHIN_S:
        return ["Scheduler and Lambda may still be trying: ask again in some minutes."]
    if seen.faults:
        told = (
            f"It was due, and the producer failed ({_count(len(seen.faults), 'time', 'times')}), the last: "
        )
        return [told + seen.faults[-1], "When that is mended, run it now:", _send(story, place)]
    return ["It was due, and no message was sent.", *_producer_clues(place)]


def _producer_clues(place: Place) -> list[str]:
    return [
        "Did the producer fail? Look at its log and at the queue of events that came to nothing:",
        f"  {_aws(place)} logs tail {place.producer_logs} --since 1d",
        f"  observerd doctor{_which(place)}",
    ]


def _of_waiting(seen: Look, place: Place) -> list[str]:
    story = seen.known.story
    told = []
    if fault := next((each for each in story.woken if each.event == "wake_failed"), None):
        told.append(
            f"The producer could not wake the group (the Wake alarm mends that): {fault.text('error')}"
        )
    if failed := [each for each in seen.known.launches if each.fault]:
        told += [f"{_count(len(failed), 'launch', 'launches')} failed since, the last: {failed[-1].fault}"]
    if seen.others:
        other = seen.others[-1]
        told += [
            f"Runs of a job wait for each other, and run {other.run_id} is {other.outcome(seen.now)}:",
            f"  observerd why {other.run_id}{_which(place)}",
        ]
    elif seen.ups:
        told += [
            f"{_count(len(seen.ups), 'worker has', 'workers have')} come up since and not received it:",
            f"  observerd doctor{_which(place)}",
        ]
    elif came := [each.instance_id for each in seen.known.launches if each.instance_id]:
        told += [
            f"Instance {came[-1]} was launched, and its daemon has not come up. What it said:",
            f"  {_aws(place)} ec2 get-console-output --latest --output text --instance-id {came[-1]}",
        ]
    elif not failed:
        told += [
            "No instance has been launched since. What holds the group back:",
            f"  observerd doctor{_which(place)}",
        ]
    return told


def _of_running(seen: Look, place: Place) -> list[str]:
    story = seen.known.story
    last = story.last
    assert last is not None  # noqa: S101 a running run has been received
    return [
        f"It is running on {last.worker}; its last sign of life is {span(seen.now - last.last_sign_at)} old.",
        f"  observerd logs {story.run_id} -f{_which(place)}",
    ]


def _of_vanished(seen: Look, place: Place) -> list[str]:
    last = seen.known.story.last
    assert last is not None  # noqa: S101 as above
    silent = f"Its worker {last.worker} has said nothing for {span(seen.now - last.last_sign_at)}."
    comes = "SQS gives the message to another one when its visibility timeout is over."
    if end := seen.known.end(last):
        return [silent, f"Its instance {end.instance_id} ended at {time_text(end.at)}: {end.cause}", comes]
    if place.group is None:
        return [silent, comes]
    command = f"{_aws(place)} autoscaling describe-scaling-activities --auto-scaling-group-name"
    return [silent, f"{comes} What ended the instance:", f"  {command} {place.group} --max-items 5"]


def _of_retrying(seen: Look, place: Place) -> list[str]:
    last, back_for_s = seen.known.story.last, seen.known.story.back_for_s(seen.now)
    assert last is not None  # noqa: S101 as above
    if back_for_s < 0:
        return [f"Its message comes back in {span(-back_for_s)}."]
    if back_for_s < SILENT_S:
        return [
            f"Its message came back {span(back_for_s)} ago, or does so when its visibility timeout is over."
        ]
    return [
        f"Its message came back {span(back_for_s)} ago, and no worker has received it. Who keeps it?",
        f"  observerd doctor{_which(place)}",
        f"  observerd dlq list{_which(place)}",
    ]


def _of_failed(seen: Look, place: Place) -> list[str]:
    story = seen.known.story
    outcome = story.outcome(seen.now)
    if outcome == "missed":
        hop = _slowest(seen.known, seen.now)
        return [
            "It came later than its max_lateness allows."
            + (f" Most of the time went by before: {hop}." if hop else ""),
            "Run it now:",
            _send(story, place, at_its_time=False),
        ]
    which = _which(place)
    name = shlex.quote(story.run_id or (story.last.message_id if story.last else ""))
    lines = ["What it said, why it failed, and how to run it again:"]
    if story.last is not None and story.last.log_stream:
        lines.append(f"  observerd logs {name}{which}")
    return [*lines, f"  observerd dlq show {name}{which}", f"  observerd dlq retry {name}{which}"]


def _slowest(known: Evidence, now: float) -> str | None:
    found = hops(known, now)
    steps = steps_s(found)
    return found[max(range(len(steps)), key=steps.__getitem__)].name if max(steps) > 0 else None


def _send(story: Story, place: Place, *, at_its_time: bool = True) -> str:
    time = f" --scheduled-time {time_text(story.began_at)}" if at_its_time else ""
    where = _which(place) or f" --queue-url {place.queue_url}"
    return f"  observerd send {shlex.quote(story.job or 'JOB')}{time}{where}"


def _aws(place: Place) -> str:
    return f"aws --region {place.region}"


def _which(place: Place) -> str:
    return f" --stack {place.stack}" if place.stack else ""


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
