"""The history table: a row for each session that has ended, and beside it one that leads from the session's id there.

The rows of a namespace are in the order in which their sessions ended. What a row is about is in S3.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from chalicelib.store.items import Item, Key
from chalicelib.store.record import Record
from chalicelib.store.sessions import CloseReason, Sessions
from chalicelib.store.table import Table

#: What leads from a session's id to its row is before all rows, which begin with a time.
_POINTER = "#"
_FIRST, _LAST = "0", ":"


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistoryRecord(Record):
    """A session that has ended, as it is stored; times in epoch ms, ``expires_at`` in epoch s."""

    namespace: str
    session_id: str
    #: Its sort key: `place_of`.
    place: str
    expires_at: int
    created_at_ms: int
    executed_at_ms: int
    closing_at_ms: int
    #: When its hold was over and it was archived.
    ended_at_ms: int
    close_reason: CloseReason
    annotations: dict[str, str]
    messages: int
    #: Bytes of their texts.
    message_bytes: int
    threads: int
    waits: int
    #: ``{"name", "runningMs", "waitingMs"}`` of each agent, in the order of the graph.
    agents: list[dict[str, Any]]
    #: The last position of its log.
    last_position: int
    #: Names of its objects: its state, and the parts of its log, each by the first position that it has.
    state: str
    parts: list[str]
    #: The name of the object with the last lines of its agents; ``None`` when there are none.
    lines: str | None = None
    #: Its `Budgets` in wire form, at its end; ``None`` without any.
    budget: dict[str, Any] | None = None

    @property
    def objects(self) -> list[str]:
        """The names of all its objects."""
        return [self.state, *self.parts, *([self.lines] if self.lines else [])]


def place_of(closing_at_ms: int, session_id: str = "") -> str:
    """Return the sort key of a session's row, or the one before all that ended at that time or later."""
    return f"{closing_at_ms:013d}#{session_id}"


class History:
    """The history table."""

    def __init__(self, table: Table, sessions: Sessions) -> None:
        self._table = table
        self._sessions = sessions

    def keep(self, record: HistoryRecord) -> bool:
        """Write a session's row and say so in its record; ``False`` when that was done, or the session is gone."""
        return self._table.write_with(
            self._table.putting(record.to_item()),
            self._table.putting(
                {**_pointer(record.namespace, record.session_id), "at": record.place, "expiresAt": record.expires_at}
            ),
            self._sessions.archiving(record.namespace, record.session_id, now_ms=record.ended_at_ms),
        )

    def find(self, namespace: str, session_id: str) -> HistoryRecord | None:
        """Read the row of a session."""
        pointer = self._table.get(_pointer(namespace, session_id))
        item = self._table.get(_key(namespace, pointer["at"])) if pointer else None
        return HistoryRecord.from_item(item) if item else None

    def of_namespace(
        self,
        namespace: str,
        *,
        from_ms: int | None = None,
        until_ms: int | None = None,
        start: str | None = None,
        limit: int | None = None,
    ) -> Iterator[HistoryRecord]:
        """Read the rows of a namespace, the last session to end first, from behind the place ``start`` on.

        Only sessions that ended at or after ``from_ms`` and before ``until_ms``.
        """
        values = {
            ":namespace": namespace,
            ":first": _FIRST if from_ms is None else place_of(from_ms),
            ":last": _LAST if until_ms is None else place_of(until_ms),
        }
        items = self._table.query(
            "#namespace = :namespace AND #place BETWEEN :first AND :last",
            values,
            limit=limit,
            backwards=True,
            start=_key(namespace, start) if start else None,
        )
        return map(HistoryRecord.from_item, items)

    def remove(self, records: Sequence[HistoryRecord]) -> None:
        """Delete rows: no reader sees these sessions any more."""
        rows = [_key(record.namespace, record.place) for record in records]
        self._table.write_all(deletes=rows)
        self._table.write_all(deletes=[_pointer(record.namespace, record.session_id) for record in records])


def _key(namespace: str, place: str) -> Key:
    return {"namespace": namespace, "place": place}


def _pointer(namespace: str, session_id: str) -> Key:
    return _key(namespace, _POINTER + session_id)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArchiveProgress(Record):
    """How far the archiving of a session has come that takes more than one call."""

    session_id: str
    expires_at: int
    #: When it began, epoch ms.
    begun_at_ms: int
    #: Up to which position the log is in S3, and in which parts.
    last_position: int = 0
    parts: list[str] = dataclasses.field(default_factory=list)
    #: What was counted up to there, as JSON text.
    tally: str | None = None

    def to_item(self) -> Item:
        """Return the attributes of the item, its sort key among them."""
        return {**super().to_item(), "item": _ITEM}


_ITEM = "ARCHIVE"


class Archives:
    """``ARCHIVE`` of the session-items table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def find(self, session_id: str) -> ArchiveProgress | None:
        """Read how far the archiving of a session has come; ``None`` before it has come anywhere."""
        item = self._table.get({"sessionId": session_id, "item": _ITEM})
        return ArchiveProgress.from_item(item) if item else None

    def keep(self, progress: ArchiveProgress, *, seen: int) -> bool:
        """Note it, if it was at the position ``seen`` until now; ``False`` when it was elsewhere."""
        return self._table.put(
            progress.to_item(),
            when="#lastPosition = :seen" if seen else "attribute_not_exists(#item)",
            values={":seen": seen} if seen else None,
        )
