"""The timeline of one run: its hops from due to given up, and how they look in a terminal. No AWS here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from observerd.core.lines import one_line
from observerd.operations.reading import Seen, instant, instant_ms
from observerd.operations.runs import STYLES, span
from observerd.operations.screen import Screen
from observerd.operations.tale import RETRYING, RUNNING, VANISHED, WAITING, Attempt, Story

# How long a bar is, and may be where notes need the room.
_BAR, _LEAST_BAR = 20, 8
# A note is told whole elsewhere, where it is longer than so many lines.
_NOTE_LINES = 3
# A machine that had booted this long before the message was sent was not started for it.
_BEFORE_S = 5.0
# The producer's clock and SQS's may differ by so much.
_SAME_S = 10.0
RUN = "ended"
# What a run may be interrupted by.
WORKER_ENDINGS = ("spot_notice", "terminating", "drain_requested")
_GOING_ON = {
    WAITING: "still waiting",
    RUNNING: "still running",
    RETRYING: "to be tried again",
    VANISHED: "nothing more was heard",
}


@dataclass(frozen=True, slots=True)
class Launch:
    """An instance's start, as the group's activities tell it. at is Unix time; fault: why it failed."""

    at: float
    instance_id: str | None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    """An instance's end, and the group's reason for it. at is Unix time."""

    at: float
    instance_id: str
    cause: str


@dataclass(frozen=True, slots=True)
class Hop:
    """Something that happened to the run, at that Unix time."""

    at: float
    name: str
    note: str = ""
    after_run: bool = False
    """Whether it is of the worker's life, when the run was over."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one run. of_workers: worker_up, what ends it, given_up, worker_left; by worker."""

    story: Story
    befell: Sequence[Seen] = ()
    """duplicate, lease_lost, told_to_end"""
    of_workers: dict[str, list[Seen]] = field(default_factory=dict)
    launches: Sequence[Launch] = ()
    ends: Sequence[End] = ()

    def up(self, worker: str) -> Seen | None:
        """How the worker came."""
        return next((seen for seen in self.of_workers.get(worker, ()) if seen.event == "worker_up"), None)

    def end(self, attempt: Attempt) -> End | None:
        """How the attempt's instance ended, where that is known to have been in the middle of it."""
        up = self.up(attempt.worker)
        if up is None or attempt.settled_at is not None:
            return None
        return next((each for each in self.ends if each.instance_id == up.text("instance_id")), None)


def hops(known: Evidence, now: float) -> list[Hop]:
    """What happened, in order; with how it stands now, where it is not over."""
    story = known.story
    found = [] if story.scheduled_at is None else [Hop(story.scheduled_at, "due")]
    found += [Hop(seen.at, "sent again" if count else "sent") for count, seen in enumerate(story.sent)]
    found += [Hop(at, "sent", "by hand") for at in sorted(_sent_by_hand(story))]
    found += [_woken(seen) for seen in story.woken]
    for place, attempt in enumerate(story.attempts):
        if attempt.worker not in {each.worker for each in story.attempts[:place]}:
            found += _arrival(known, attempt)
        found += [*_attempt(attempt, len(story.attempts)), *_disturbances(known, attempt)]
    found += [Hop(seen.at, seen.event.replace("_", " ")) for seen in known.befell]
    if not story.attempts:
        found += _launched(known, None)
    found.sort(key=lambda hop: hop.at)
    if found and now > found[-1].at and (doing := _GOING_ON.get(story.outcome(now))):
        found.append(Hop(now, "now", doing))
    return [*found, *_departure(known)]


def _sent_by_hand(story: Story) -> set[float]:
    """When its messages were sent of which the producer says nothing."""
    told = [seen.at for seen in story.sent]
    times = {each.sent_at for each in story.attempts if each.sent_at is not None}
    return {at for at in times if not any(abs(at - each) < _SAME_S for each in told)}


def _woken(seen: Seen) -> Hop:
    if seen.event == "wake_failed":
        return Hop(seen.at, "wake failed", seen.text("error") or "")
    return Hop(
        seen.at, "woken", "asked for a worker" if seen.facts.get("woken") else "a worker was wanted already"
    )


