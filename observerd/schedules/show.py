"""What the subcommands about schedules do, and the text that they answer with."""

import os
import pwd
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

from observerd.core.lines import one_line
from observerd.schedules import cron as crontab
from observerd.schedules import eventbridge, proof, template
from observerd.schedules.conversion import DST_YEARS, CannotConvert, Part, convert, part_runs
from observerd.schedules.cron import BadCron, Cron, read_cron
from observerd.schedules.importing import Imported, Line, Settings, import_crontab, schedules_of
from observerd.schedules.schedule import Schedule, known_zone, load, missed_after_h, written
from observerd.schedules.words import (
    cron_warnings,
    cron_words,
    expression_warnings,
    expression_words,
    span_words,
)

# sysexits.h, and 1 for a proof that fails.
EX_DATAERR, EX_CANTCREAT, DIFFERENT = 65, 73, 1
# Differences, lines and names that are told one by one; the rest is counted.
_TOLD = 6
_SOON = 5
_LONGEST_CELL = 60
_RARE = "no alarm can tell that a run is missing: CloudWatch looks back seven days (`observerd runs` tells)"
_CHOSEN = {
    True: "in those nights jobs start as cron has it (--clock-changes eventbridge: as Scheduler has it)",
    False: "in those nights jobs start as Scheduler has it, as you chose",
}


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    status: int = 0
    value: Any = None
    """The same for --json."""


class NotPossible(Exception):
    """The command cannot do what it was asked. The text is one line a fault."""

    def __init__(self, text: str, status: int = EX_DATAERR) -> None:
        super().__init__(text)
        self.status = status


# ---- import-crontab


