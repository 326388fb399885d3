"""What keeps a command from doing what it was asked, in one line for a person."""

from collections.abc import Callable
from typing import Any

from observerd.aws import Unanswered, ask

# sysexits.h
EX_UNAVAILABLE, EX_NOPERM = 69, 77


class Trouble(Exception):
    """The command ends here. The text is one line: what, which, what next."""

    def __init__(self, text: str, status: int = EX_UNAVAILABLE) -> None:
        super().__init__(text)
        self.status = status


def asked(method: Callable[..., Any], **request: Any) -> Any:
    """The answer of AWS. Raises Trouble."""
    try:
        return ask(method, **request)
    except Unanswered as fault:
        raise trouble_of(fault) from None


def trouble_of(fault: Unanswered) -> Trouble:
    return Trouble(str(fault), EX_NOPERM if fault.denied else EX_UNAVAILABLE)
