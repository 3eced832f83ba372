"""Time for the engines: threads and the wall clock in the local stack, a clock that a test moves in `tests/faults`."""

from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """Something that is to be done at a time."""

    def cancel(self) -> None:
        """Let it not be done, unless it has begun."""


class Scheduler(Protocol):
    """Does things now, after a pause, or at a time; the caller does not wait for it."""

    @property
    def now_ms(self) -> int:
        """The time, in epoch ms."""

    def run(self, what: Callable[..., Any], *arguments: Any) -> None:
        """Do something soon."""

    def after(self, delay_ms: int, what: Callable[..., Any], *arguments: Any) -> Timer:
        """Do something once, after a pause."""

    def at(self, time_ms: int, what: Callable[..., Any], *arguments: Any) -> Timer:
        """Do something once, at a time of the wall clock and not before it."""
