"""What a check of an account found."""

import dataclasses
from typing import Literal

#: ``problem``: the deployment would fail, or agents could not work. ``unknown``: it could not be read.
Level = Literal["ok", "warning", "problem", "unknown"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the table: about what, how bad it is, and what to do."""

    subject: str
    level: Level
    text: str


def ok(subject: str, text: str) -> Finding:
    """Return a finding that needs nothing to be done."""
    return Finding(subject, "ok", text)


def warning(subject: str, text: str) -> Finding:
    """Return a finding with which a stage works, but less well than it looks."""
    return Finding(subject, "warning", text)


def problem(subject: str, text: str) -> Finding:
    """Return a finding with which the deployment fails, or agents cannot work."""
    return Finding(subject, "problem", text)