def _arrival(known: Evidence, attempt: Attempt) -> list[Hop]:
    """How its worker came, if it came after the message was there."""
    sent_at = attempt.sent_at or (known.story.sent[0].at if known.story.sent else None)
    up = known.up(attempt.worker)
    if up is None or sent_at is None or up.at < sent_at:
        return []
    came = [Hop(up.at, "daemon up", attempt.host)]
    booted = up.text("booted_at")
    if booted is not None and instant(booted) > sent_at - _BEFORE_S:
        came = [*_launch(known, up), Hop(instant(booted), "machine booted"), *came]
    return came


def _launch(known: Evidence, up: Seen) -> list[Hop]:
    """Its instance's start, and what failed before: as the group tells it, which forgets in six weeks."""
    instance_id, launched = up.text("instance_id"), up.text("launched_at")
    told = _launched(known, instance_id)
    if launched is None or any(each.instance_id == instance_id for each in known.launches):
        return told
    return [*told, Hop(instant(launched), "instance launched", instance_id or "")]


def _launched(known: Evidence, instance_id: str | None) -> list[Hop]:
    """The start of that instance (None: of any), and the tries that failed before, those alike as one."""
    found: list[Hop] = []
    of_fault: dict[str, list[float]] = {}
    for each in known.launches:
        if each.fault:
            of_fault.setdefault(each.fault, []).append(each.at)
        elif instance_id in (None, each.instance_id):
            found.append(Hop(each.at, "instance launched", each.instance_id or ""))
    for fault, times in of_fault.items():
        again = f" ({len(times)} times until {_clock(times[-1])})" if times[1:] else ""
        found.append(Hop(times[0], "launch failed", f"{fault}{again}"))
    return found


def _attempt(attempt: Attempt, of: int) -> list[Hop]:
    told = f"attempt {attempt.number}" if of > 1 or attempt.number > 1 else ""
    found = [Hop(attempt.received_at, "received", told)]
    if attempt.started_at is not None:
        found.append(Hop(attempt.started_at, "started"))
    if attempt.ended_at is not None:
        found.append(Hop(attempt.ended_at, RUN, _ending(attempt)))
    if attempt.settled_at is not None:
        found.append(Hop(attempt.settled_at, "settled", attempt.settled or ""))
    return found


def _disturbances(known: Evidence, attempt: Attempt) -> list[Hop]:
    """What befell its worker while it ran."""
    over = attempt.settled_at or float("inf")
    end = known.end(attempt)
    ended = [Hop(end.at, "instance ended", end.cause)] if end and end.at >= attempt.received_at else []
    return ended + [
        Hop(seen.at, seen.event.replace("_", " "), seen.text("reason") or "")
        for seen in known.of_workers.get(attempt.worker, ())
        if seen.event in WORKER_ENDINGS and attempt.received_at <= seen.at <= over
    ]


def _ending(attempt: Attempt) -> str:
    return f"{attempt.outcome}: {attempt.reason}" if attempt.reason else f"{attempt.outcome}"


def _departure(known: Evidence) -> list[Hop]:
    last = known.story.last
    if last is None or last.settled_at is None:
        return []
    return [
        Hop(seen.at, seen.event.replace("_", " "), seen.text("reason") or "", after_run=True)
        for seen in known.of_workers.get(last.worker, ())
        if seen.event in ("given_up", "worker_left") and seen.at >= last.settled_at
    ]


# ---- what it looks like


def picture(known: Evidence, now: float, screen: Screen) -> str:
    """The run's head, then a line a hop: when, what, how long since the one before, a bar, a note."""
    found = hops(known, now)
    steps = steps_s(found)
    marks = _marks(found, steps)
    longest = max((step for hop, step in zip(found, steps, strict=True) if not hop.after_run), default=0.0)
    heads = _heads(found, steps)
    # What a stranger wrote must not move the cursor.
    parts = [(marks.get(place), one_line(hop.note)) for place, hop in enumerate(found)]
    notes = ["  ".join(filter(None, each)) for each in parts]
    bars = _bars(screen, len(heads[0]), max(map(len, notes)))
    lines = [_head(known.story, now, screen), *_summary(known.story, now), ""]
    for place, hop in enumerate(found):
        share = steps[place] / longest if longest and not hop.after_run else 0.0
        bar = screen.paint(f"{'█' * round(bars * share):<{bars}}", "warn" if place in marks else "dim")
        indent = " " * (len(heads[place]) + bars + 2)
        first, *rest = screen.wrapped(notes[place], indent, _NOTE_LINES) or [""]
        lines += [f"{heads[place]}{bar}  {first[len(indent) :]}".rstrip(), *rest]
    return "\n".join(lines)


