"""What has happened in a session: its log as clients read it, in the one order that it has."""

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from chalicelib.domain.errors import NotFound
from chalicelib.store.log import INTERNAL, Event, LogEntry
from chalicelib.store.sessions import SessionRecord

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from chalicelib.stores import Stores
    from chalicelib.wire.events import SessionEvent


def read(stores: "Stores", session: SessionRecord, after: int = 0) -> "Iterator[tuple[int, SessionEvent | None]]":
    """Read a session's events from behind a position of its log on.

    Gives each position that it passes, with the event there; ``None`` where Coral has no event for the entry.
    What has been read never changes, and nothing is ever put before it. Raises `NotFound` where the log is going
    because the session is in the history, which goes on from the same position.
    """
    passed = after
    for entry in stores.log.read(session.session_id, after + 1, past_end=True):
        if entry.position > passed + 1 and _is_going(stores, session):
            raise NotFound.of_session(session.namespace, session.session_id)
        yield entry.position, event_of(entry)
        passed = entry.position


def _is_going(stores: "Stores", session: SessionRecord) -> bool:
    now = stores.sessions.find(session.namespace, session.session_id)
    return now is None or now.archived_at_ms is not None


def event_of(entry: LogEntry) -> "SessionEvent | None":
    """Return an entry of the log as Coral's `SessionEvent`; ``None`` for one that is Atoll's own."""
    return None if entry.event["type"] in INTERNAL else parsed(entry.event)


def parsed(event: Event) -> "SessionEvent":
    """Read an event in wire form."""
    return _events().validate_python(event)


@cache
def _events() -> "TypeAdapter[SessionEvent]":
    from pydantic import TypeAdapter

    from chalicelib.wire.events import SessionEvent

    return TypeAdapter(SessionEvent)
