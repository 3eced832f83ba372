"""``COUNTS`` of the session-items table: how many messages each thread had up to a position of its session's log.

Sending a message counts nothing. A reader that needs the number counts the log on from here, and keeps the sum for the
next one: what is before a position never changes, so a count can be old, and never wrong.
"""

import dataclasses
import json

from chalicelib.store.items import Key
from chalicelib.store.table import Table

#: Largest text of counts that is kept; an item has at most 400 KB.
_MOST_BYTES = 350_000


@dataclasses.dataclass(frozen=True)
class Counted:
    """Messages by the id of their thread, up to and with a position of the log."""

    position: int = 0
    by_thread: dict[str, int] = dataclasses.field(default_factory=dict)


class MessageCounts:
    """The counts among a session's items."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def find(self, session_id: str) -> Counted:
        """Return the latest counts that were kept."""
        item = self._table.get(_key_of(session_id))
        return Counted(item["position"], json.loads(item["counts"])) if item else Counted()

    def keep(self, session_id: str, counted: Counted, *, expires_at: int) -> None:
        """Keep counts, unless later ones are kept already, or they are too many for an item."""
        text = json.dumps(counted.by_thread, separators=(",", ":"))
        if len(text.encode()) > _MOST_BYTES:
            return
        self._table.put(
            {**_key_of(session_id), "position": counted.position, "counts": text, "expiresAt": expires_at},
            when="attribute_not_exists(#position) OR #position < :position",
            values={":position": counted.position},
        )


def _key_of(session_id: str) -> Key:
    return {"sessionId": session_id, "item": "COUNTS"}
