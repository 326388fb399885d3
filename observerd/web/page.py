"""The status page: one HTML document out of what report() says, with its style and script inside.

It is whole without JavaScript. With it, the script asks for the page again and puts the parts that changed
in the old ones' places. Every value goes through _html(), which escapes it: job names, reasons and output
are whatever a stranger made them.
"""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from string import Formatter
from typing import Any


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


STYLE, SCRIPT, _DOCUMENT = _file("page.css"), _file("page.js"), _file("page.html")

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
# More squares than this tell less than a number.
_SQUARES_AT_MOST = 32
_WIDTH, _GAP, _HEIGHT = 5, 2, 26
_LEAST_BAR = 2
# Twice its usual time and a minute, as the alert ObserverdJobSlow has it.
_SLOW, _SLACK_S = 2, 60

_STATES = {
    "starting": "waiting for the first answer of SQS",
    "running": "running jobs",
    "idle": "nothing to do",
    "waiting": "SQS does not answer",
    "out_of_service": "out of service: its group has it in standby, detached or in a warm pool",
    "leaving": "gave this instance up, takes a last look",
    "draining": "takes no more, lets its jobs finish",
    "stopping": "has told its jobs to end",
}
# A sign beside each colour, for those who do not tell the colours apart.
_SIGNS = {"succeeded": "✓", "interrupted": "↺", "duplicate": "=", "missed": "∅"}
_FAILURE_SIGN = "✗"


_HEAD = """
<h1><span class="state {state}">{state}</span> <small>{says}</small></h1>
{alarms}
<dl class="tiles">
<div><dt>Slots</dt><dd><strong>{busy}</strong> of {total} busy {squares}</dd></div>
<div><dt>Idle</dt><dd>{idle}</dd></div>
<div><dt>Recent runs</dt><dd>{outcomes}</dd></div>
</dl>
<dl class="facts">{facts}</dl>
"""
_FACT = "<div><dt>{name}</dt><dd>{value}</dd></div>"
_RUN = """
<li class="{pace}">
<h3>{job}</h3>
<p class="clock">{duration}</p>
<progress aria-label="Time of {job} so far" value="{seconds}" max="{goal}"></progress>
<p>{attempt}, {bounds}, started {delay} after its scheduled time</p>
<p class="with">run <code>{run_id}</code> {log}</p>
</li>
"""
_JOBS = """
<table>
<thead><tr><th scope="col">Job</th><th scope="col">Last run</th><th scope="col">Ended</th>
<th scope="col">Took</th><th scope="col">Next</th><th scope="col">Last durations</th></tr></thead>
<tbody>{rows}</tbody>
</table>
"""
_JOB = """
<tr><th scope="row">{name}<small>{description}</small></th><td>{chip}</td>
<td data-label="ended">{ended_at}</td><td data-label="took">{duration}</td>
<td class="wide">{next}</td><td class="bars">{bars}</td></tr>
"""
_RECENT = """
<table>
<thead><tr><th scope="col">Ended</th><th scope="col">Job</th><th scope="col">Outcome</th>
<th scope="col">Took</th><th scope="col">Attempt</th><th scope="col">What happened, what is next</th>
<th scope="col">Log</th></tr></thead>
<tbody>{rows}</tbody>
</table>
"""
_PAST = """
<tr><td>{ended_at}</td><th scope="row">{job}<small>{run_id}</small></th><td>{chip}</td>
<td data-label="took">{duration}</td><td data-label="attempt">{attempt}</td>
<td class="wide">{reason}<small>{next}</small>{lines}</td><td>{log}</td></tr>
"""
_BAR = '<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}"><title>{title}</title></rect>'
_LINES = '<details data-key="{key}"><summary>Last lines</summary><pre tabindex="0">{lines}</pre></details>'


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


_NOTHING = Html("&ndash;")


class _Escaping(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, Html):
            return value
        if isinstance(value, tuple):
            return "".join(self.format_field(each, format_spec) for each in value)
        return escape("" if value is None else format(value, format_spec))


def _html(template: str, **values: Any) -> Html:
    """The template with its fields filled in: Html as it is, tuples in a row, everything else escaped."""
    return Html(_Escaping().vformat(template, (), values))


def page(report: dict[str, Any]) -> str:
    """The whole document."""
    return _html(
        _DOCUMENT,
        style=Html(STYLE),
        script=Html(SCRIPT),
        title=f"{report['state']} · {report['queue']} · observerd",
        host=report["host"],
        head=_head(report),
        running=_running(report["running"]),
        jobs=_jobs(report["jobs"]),
        recent=_recent(report["recent"]),
        version=report["version"],
        at=_time(report["at"]),
    )


