"""What became of a check, and how one says that it cannot be made or has failed."""

import dataclasses
from typing import Literal

Result = Literal["passed", "failed", "skipped"]


class CheckFailed(Exception):
    """The stage does not do what it should; the message says what it did."""


class Skipped(Exception):
    """The check cannot be made here; the message says why."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One line of the report."""

    #: By which way the stage was deployed, and the name of the check.
    way: str
    name: str
    result: Result
    text: str
    took_s: float


def expect(condition: object, text: str) -> None:
    """Raise `CheckFailed` unless a condition holds."""
    if not condition:
        raise CheckFailed(text)
