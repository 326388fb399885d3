"""`observerd runs`: the history of a stack's runs, on whichever worker, and of those that never were."""

from collections.abc import Sequence
from dataclasses import dataclass

from observerd.aws import Account
from observerd.core.units import duration_s
from observerd.operations.due import schedules, unsent
from observerd.operations.place import Place
from observerd.operations.reading import DAY_S, Events, instant, kept_since
from observerd.operations.screen import Cell, Progress, Screen, as_json
from observerd.operations.tale import OUTCOMES, SILENT_S, STATES, Story, stories, time_text
from observerd.operations.trouble import Trouble

EX_USAGE = 64
# A unit, the next smaller one, and their letters.
_SCALES = ((86_400, 3_600, "dh"), (3_600, 60, "hm"), (60, 1, "ms"))
STYLES = {
    "succeeded": "good",
    "running": "bold",
    "waiting": "warn",
    "retrying": "warn",
    "interrupted": "warn",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs. since is Unix time; outcomes empty: all."""

    since: float
    job: str | None = None
    outcomes: frozenset[str] = frozenset()

    def takes(self, story: Story, now: float) -> bool:
        job_fits = self.job is None or story.job == self.job
        return job_fits and (not self.outcomes or story.outcome(now) in self.outcomes)


def moment(text: str, now: float) -> float:
    """Unix time of "36h" (so long ago) or of an ISO 8601 time, UTC where it says nothing. Raises Trouble."""
    try:
        return max(0.0, now - duration_s(text))
    except ValueError:
        pass
    try:
        return max(0.0, instant(text))
    except ValueError:
        raise Trouble(
            f"neither a span nor a time: {text!r} (write 36h, 7d or 2026-11-23T18:00)", EX_USAGE
        ) from None


def outcomes(text: str | None) -> frozenset[str]:
    """The outcomes named in a list with commas. Raises Trouble."""
    named = frozenset(text.split(",")) if text else frozenset()
    if unknown := sorted(named - {*OUTCOMES, *STATES}):
        raise Trouble(f"no such outcome: {unknown[0]!r} (known: {', '.join((*OUTCOMES, *STATES))})", EX_USAGE)
    return named


def history(account: Account, place: Place, wanted: Wanted, now: float) -> tuple[list[Story], str | None]:
    """The runs, earliest first, and what could not be found out about them. Raises Trouble."""
    job = f' && ($.job = "{wanted.job}")' if wanted.job else ""
    with Progress("reading events") as progress:
        events = Events(account.client("logs"), place, progress.at)
        found = events.of_runs(f'($.event != "heartbeat"){job}', wanted.since)
        if any(story.outcome(now) in STATES for story in stories(found)):
            # Of the long ones a sign of life tells whether they still run.
            found += events.of_workers(f'($.event = "heartbeat"){job}', now - 900.0)
    told = stories(found)
    missing, doubt = _unsent(account, place, told, wanted.since, now)
    told += missing
    told.sort(key=lambda story: story.began_at)
    return [story for story in told if wanted.takes(story, now)], doubt


def _unsent(
    account: Account, place: Place, told: list[Story], since: float, now: float
) -> tuple[list[Story], str | None]:
    if place.stack is None:
        return [], "runs that were never sent are not shown: the stack's name is not known"
    try:
        if place.producer_logs is not None and now - since > DAY_S:
            # What is forgotten was not unsent.
            since = max(since, kept_since(account.client("logs"), place.producer_logs, now))
        with Progress("reading schedules") as progress:
            known = schedules(account.client("scheduler"), place.stack, progress.at)
    except Trouble as fault:
        return [], f"runs that were never sent are not shown: {fault}"
    return unsent(known, told, since, now), None


def table(told: Sequence[Story], now: float, screen: Screen) -> str:
    """One line a run."""
    head = ("DUE (UTC)", "JOB", "OUTCOME", "TRY", "DELAY", "TOOK", "RUN", "WHY")
    return screen.table(head, [_row(story, now) for story in told], shrinks="JOB")


def json_text(told: Sequence[Story], now: float) -> str:
    return as_json([story.values(now) for story in told])


def _row(story: Story, now: float) -> tuple[Cell | str, ...]:
    outcome = story.outcome(now)
    values = story.values(now)
    return (
        time_cell(story.began_at),
        story.job or "-",
        Cell(outcome, STYLES.get(outcome, "bad")),
        str(len(story.attempts)),
        span(values["start_delay_s"]),
        span(values["duration_s"]),
        story.name,
        _note(story, outcome, now),
    )


def _note(story: Story, outcome: str, now: float) -> str:
    """Why it did not succeed, or how it stands."""
    last = story.last
    if last is None:
        return f"sent {span(now - story.sent[0].at)} ago" if story.sent else "was due, and nothing was sent"
    match outcome:
        case "running":
            return f"for {span(now - (last.started_at or last.received_at))} on {last.host}"
        case "vanished":
            return f"{last.host} has said nothing for {span(now - last.last_sign_at)}"
        case "waiting":
            return f"sent again {span(now - story.sent[-1].at)} ago"
        case "retrying":
            told = f"{last.outcome}: {last.reason}" if last.reason else f"{last.outcome}"
            back_for_s = story.back_for_s(now)
            return told if back_for_s < SILENT_S else f"{told}; untaken for {span(back_for_s)}"
    return last.reason or ""


def time_cell(at: float | None) -> Cell | str:
    """When something was due; of schedules, which go by the minute, the minute where there is little room."""
    if at is None:
        return "-"
    whole = str(time_text(at)).replace("T", " ").rstrip("Z")
    return Cell(whole[:19], short=whole[5:16])


def span(seconds: float | None) -> str:
    """Seconds as people say them, to three digits or so: 0.4s, 12.3s, 3m 05s, 2h 07m, 1d 04h."""
    if seconds is None:
        return "-"
    if seconds < 0:
        return f"-{span(-seconds)}"
    if round(seconds, 1) < 60:  # noqa: PLR2004 a minute
        return f"{seconds:.1f}s"
    whole = round(seconds)
    unit, small, letters = next(scale for scale in _SCALES if whole >= scale[0])
    return f"{whole // unit}{letters[0]} {whole % unit // small:02d}{letters[1]}"