def duration_text(seconds: float) -> str:
    """For people: "0.4 s", "12 s", "3 min 05 s", "2 h 10 min", "4 d 3 h". As page.js has it."""
    if seconds < 10:  # noqa: PLR2004 below it, tenths tell something
        return f"{int(seconds * 10) / 10:.1f} s"
    whole = int(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S:02} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S:02} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"


# ---- the head


def _head(report: dict[str, Any]) -> Html:
    slots = report["slots"]
    return _html(
        _HEAD,
        state=report["state"],
        says=_STATES[report["state"]],
        alarms=tuple(_html('<p class="alarm">{text}</p>', text=text) for text in _alarms(report)),
        squares=_squares(slots["busy"], slots["total"]),
        busy=slots["busy"],
        total=slots["total"],
        idle=_idle(report["idle"], report["state"]),
        outcomes=_outcomes(report["recent"]),
        facts=tuple(_html(_FACT, name=name, value=value) for name, value in _facts(report)),
    )


def _alarms(report: dict[str, Any]) -> Iterable[str]:
    if not report["healthy"]:
        yield "Stuck: nothing has happened here for longer than it may. systemd's watchdog should restart it."
    if report["fault"]:
        yield f"The last receive failed: {report['fault']}"


def _facts(report: dict[str, Any]) -> Iterable[tuple[str, object]]:
    yield "Queue", report["queue"]
    yield "Host", report["host"]
    yield "Region", report["region"]
    yield "Up since", _time(report["started_at"])


def _squares(busy: int, total: int) -> Html | str:
    if total > _SQUARES_AT_MOST:
        return ""
    squares = Html('<i class="busy"></i>' * busy + "<i></i>" * (total - busy))
    return _html('<span class="squares" aria-hidden="true">{squares}</span>', squares=squares)


def _idle(idle: dict[str, Any], state: str) -> Html | str:
    if idle["for_s"] is None:
        # Of its last run it is not known yet whether another message waits, or the message comes back.
        return "not yet" if state == "idle" else "not idle"
    if idle["timeout_s"] is None:
        return _html("for {age}, stays", age=_live(idle["for_s"]))
    return _html(
        "for {age}, leaves after {most}", age=_live(idle["for_s"]), most=duration_text(idle["timeout_s"])
    )


def _outcomes(recent: list[dict[str, Any]]) -> Html | str:
    if not recent:
        return "none yet"
    good = sum(run["outcome"] == "succeeded" for run in recent)
    bad = sum(_is_bad(run["outcome"]) for run in recent)
    return _html("{good} succeeded, {bad} failed", good=good, bad=bad)


# ---- runs and jobs


def _running(runs: list[dict[str, Any]]) -> Html:
    if not runs:
        return _html('<p class="none">No job is running.</p>')
    return _html('<ul class="runs">{runs}</ul>', runs=tuple(_html(_RUN, **_run_values(run)) for run in runs))


def _run_values(run: dict[str, Any]) -> dict[str, Any]:
    usual, most = (run[key] and _unbroken(duration_text(run[key])) for key in ("usual_s", "timeout_s"))
    is_slow = run["usual_s"] is not None and run["duration_s"] > _SLOW * run["usual_s"] + _SLACK_S
    usually = usual and (f"usually {usual}: much longer than that" if is_slow else f"usually {usual}")
    bounds = (usually, most and f"at most {most}")
    return {
        "job": run["job"],
        "pace": "slow" if is_slow else "",
        "run_id": run["run_id"],
        "attempt": _attempt(run["attempt"], run["attempts"]),
        "duration": _live(run["duration_s"]),
        "seconds": run["duration_s"],
        "goal": run["usual_s"] or run["timeout_s"] or 1,
        "bounds": ", ".join(filter(None, bounds)),
        "delay": _unbroken(duration_text(max(0.0, run["start_delay_s"]))),
        "log": _log(run),
    }


def _jobs(jobs: list[dict[str, Any]]) -> Html:
    if not jobs:
        return _html('<p class="none">No job is defined on this machine.</p>')
    return _html(_JOBS, rows=tuple(_html(_JOB, **_job_values(job)) for job in jobs))