def _heads(found: Sequence[Hop], steps: Sequence[float]) -> list[str]:
    """When, what, and how long since the one before."""
    names = max(len(hop.name) for hop in found)
    tooks = ["", *(span(step) for step in steps[1:])]
    rows = zip(_clocks(found), found, tooks, strict=True)
    return [f"  {clock}  {hop.name:<{names}}  {took:>8}  " for clock, hop, took in rows]


def _bars(screen: Screen, head: int, note: int) -> int:
    """How long bars are between a head and a note so long."""
    room = _BAR if screen.width is None else screen.width - head - 2 - note
    return max(_LEAST_BAR, min(_BAR, room))


def hop_values(known: Evidence, now: float) -> list[dict[str, Any]]:
    """The same for --json. after_s is since the one before."""
    found = hops(known, now)
    return [
        {"at": instant_ms(hop.at), "hop": hop.name, "after_s": round(step, 3), "note": hop.note}
        for hop, step in zip(found, steps_s(found), strict=True)
    ]


def steps_s(found: Sequence[Hop]) -> list[float]:
    """How long after the one before each hop was; of clocks that disagree, nothing."""
    return [0.0, *(max(0.0, after.at - before.at) for before, after in pairwise(found))]


def _marks(found: Sequence[Hop], steps: Sequence[float]) -> dict[int, str]:
    """The slowest hop of all, and the slowest that was not the job's own time. By place."""
    timed = {place: step for place, step in enumerate(steps) if step > 0 and not found[place].after_run}
    waits = {place: step for place, step in timed.items() if found[place].name != RUN}
    marks = {max(waits, key=lambda place: waits[place]): "◀ slowest wait"} if waits else {}
    if timed:
        slowest = max(timed, key=lambda place: timed[place])
        marks[slowest] = "◀ slowest"
    return marks


def _head(story: Story, now: float, screen: Screen) -> str:
    outcome = story.outcome(now)
    job = screen.paint(one_line(story.job or "a message that names no job"), "bold")
    return f"{job}  {screen.paint(outcome, STYLES.get(outcome, 'bad'))}"


def _summary(story: Story, now: float) -> list[str]:
    due = [] if story.scheduled_at is None else [f"due {_day(story.scheduled_at)}"]
    return ["  ".join([f"run {story.name}", *due]), _course(story, now)]


def _course(story: Story, now: float) -> str:
    last = story.last
    if last is None:
        waited = (
            f"nothing has taken it for {span(now - story.sent[0].at)}" if story.sent else "nothing was sent"
        )
        return waited if story.outcome(now) == WAITING else f"{waited}, as far as the events tell"
    told = [_count(len(story.attempts), "attempt")]
    if beats := sum(each.heartbeats for each in story.attempts):
        told.append(_count(beats, "heartbeat"))
    over = last.settled_at or last.ended_at
    if over is not None and story.scheduled_at is not None:
        told.append(f"over {span(over - story.scheduled_at)} after it was due")
    return ", ".join(told)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _clocks(found: Sequence[Hop]) -> list[str]:
    """The times of day, each with its distance in days where not all are of one day."""
    moments = [datetime.fromtimestamp(hop.at, UTC) for hop in found]
    days = [(moment.date() - moments[0].date()).days for moment in moments]
    marks = [f"{day:+d}d " if day else "    " for day in days] if any(days) else [""] * len(days)
    return [f"{mark}{_clock(hop.at)}" for mark, hop in zip(marks, found, strict=True)]


def _clock(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%H:%M:%S}.{moment.microsecond // 100_000}"
