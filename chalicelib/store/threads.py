"""``THREAD#`` of the session-items table: who takes part in a thread, and whether it is open.

The messages themselves are in the session's log. Each change is one conditional update; a refused one returns the
thread as it was found, so that the caller can say why without another read.
"""

import dataclasses
import uuid
from collections.abc import Iterator
from typing import Any, Literal

from chalicelib.store.items import Item, Key, size_of
from chalicelib.store.record import Record
from chalicelib.store.table import Table

_PREFIX = "THREAD#"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ThreadRecord(Record):
    """A thread as it is stored; times in epoch ms, ``expires_at`` in epoch s."""

    session_id: str
    thread_id: str
    name: str
    creator_name: str
    created_at_ms: int
    expires_at: int
    participants: set[str] = dataclasses.field(default_factory=set)
    state: Literal["open", "closed"] = "open"
    summary: str | None = None
    closed_at_ms: int | None = None
    #: A position of the log before all that happened in it.
    log_position: int = 0
    #: Names the last update, so that one whose answer was lost is not taken for another's when the SDK repeats it.
    last_update: str = ""

    @property
    def item_bytes(self) -> int:
        """How large its item is."""
        return size_of(self.to_item())

    def to_item(self) -> Item:
        """Return the attributes of the item, its sort key among them."""
        return {**super().to_item(), "item": _PREFIX + self.thread_id}


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What became of a conditional change: whether it was made, and the thread as it is now."""

    made: bool
    thread: ThreadRecord | None


def key_of(session_id: str, thread_id: str) -> Key:
    """Return the key of a thread."""
    return {"sessionId": session_id, "item": _PREFIX + thread_id}


class Threads:
    """The threads among a session's items."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def create(self, record: ThreadRecord) -> None:
        """Write a new thread; its id is its own."""
        self._table.put(record.to_item())

    def find(self, session_id: str, thread_id: str) -> ThreadRecord | None:
        """Read one thread."""
        item = self._table.get(key_of(session_id, thread_id))
        return ThreadRecord.from_item(item) if item else None

    def of_session(self, session_id: str) -> list[ThreadRecord]:
        """Read all threads of a session, oldest first."""
        items = self._table.query(
            "#sessionId = :session AND begins_with(#item, :prefix)", {":session": session_id, ":prefix": _PREFIX}
        )
        return sorted(map(ThreadRecord.from_item, items), key=lambda thread: (thread.created_at_ms, thread.thread_id))

    def page(self, session_id: str, *, start: str | None, limit: int | None) -> Iterator[ThreadRecord]:
        """Read threads of a session in the order of their keys, from behind the one with the id ``start`` on."""
        items = self._table.query(
            "#sessionId = :session AND begins_with(#item, :prefix)",
            {":session": session_id, ":prefix": _PREFIX},
            start=key_of(session_id, start) if start else None,
            limit=limit,
        )
        return map(ThreadRecord.from_item, items)

    def add(self, session_id: str, thread_id: str, *, requester: str, name: str) -> Change:
        """Add a participant to a thread, in the name of another one."""
        return self._change(
            session_id,
            thread_id,
            " ADD #participants :added",
            when="contains(#participants, :requester) AND NOT contains(#participants, :name)",
            values={":requester": requester, ":name": name, ":added": {name}},
        )

    def remove(self, session_id: str, thread_id: str, *, requester: str, name: str) -> Change:
        """Remove a participant from a thread, in the name of one."""
        return self._change(
            session_id,
            thread_id,
            " DELETE #participants :removed",
            when="contains(#participants, :requester) AND contains(#participants, :name)",
            values={":requester": requester, ":name": name, ":removed": {name}},
        )

    def close(self, session_id: str, thread_id: str, *, summary: str, now_ms: int) -> Change:
        """Close an open thread."""
        return self._change(
            session_id,
            thread_id,
            ", #state = :closed, #summary = :summary, #closedAtMs = :now",
            when="#state = :open",
            values={":open": "open", ":closed": "closed", ":summary": summary, ":now": now_ms},
        )

    def _change(self, session_id: str, thread_id: str, change: str, *, when: str, values: dict[str, Any]) -> Change:
        update = uuid.uuid4().hex
        made, item = self._table.try_update(
            key_of(session_id, thread_id),
            f"SET #lastUpdate = :update{change}",
            when=f"#lastUpdate <> :update AND {when}",
            values={**values, ":update": update},
        )
        thread = ThreadRecord.from_item(item) if item else None
        return Change(made or (thread is not None and thread.last_update == update), thread)