def _job_values(job: dict[str, Any]) -> dict[str, Any]:
    outcome = "running" if job["running"] else job["last_outcome"]
    return {
        "name": job["name"],
        "description": job["description"],
        "chip": _chip(outcome) if outcome else _NOTHING,
        "ended_at": _time(job["last_ended_at"]) if job["last_ended_at"] else _NOTHING,
        "duration": _NOTHING if job["last_duration_s"] is None else duration_text(job["last_duration_s"]),
        "next": job["next"],
        "bars": _bars(job["name"], job["bars"]),
    }


def _recent(runs: list[dict[str, Any]]) -> Html:
    if not runs:
        return _html('<p class="none">No run has ended here yet.</p>')
    return _html(_RECENT, rows=tuple(_html(_PAST, **_past_values(run)) for run in runs))


def _past_values(run: dict[str, Any]) -> dict[str, Any]:
    return {
        "ended_at": _time(run["ended_at"]),
        "job": run["job"] or "unreadable message",
        "run_id": run["run_id"] or "",
        "chip": _chip(run["outcome"]),
        "duration": _NOTHING if run["duration_s"] is None else duration_text(run["duration_s"]),
        "attempt": run["attempt"],
        "reason": run["reason"] or ("exit code 0" if run["exit_code"] == 0 else ""),
        "next": run["next"],
        "lines": _last_lines(run),
        "log": _log(run),
    }


def _last_lines(run: dict[str, Any]) -> Html | str:
    if not run["last_lines"]:
        return ""
    key = f"{run['run_id']}-{run['attempt']}"
    return _html(_LINES, key=key, lines=run["last_lines"])


def _log(run: dict[str, Any]) -> Html | str:
    if not run["log_stream"]:
        return ""
    if run["log_url"] is None:
        return _html('<code class="stream">{stream}</code>', stream=run["log_stream"])
    return _html(
        '<a href="{url}" rel="noreferrer" aria-label="Log of {job}, run {run}">Log</a>',
        url=run["log_url"],
        job=run["job"],
        run=run["run_id"],
    )


def _chip(outcome: str) -> Html:
    if outcome == "running":
        return _html('<span class="chip running"><b aria-hidden="true">▸</b> running</span>')
    kind = "good" if outcome == "succeeded" else "bad" if _is_bad(outcome) else "other"
    sign = _SIGNS.get(outcome, _FAILURE_SIGN)
    return _html(
        '<span class="chip {kind}"><b aria-hidden="true">{sign}</b> {outcome}</span>',
        kind=kind,
        sign=sign,
        outcome=outcome,
    )


def _is_bad(outcome: str) -> bool:
    return outcome not in ("succeeded", "interrupted", "duplicate")


def _bars(name: str, bars: list[dict[str, Any]]) -> Html | str:
    """The last durations as bars, the newest at the right."""
    if not bars:
        return _NOTHING
    longest_s = max(bar["duration_s"] for bar in bars)
    width = len(bars) * (_WIDTH + _GAP)
    label = f"{name}: the last {len(bars)} durations, up to {duration_text(longest_s)}"
    drawn = tuple(_bar(at, bar, longest_s) for at, bar in enumerate(bars))
    return _html(
        '<svg role="img" aria-label="{label}" width="{width}" height="{height}">{bars}</svg>',
        label=label,
        width=width,
        height=_HEIGHT,
        bars=drawn,
    )


def _bar(at: int, bar: dict[str, Any], longest_s: float) -> Html:
    share = bar["duration_s"] / longest_s if longest_s > 0 else 0.0
    height = max(_LEAST_BAR, round(_HEIGHT * share))
    return _html(
        _BAR,
        kind="bad" if _is_bad(bar["outcome"]) else "good",
        x=at * (_WIDTH + _GAP),
        y=_HEIGHT - height,
        width=_WIDTH,
        height=height,
        title=f"{bar['outcome']}, {duration_text(bar['duration_s'])}",
    )


# ---- small things


def _attempt(attempt: int, attempts: int | None) -> str:
    return f"attempt {attempt}" if attempts is None else f"attempt {attempt} of {attempts}"


def _unbroken(text: str) -> str:
    """On one line, where it stands in a sentence."""
    return text.replace(" ", "\u00a0")


def _time(instant: str) -> Html:
    """An instant as "11-24 18:00:03"; whole, with its zone, for machines and on demand."""
    return _html(
        '<time datetime="{instant}" title="{instant}">{short}</time>',
        instant=instant,
        short=instant[5:19].replace("T", " "),
    )


def _live(seconds: float) -> Html:
    """A duration that the script counts on."""
    return _html('<span data-seconds="{seconds}">{text}</span>', seconds=seconds, text=duration_text(seconds))
