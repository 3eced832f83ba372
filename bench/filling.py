"""Long logs for measurements, written at once instead of message by message."""

from collections.abc import Iterable

from chalicelib.services import Services
from chalicelib.store import log
from chalicelib.store.log import Event, LogEntry, Ticket


def fill(services: Services, session_id: str, events: Iterable[Event], *, expires_at: int) -> None:
    """Append events to a session's log as its writers would have, a millisecond apart; the last one is of now."""
    table, told = services.log._table, list(events)
    head = services.log.head(session_id) or Ticket(0, 0)
    last_ms = max(services.clock.now_ms(), head.stamp_ms + len(told))
    entries = [
        LogEntry(f"e{number}", head.position + number, last_ms - len(told) + number, event, expires_at)
        for number, event in enumerate(told, 1)
    ]
    table.write_all([log._item(session_id, entry) for entry in entries])
    position, stamp_ms = entries[-1].position, entries[-1].stamp_ms
    about = {"position": position, "stampMs": stamp_ms, "expiresAt": expires_at}
    table.put({**log.head_key_of(session_id), **about})
