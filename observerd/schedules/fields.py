"""The fields of both grammars, and how a set of numbers is written in AWS's."""

from collections.abc import Iterable
from dataclasses import dataclass

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    """What may stand for the numbers from low on."""

    @property
    def all(self) -> frozenset[int]:
        return frozenset(range(self.low, self.high + 1))


MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
DAY = Field("day of month", 1, 31)
MONTH = Field("month", 1, 12, MONTHS)
# cron counts Sunday as 0 and as 7; AWS counts it as 1.
CRON_WEEKDAY = Field("day of week", 0, 7, WEEKDAYS)
AWS_WEEKDAY = Field("day of week", 1, 7, WEEKDAYS)
YEAR = Field("year", 1970, 2199)


def aws_text(field: Field, values: Iterable[int]) -> str:
    """The shortest of the forms that AWS documents: *, START/STEP to the end, or a list with ranges."""
    numbers = sorted(values)
    if len(numbers) == field.high - field.low + 1:
        return "*"
    if step := _step_to_the_end(field, numbers):
        return f"{numbers[0]}/{step}"
    return ",".join(_run_text(field, run) for run in _runs(numbers))


def _step_to_the_end(field: Field, numbers: list[int]) -> int | None:
    """The step, where the numbers are all that START/STEP means: from the first to the end of the field."""
    if field.names or len(numbers) < 3:  # noqa: PLR2004 two are shorter as a list
        return None
    step = numbers[1] - numbers[0]
    whole = list(range(numbers[0], field.high + 1, step))
    return step if step > 1 and whole == numbers else None


def _runs(numbers: list[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _run_text(field: Field, run: list[int]) -> str:
    words = [field.names[each - field.low] if field.names else str(each) for each in run]
    return ",".join(words) if len(words) < 3 else f"{words[0]}-{words[-1]}"  # noqa: PLR2004 as above
