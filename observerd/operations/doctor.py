"""`observerd doctor`: goes through the checks, and says what is wrong and how to mend it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from observerd.core.lines import one_line
from observerd.operations.checkups import CHECKS
from observerd.operations.patient import Finding, Level, Missing, Patient
from observerd.operations.screen import Progress, Screen
from observerd.operations.trouble import EX_NOPERM

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
    """Go through every check, all at once: a service that hangs holds up none of the others.

    What cannot be asked is a finding too.
    """
    inbox: SimpleQueue[tuple[str, list[Finding]]] = SimpleQueue()
    for name in CHECKS:
        # Daemons: nobody who has had enough of it waits for them.
        threading.Thread(target=_examine, args=(patient, name, inbox.put), daemon=True).start()
    findings = {}
    with Progress("examining") as progress:
        for count in range(len(CHECKS)):
            progress.at(count, len(CHECKS))
            name, found = inbox.get()
            findings[name] = found
    return Diagnosis({name: findings[name] for name in CHECKS})


def _examine(patient: Patient, name: str, tell: Callable[[tuple[str, list[Finding]]], None]) -> None:
    check, found = CHECKS[name], []
    try:
        for finding in check(patient):
            found.append(finding)  # noqa: PERF402 what was found before a question failed is kept
    except Missing as fault:
        found.append(Finding(Level.WRONG, str(fault)))
    except KeyError as missing:
        found.append(Finding(Level.UNKNOWN, f"not checked: AWS's answer or the stack has no {missing}"))
    except Exception as fault:  # noqa: BLE001 a check that does not end would be waited for
        found.append(Finding(Level.UNKNOWN, f"not checked: {fault}"))
    tell((name, found or [Finding(Level.OK, (check.__doc__ or "").splitlines()[0])]))


def report(diagnosis: Diagnosis, patient: Patient, screen: Screen) -> str:
    """A line or two for each finding, and their sum."""
    place, indent = patient.place, " " * (_LEVEL + _NAME + 6)
    lines = [f"{place.stack or place.queue_url.rsplit('/', 1)[1]} in {place.region}", ""]
    for name, found in diagnosis.findings.items():
        for finding in found:
            level = screen.paint(f"{finding.level.value:<{_LEVEL}}", STYLES[finding.level])
            head = f"  {level}  {name:<{_NAME}}  "
            first, *rest = screen.wrapped(one_line(finding.text), indent) or [""]
            lines += [f"{head}{first[len(indent) :]}".rstrip(), *rest]
            # A command is to be pasted: it is never cut or wrapped by us.
            lines += [f"{indent}mend: {one_line(finding.mend)}"] if finding.mend else []
    return "\n".join([*lines, "", _sum(diagnosis)])


def _sum(diagnosis: Diagnosis) -> str:
    bad, unknown = diagnosis.count(Level.WRONG), diagnosis.count(Level.UNKNOWN)
    told = "nothing is wrong" if not bad else f"{bad} thing{' is' if bad == 1 else 's are'} wrong"
    return (
        told + (f", {unknown} check{'' if unknown == 1 else 's'} could not be made" if unknown else "") + "."
    )