def import_crontabs(
    sources: Sequence[tuple[str, str]],
    *,
    system: bool,
    user: str | None,
    timezone: str | None,
    like_cron: bool,
    out: Path,
    now: datetime,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Answer:
    """Write jobs.d and schedules.toml into out for crontabs given as (name, text). Raises NotPossible.

    progress is told how many schedules are proved, and of how many. A second of CPU proves about twenty.
    """
    zone = _zone(timezone or local_zone())
    taken: dict[str, str] = {}
    imported = []
    for name, text in sources:
        of_system = system or (user is None and _is_system(name))
        whose = None if of_system else user or _owner(name) or pwd.getpwuid(os.geteuid()).pw_name
        settings = Settings(of_system, whose, zone, like_cron, _home_of, now)
        imported.append(import_crontab(one_line(name), text, settings, taken))
    schedules = schedules_of(imported)
    files = {str(path): text for each in imported for path, text in each.job_files()}
    if files:
        names = _some([each.source for each in imported])
        heading = (
            f"From {names} by `observerd import-crontab`. Now yours: `observerd render-schedules` reads it."
        )
        files["schedules.toml"] = written(schedules, heading)
    _write(out, files)
    blocks = [_import_text(each, now) for each in imported]
    proofs = []
    for number, entry in enumerate(schedules.entries, 1):
        proofs.append(proof.prove(entry, now))
        progress(number, len(schedules.entries))
    unexplained = [each for each in proofs if _unexplained(each, now)]
    blocks += [_differences(each, now) for each in unexplained]
    blocks += [_proof_summary(proofs, now), _written_text(out, files)]
    refused = any(each.refusals for each in imported)
    status = DIFFERENT if unexplained else EX_DATAERR if refused else 0
    return Answer("\n\n".join(block for block in blocks if block), status)


def _is_system(name: str) -> bool:
    return name == "/etc/crontab" or name.startswith("/etc/cron.d/")


def _unread(name: str) -> str:
    """What is to be said of a file that cron takes no notice of for its name."""
    path = PurePosixPath(name)
    if path.parent.name != "cron.d" or re.fullmatch("[A-Za-z0-9_-]+", path.name):
        return ""
    nobody = re.search(r"^[.#]|~$|\.rpm(save|orig|new)$", path.name)
    who = "no cron reads" if nobody else "Debian's cron does not read"
    return f"{who} a file of this name: does it belong here?"


def _owner(name: str) -> str | None:
    """Whose crontab it is, where it lies where crontab(1) keeps them: Debian, SUSE, and cronie."""
    found = re.fullmatch(r"/var/spool/cron/(?:crontabs/|tabs/)?([^/]+)", name)
    return found[1] if found else None


def _home_of(user: str) -> str | None:
    try:
        return pwd.getpwnam(user).pw_dir
    except KeyError:
        return None


def local_zone() -> str:
    """The IANA name of the time zone that cron goes by on this machine."""
    target = os.path.realpath("/etc/localtime")
    _, found, name = target.partition("/zoneinfo/")
    return name if found else "UTC"


def _zone(name: str) -> str:
    try:
        return known_zone(name)
    except ValueError as error:
        raise NotPossible(f"--timezone: {error}") from None


def _write(out: Path, files: dict[str, str]) -> None:
    """All of the files or none. What is there and says something else is nobody's to overwrite."""
    try:
        foreign = [
            name
            for name, text in files.items()
            if (out / name).exists() and (out / name).read_bytes() != text.encode()
        ]
        if foreign:
            raise NotPossible(
                f"{out}: not as this import would write it: {_some(foreign)}; nothing is written"
                " (give another --out, and compare)",
                EX_CANTCREAT,
            )
        for name, text in files.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            # Never half of a file: the next import would take it for somebody's own.
            half = path.with_name(f".{path.name}.half")
            # A crontab's variables may hold passwords, and the daemon takes no file that others may write.
            half.touch(mode=0o640)
            half.chmod(0o640)
            half.write_text(text)
            half.replace(path)
    except OSError as error:
        raise NotPossible(f"{error.filename}: {error.strerror}", EX_CANTCREAT) from None


def _written_text(out: Path, files: dict[str, str]) -> str:
    jobs = len(files) - 1
    return (
        f"written to {out}: {_count(jobs, 'job')} in jobs.d, and schedules.toml"
        if files
        else "nothing written"
    )


def _import_text(imported: Imported, now: datetime) -> str:
    lines, refusals = imported.lines, imported.refusals
    head = f"{imported.source}: {_count(len(lines), 'line')} carried over"
    blocks = [head + (f", {len(refusals)} refused" if refusals else "")]
    if lines:
        rows: list[tuple[str, ...]] = [("LINE", "CRONTAB", "JOB", "EVENTBRIDGE", "TIME ZONE")]
        rows += [row for line in lines for row in _line_rows(line, now)]
        blocks.append(_table(rows))
    if refusals:
        blocks.append(
            "refused\n"
            + "\n".join(f"  line {each.number}: {_cut(each.line)}\n    {each.reason}" for each in refusals)
        )
    known = [(line.entry.number, note) for line in lines for note in line.notes]
    known += [(line.entry.number, _RARE) for line in lines if not missed_after_h([line.schedule], now)]
    coming = [(line.entry.number, note) for line in lines for note in _clock_notes(line.schedule, now)]
    notes = list(_grouped([*known, *coming]))
    if unread := _unread(imported.source):
        notes.insert(0, unread)
    if coming:
        notes.append(_CHOSEN[lines[0].schedule.like_cron])
    if notes:
        blocks.append("notes\n" + "\n".join(f"  {one_line(note)}" for note in notes))
    return "\n\n".join(blocks)


def _line_rows(line: Line, now: datetime) -> Iterator[tuple[str, ...]]:
    first, *others = line.schedule.parts(now.date())
    yield str(line.entry.number), line.entry.schedule, line.schedule.job, first.expression, first.timezone
    for part in others:
        yield "", "", "", part.expression, part.timezone


def _grouped(notes: Iterable[tuple[int, str]]) -> Iterator[str]:
    """Each note once, with the lines that it is about."""
    about: dict[str, list[int]] = {}
    for number, note in notes:
        about.setdefault(note, []).append(number)
    yield from (f"{_lines(numbers)}: {note}" for note, numbers in about.items())


def _lines(numbers: Sequence[int]) -> str:
    return f"line{'s' if len(numbers) > 1 else ''} {_some([str(number) for number in numbers])}"


def _clock_notes(schedule: Schedule, now: datetime) -> Iterator[str]:
    """Where cron and Scheduler differ when clocks are changed, on which days next, and what was chosen."""
    days: dict[str, set[str]] = {}
    for each in proof.left_alone(schedule, now):
        days.setdefault(proof.why(each, schedule), set()).add(_local(each.at, schedule.timezone, "%Y-%m-%d"))
    for why, found in days.items():
        yield f"on {', '.join(sorted(found)[:3])} {why}"


# ---- render-schedules


def render(path: Path, out: Path | None, now: datetime) -> Answer:
    """The template, or with out where they were written. Raises BadConfig, NotPossible."""
    schedules = load(path)
    if not schedules.entries:
        raise NotPossible(f"{path}: no schedule is defined, and CloudFormation takes no empty template")
    try:
        texts = template.render(schedules, now)
    except CannotConvert as fault:
        raise NotPossible(str(fault)) from None
    if out is None and len(texts) == 1:
        return Answer(texts[0].rstrip("\n"))
    if out is None:
        raise NotPossible(
            f"{len(texts)} templates are needed (CloudFormation takes 51,200 bytes in one): give --out DIR"
        )
    paths = [out / f"schedules-{number}.json" for number in range(1, len(texts) + 1)]
    try:
        out.mkdir(parents=True, exist_ok=True)
        for each, text in zip(paths, texts, strict=True):
            each.write_text(text)
    except OSError as error:
        raise NotPossible(f"{error.filename}: {error.strerror}", EX_CANTCREAT) from None
    left = sorted(set(out.glob("schedules-[0-9]*.json")) - set(paths))
    if left:
        raise NotPossible(
            f"{_some([str(each) for each in paths])} written; of an earlier rendering there is"
            f" {_some([str(each) for each in left])} (deploy the others, then delete its stack and the file)",
            EX_CANTCREAT,
        )
    return Answer("\n".join(map(str, paths)))


# ---- prove


def prove(path: Path, years: int | None, now: datetime) -> Answer:
    """Every line against its expressions. Status 1 where they differ and nobody chose that."""
    schedules = [each for each in load(path).entries if each.cron is not None]
    if not schedules:
        return Answer("no schedule is written as a crontab line: there is nothing to compare", value=[])
    proofs = [proof.prove(each, now, years) for each in schedules]
    rows = [
        ("SCHEDULE", "CRONTAB", "TIME ZONE", "RUNS", "UNTIL", "CLOCK CHANGES", "RESULT"),
        *map(_proof_row, proofs),
    ]
    blocks = [
        _table(rows),
        *(_differences(each, now) for each in proofs if each.differences),
        _proof_summary(proofs, now),
    ]
    status = DIFFERENT if any(_unexplained(each, now) for each in proofs) else 0
    return Answer("\n\n".join(blocks), status, [_proof_values(each, now) for each in proofs])


def _proof_row(found: proof.Proof) -> tuple[str, ...]:
    schedule = found.schedule
    assert schedule.cron is not None  # noqa: S101 only lines are proved
    result = f"{len(found.differences)} differ" if found.differences else "identical"
    until = f"{found.until:%Y-%m-%d}"
    return (
        schedule.name,
        schedule.cron.text,
        schedule.timezone,
        f"{found.instants:,}",
        until,
        str(found.changes),
        result,
    )


def _proof_values(found: proof.Proof, now: datetime) -> dict[str, Any]:
    schedule = found.schedule
    assert schedule.cron is not None  # noqa: S101 as above
    return {
        "schedule": schedule.name,
        "crontab": schedule.cron.text,
        "timezone": schedule.timezone,
        "runs": found.instants,
        "until": _utc(found.until),
        "clock_changes": found.changes,
        "differences": [
            {
                "at": _utc(each.at),
                "only": "cron" if each.only_cron else "eventbridge",
                "why": proof.why(each, schedule),
                "chosen": proof.is_chosen(each, found, now),
            }
            for each in found.differences
        ],
    }


def _differences(found: proof.Proof, now: datetime) -> str:
    schedule = found.schedule
    lines = [f"{schedule.name}: {_what_differs(found, now)}"]
    for each in found.differences[:_TOLD]:
        who = "cron alone" if each.only_cron else "EventBridge alone"
        lines.append(f"  {_local(each.at, schedule.timezone)}  {who}: {proof.why(each, schedule)}")
    if len(found.differences) > _TOLD:
        lines.append(f"  and {len(found.differences) - _TOLD} more")
    return "\n".join(lines)


def _what_differs(found: proof.Proof, now: datetime) -> str:
    if _unexplained(found, now):
        return "differences"
    if found.schedule.like_cron:
        last = now.year + DST_YEARS - 1
        return f"clock changes are made up for until {last}; render again before that is over"
    return 'differences that clock_changes = "eventbridge" chooses'


def _unexplained(found: proof.Proof, now: datetime) -> bool:
    return not all(proof.is_chosen(each, found, now) for each in found.differences)


def _proof_summary(proofs: Sequence[proof.Proof], now: datetime) -> str:
    if not proofs:
        return ""
    runs, changes = sum(each.instants for each in proofs), sum(each.changes for each in proofs)
    differing = sum(len(each.differences) for each in proofs)
    verdict = "identical" if not differing else _count(differing, "difference")
    if differing and not any(_unexplained(each, now) for each in proofs):
        verdict += ", all where clocks are changed, as schedules.toml has it"
    return f"proof: {_count(len(proofs), 'schedule')}, {runs:,} runs, {changes:,} clock changes: {verdict}"


# ---- next


def next_runs(path: Path, job: str | None, number: int, now: datetime) -> Answer:
    """When jobs start next, by the expressions that are deployed. Raises BadConfig, NotPossible."""
    schedules = [each for each in load(path).entries if job in (None, each.job, each.name)]
    if not schedules:
        raise NotPossible(f"no schedule starts a job {job!r}" if job else "no schedule is defined")
    coming = [
        (at, each)
        for each in schedules
        if each.enabled
        for at in _coming(each.parts(now.date()), number, now)
    ]
    coming.sort(key=lambda run: (run[0], run[1].name))
    if not coming:
        return Answer("nothing: every schedule is disabled, or in the past", value=[])
    rows = [("JOB", "STARTS", "TIME ZONE", "IN", "UTC")]
    for at, each in coming[:number]:
        rows.append(
            (each.job, _local(at, each.timezone), each.timezone, span_words(at - now), f"{at:%Y-%m-%d %H:%M}")
        )
    values = [
        {"schedule": each.name, "job": each.job, "scheduled_time": _utc(at), "timezone": each.timezone}
        for at, each in coming[:number]
    ]
    return Answer(_table(rows, indent=""), value=values)


def _coming(parts: Iterable[Part], number: int, now: datetime) -> list[datetime]:
    """The next instants of all the parts together, each once: two parts at one instant are one run."""
    return sorted({at for part in parts for at in islice(part_runs(part, now), number)})[:number]


# ---- explain


def explain(text: str, timezone: str | None, now: datetime) -> Answer:
    """An expression of either grammar in words, in the other grammar, and what is easily got wrong."""
    zone = _zone(timezone or "UTC")
    try:
        if re.match(r"\s*(cron|rate|at)\(", text, re.IGNORECASE):
            explained = _explained_expression(eventbridge.read_expression(text), zone, now)
        else:
            explained = _explained_cron(read_cron(text), zone, now)
    except eventbridge.BadExpression as fault:
        raise NotPossible(f"{text!r} {fault}") from None
    except BadCron as fault:
        raise NotPossible(f"{text!r} {fault}{_meant_for_aws(text)}") from None
    return Answer(explained.text(), value=explained.values())


def _meant_for_aws(text: str) -> str:
    """What is wrong with six fields where they are AWS's, whose cron() was forgotten."""
    if len(text.split()) != 6:  # noqa: PLR2004 the grammar's
        return ""
    expression = f"cron({text.strip()})"
    try:
        eventbridge.read_expression(expression)
    except eventbridge.BadExpression as fault:
        return f" (and {expression!r} {fault})"
    return f" (for AWS, write {expression!r})"


@dataclass(frozen=True, slots=True)
class _Explained:
    grammar: str
    """"crontab" or "EventBridge"."""
    expression: str
    means: str
    timezone: str
    parts: Sequence[Part]
    """What Scheduler needs for a crontab line."""
    coming: Sequence[datetime]
    warnings: Sequence[str]

    def text(self) -> str:
        facts = [(self.grammar, self.expression), ("means", self.means)]
        facts += [("EventBridge", _part_text(part)) for part in self.parts]
        facts += [
            ("" if number else "next", _local(at, self.timezone)) for number, at in enumerate(self.coming)
        ]
        facts += [("careful", warning) for warning in self.warnings]
        width = max(len(label) for label, _ in facts)
        return "\n".join(f"{label.ljust(width)}  {said}" for label, said in facts)

    def values(self) -> dict[str, Any]:
        return {
            "grammar": self.grammar.lower(),
            "expression": self.expression,
            "means": self.means,
            "timezone": self.timezone,
            "eventbridge": [
                {"expression": each.expression, "timezone": each.timezone} for each in self.parts
            ],
            "next": [_utc(at) for at in self.coming],
            "warnings": list(self.warnings),
        }


def _explained_expression(expression: eventbridge.Expression, zone: str, now: datetime) -> _Explained:
    coming = islice(eventbridge.runs(expression, ZoneInfo(zone), now), _SOON)
    means, warnings = expression_words(expression), list(expression_warnings(expression))
    return _Explained("EventBridge", expression.text, means, zone, (), list(coming), warnings)


def _explained_cron(cron: Cron, zone: str, now: datetime) -> _Explained:
    parts: Sequence[Part] = ()
    warnings = list(cron_warnings(cron))
    try:
        parts = convert(cron, zone, like_cron=True, since=now.date())
    except CannotConvert as fault:
        warnings.append(f"cannot be said in EventBridge's grammar: {fault}")
    coming = islice(crontab.runs(cron, ZoneInfo(zone), now), _SOON)
    return _Explained("crontab", cron.text, cron_words(cron), zone, parts, list(coming), warnings)


def _part_text(part: Part) -> str:
    of_clocks = f", {part.why}" if part.label.startswith("Dst") else ""
    return f"{part.expression} in {part.timezone}{of_clocks}"


# ---- text


def _local(at: datetime, zone: str, form: str = "%a %Y-%m-%d %H:%M %Z") -> str:
    return at.astimezone(ZoneInfo(zone)).strftime(form)


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _table(rows: Sequence[tuple[str, ...]], indent: str = "  ") -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)) for row in rows)
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 1] + "…"


def _some(names: Sequence[str]) -> str:
    """All of a few names; of many, the first and how many more."""
    more = f" and {len(names) - _TOLD:,} more" if len(names) > _TOLD else ""
    return ", ".join(names[:_TOLD]) + more


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def now_utc() -> datetime:
    """The minute that it is: all schedules are told to the minute."""
    return datetime.now(UTC).replace(second=0, microsecond=0)
