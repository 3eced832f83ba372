"""What takes several requests, as generators without I/O: both clients drive them.

A flow yields a `Call` and is sent its result, or is thrown its error; a `Pause`, to be slept; or an `Out`, which is for
the caller.
"""

import dataclasses
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeAlias, TypeVar

from atoll import calls
from atoll.calls import Call, Page
from atoll.errors import NotFound

T = TypeVar("T")

#: Pauses between two looks at what may grow, in s: the first, by how much each is longer, and the longest.
FIRST_PAUSE_S = 0.25
PAUSE_GROWTH = 1.5
LONGEST_PAUSE_S = 2.0


@dataclasses.dataclass(frozen=True)
class Pause:
    """Time to sleep, in s."""

    s: float


@dataclasses.dataclass(frozen=True)
class Out(Generic[T]):
    """What is for the caller."""

    value: T


Flow: TypeAlias = Generator[Call[Any] | Pause | Out[T], Any, None]


def listing(page_at: Callable[[str | None], Call[Page[T]]]) -> Flow[T]:
    """Give the entries of a listing one by one, a page at a time."""
    cursor: str | None = None
    while True:
        page: Page[T] = yield page_at(cursor)
        for entry in page.entries:
            yield Out(entry)
        if page.cursor is None:
            return
        cursor = page.cursor


def following(
    live: Callable[[str], Call[Page[T]]],
    kept: Callable[[str], Call[Page[T]]],
    after: str,
    *,
    kept_from_start: bool = False,
) -> Flow[Page[T]]:
    """Give what comes to a session page by page until it is over, then what the history has besides.

    Whoever goes on later from the cursor of the last page that was dealt with misses nothing. Raises `NotFound` for a
    session that never was there. With ``kept_from_start`` cursors of the history are other ones: then it is read only
    when the session was over from the start.
    """
    cursor, pause_s, seen = after, FIRST_PAUSE_S, False
    while True:
        try:
            page: Page[T] = yield live(cursor)
        except NotFound:
            break
        seen = True
        pause_s = FIRST_PAUSE_S if page.entries else min(pause_s * PAUSE_GROWTH, LONGEST_PAUSE_S)
        moved = page.cursor != cursor
        cursor = page.cursor or cursor
        if page.entries:
            yield Out(page)
        elif not moved:
            yield Pause(pause_s)
    if seen and kept_from_start:
        return
    try:
        yield from _rest(kept, cursor)
    except NotFound:
        if not seen:
            raise


def _rest(kept: Callable[[str], Call[Page[T]]], cursor: str) -> Flow[Page[T]]:
    while True:
        page: Page[T] = yield kept(cursor)
        if page.entries:
            yield Out(page)
        if page.cursor is None or page.cursor == cursor:
            return
        cursor = page.cursor


def events(namespace: str, session_id: str, after: str) -> Flow[Page[Any]]:
    """Follow the events of a session to its end."""
    return following(
        lambda cursor: calls.events(namespace, session_id, cursor, None),
        lambda cursor: calls.historic_events(namespace, session_id, cursor, None),
        after,
    )


def logs(namespace: str, session_id: str, agent: str | None, after: str) -> Flow[Page[Any]]:
    """Follow what the agents of a session print to its end."""
    return following(
        lambda cursor: calls.logs(namespace, session_id, agent, cursor, None),
        lambda cursor: calls.historic_logs(namespace, session_id, agent, cursor, None),
        after,
        kept_from_start=True,
    )


def registry() -> Flow[Any]:
    """Give the registered agents one by one."""

    def entries(page: Page[Any]) -> list[Any]:
        return [agent for source in page.entries for agent in source.agents]

    cursor: str | None = None
    while True:
        page = yield calls.registry(cursor)
        for agent in entries(page):
            yield Out(agent)
        if page.cursor is None:
            return
        cursor = page.cursor
