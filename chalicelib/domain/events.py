"""What has happened in a session: its log as clients read it, in the one order that it has."""

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from chalicelib.store.log import INTERNAL, LogEntry

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from chalicelib.stores import Stores
    from chalicelib.wire.events import SessionEvent


def read(stores: "Stores", session_id: str, after: int = 0) -> "Iterator[tuple[int, SessionEvent | None]]":
    """Read a session's events from behind a position of its log on.

    Gives each position that it passes, with the event there; ``None`` where Coral has no event for the entry.
    What has been read never changes, and nothing is ever put before it.
    """
    for entry in stores.log.read(session_id, after + 1, past_end=True):
        yield entry.position, event_of(entry)


def event_of(entry: LogEntry) -> "SessionEvent | None":
    """Return an entry of the log as Coral's `SessionEvent`; ``None`` for one that is Atoll's own."""
    return None if entry.event["type"] in INTERNAL else _events().validate_python(entry.event)


@cache
def _events() -> "TypeAdapter[SessionEvent]":
    from pydantic import TypeAdapter

    from chalicelib.wire.events import SessionEvent

    return TypeAdapter(SessionEvent)
