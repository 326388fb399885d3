"""`observerd doctor`: goes through the checks, and says what is wrong and how to mend it."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from observerd.core.lines import one_line
from observerd.operations.checkups import CHECKS, Finding, Level, Missing, Patient
from observerd.operations.screen import Progress, Screen
from observerd.operations.trouble import EX_NOPERM, Trouble

# What is wrong at all, for scripts; and where nothing is, that not everything could be looked at.
EX_WRONG, EX_UNSURE = 1, EX_NOPERM
STYLES = {Level.OK: "good", Level.NOTE: "dim", Level.WRONG: "bad", Level.UNKNOWN: "warn"}
_NAME, _LEVEL = max(map(len, CHECKS)), max(len(level.value) for level in Level)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What each check found, by its name."""

    findings: Mapping[str, Sequence[Finding]]

    def count(self, level: Level) -> int:
        return sum(finding.level is level for found in self.findings.values() for finding in found)

    @property
    def status(self) -> int:
        if self.count(Level.WRONG):
            return EX_WRONG
        return EX_UNSURE if self.count(Level.UNKNOWN) else 0

    def values(self) -> list[dict[str, Any]]:
        """For --json."""
        return [
            {"check": name, "level": each.level.name.lower(), "text": each.text, "mend": each.mend}
            for name, found in self.findings.items()
            for each in found
        ]


def examine(patient: Patient) -> Diagnosis:
    """Go through every check. What cannot be asked is a finding too."""
    findings = {}
    with Progress("examining") as progress:
        for place, name in enumerate(CHECKS):
            progress.at(place + 1, len(CHECKS))
            findings[name] = _examined(patient, name)
    return Diagnosis(findings)


def _examined(patient: Patient, name: str) -> list[Finding]:
    check, found = CHECKS[name], []
    try:
        for finding in check(patient):
            found.append(finding)  # noqa: PERF402 what was found before a question failed is kept
    except Missing as fault:
        found.append(Finding(Level.WRONG, str(fault)))
    except Trouble as fault:
        found.append(Finding(Level.UNKNOWN, f"not checked: {fault}"))
    except KeyError as missing:
        found.append(Finding(Level.UNKNOWN, f"not checked: AWS's answer or the stack has no {missing}"))
    return found or [Finding(Level.OK, (check.__doc__ or "").splitlines()[0])]


def report(diagnosis: Diagnosis, patient: Patient, screen: Screen) -> str:
    """A line or two for each finding, and their sum."""
    place = patient.place
    lines = [f"{place.stack or place.queue_url.rsplit('/', 1)[1]} in {place.region}", ""]
    for name, found in diagnosis.findings.items():
        for finding in found:
            level = screen.paint(f"{finding.level.value:<{_LEVEL}}", STYLES[finding.level])
            head = f"  {level}  {name:<{_NAME}}  "
            lines += _wrapped(head, one_line(finding.text), screen)
            # A command is to be pasted: it is never cut or wrapped by us.
            lines += [f"{' ' * (_LEVEL + _NAME + 6)}mend: {one_line(finding.mend)}"] if finding.mend else []
    return "\n".join([*lines, "", _sum(diagnosis)])


def _wrapped(head: str, text: str, screen: Screen) -> list[str]:
    indent = _LEVEL + _NAME + 6
    room = max(24, screen.width - indent) if screen.width else 10_000
    first, *rest = textwrap.wrap(text, room) or [""]
    return [f"{head}{first}".rstrip(), *(f"{' ' * indent}{line}" for line in rest)]


def _sum(diagnosis: Diagnosis) -> str:
    bad, unknown = diagnosis.count(Level.WRONG), diagnosis.count(Level.UNKNOWN)
    told = "nothing is wrong" if not bad else f"{bad} thing{' is' if bad == 1 else 's are'} wrong"
    return (
        told + (f", {unknown} check{'' if unknown == 1 else 's'} could not be made" if unknown else "") + "."
    )
