"""``EVENT#`` of the session-items table: the append-only log of a session, messages included.

Keys are ``EVENT#<ms, 13 digits>#<ulid>``, hence ordered by time.
"""

import json
from collections.abc import Iterator
from typing import Any

from ulid import ULID

from chalicelib.store.table import Table

_PREFIX = "EVENT#"

#: A `SessionEvent` in wire form.
Event = dict[str, Any]


class Log(Table):
    """The log among a session's items."""

    def append(self, session_id: str, event: Event, *, at_ms: int, expires_at: int) -> str:
        """Add an event stamped ``at_ms`` and return its id, which is unique and grows with time."""
        event_id = f"{at_ms:013d}#{ULID()}"
        self.put(
            {
                "sessionId": session_id,
                "item": _PREFIX + event_id,
                "event": json.dumps(event, separators=(",", ":"), ensure_ascii=False),
                "expiresAt": expires_at,
            }
        )
        return event_id

    def since(self, session_id: str, from_ms: int, *, limit: int | None = None) -> Iterator[tuple[str, Event]]:
        """Read ``(id, event)`` of all events stamped at or after ``from_ms``, oldest first."""
        items = self.query(
            "#sessionId = :session AND #item BETWEEN :from AND :to",
            {":session": session_id, ":from": f"{_PREFIX}{max(from_ms, 0):013d}#", ":to": f"{_PREFIX}~"},
            limit=limit,
        )
        return ((item["item"].removeprefix(_PREFIX), json.loads(item["event"])) for item in items)
