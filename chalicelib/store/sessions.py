"""The sessions table: one record a session, the only place where its status is decided."""

import dataclasses
from collections.abc import Iterator
from itertools import chain
from typing import Any, Literal

from chalicelib.store.items import Item, Key, Write
from chalicelib.store.record import Record
from chalicelib.store.table import Table

SessionStatus = Literal["pending_execution", "executed", "closing"]

#: Why a session ended. One of a namespace that was deleted is not held.
CloseReason = Literal[
    "closed_by_user", "closed_by_agent", "agents_exited", "ttl", "failed", "budget_reached", "namespace_deleted"
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SessionRecord(Record):
    """A session as it is stored; times in epoch ms, ``expires_at`` in epoch s."""

    namespace: str
    session_id: str
    status: SessionStatus
    created_at_ms: int
    expires_at: int
    #: The namespace's base state as it was at creation (wire form).
    namespace_state: dict[str, Any]
    annotations: dict[str, str] = dataclasses.field(default_factory=dict)
    groups: list[list[str]] = dataclasses.field(default_factory=list)
    #: ``<name> <version>`` of every registry agent that it uses: what may not be deleted while it lives.
    registry_agents: list[str] = dataclasses.field(default_factory=list)
    #: `SessionRuntimeSettings` in wire form; there from execution on.
    runtime_settings: dict[str, Any] | None = None
    executed_at_ms: int | None = None
    closing_at_ms: int | None = None
    close_reason: CloseReason | None = None
    #: When the hold ends; there once the end report is frozen.
    hold_until_ms: int | None = None
    #: The lifecycle's task token, answered when the session is closing.
    task_token: str | None = None
    #: When all of it was in the history; its items go from then on.
    archived_at_ms: int | None = None
    #: Whose quotas it is taken from (`domain.quotas`), to be given back when it ends.
    metered_by: list[str] | None = None


#: Sort key of the item that hides the sessions of a namespace: no session's, and before all of theirs.
_HIDING = "!"


def key_of(namespace: str, session_id: str) -> Key:
    """Return the key of a session record."""
    return {"namespace": namespace, "sessionId": session_id}


def record_of(item: Item | None) -> SessionRecord | None:
    """Return the session that an item is; ``None`` for the hiding marker."""
    return SessionRecord.from_item(item) if item and item["sessionId"] != _HIDING else None


class Sessions:
    """The sessions table. Every transition is a conditional write on the old status.

    A namespace that is deleted by request is hidden by a marker beside its sessions, so that one Query reads both. The
    marker is written and deleted in one transaction with the namespace's own change (`Namespaces`).
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def creating(self, record: SessionRecord) -> Write:
        """Return the write of a new session, whose id must not be taken."""
        return self._table.putting(record.to_item(), when="attribute_not_exists(#sessionId)")

    def hiding(self, namespace: str) -> Write:
        """Return the write that hides the sessions of a namespace from `shown`."""
        return self._table.putting({**key_of(namespace, _HIDING)})

    def showing(self, namespace: str) -> Write:
        """Return the write that undoes `hiding`."""
        return self._table.deleting(key_of(namespace, _HIDING))

    def create(self, record: SessionRecord) -> bool:
        """Write a new session; ``False`` when its id is taken."""
        return self._table.write(self.creating(record))

    def find(self, namespace: str, session_id: str) -> SessionRecord | None:
        """Read a session."""
        return record_of(self._table.get(key_of(namespace, session_id)))

    def of_namespace(
        self, namespace: str, *, start: str | None = None, limit: int | None = None
    ) -> Iterator[SessionRecord]:
        """Read the sessions of a namespace in one strongly consistent Query."""
        found = map(record_of, self._items_of(namespace, start=start, limit=limit))
        return (record for record in found if record is not None)

    def shown(
        self, namespace: str, *, start: str | None = None, limit: int | None = None
    ) -> Iterator[SessionRecord] | None:
        """Read the sessions of a namespace like `of_namespace`; ``None`` when it has none, or they are hidden.

        One call reads both. A reader that goes on from ``start`` has seen the marker's place before.
        """
        items = self._items_of(namespace, start=start, limit=limit)
        first = next(items, None)
        if first is None or first["sessionId"] == _HIDING:
            return None
        return map(SessionRecord.from_item, chain([first], items))

    def all(self) -> Iterator[SessionRecord]:
        """Read the sessions of all namespaces, in no order: expensive, for what is rarely asked."""
        return (record for record in map(record_of, self._table.scan()) if record is not None)

    def stored(self, segment: tuple[int, int]) -> Iterator[SessionRecord]:
        """Read one segment of all sessions, those too that have expired and that no reader sees any more."""
        found = map(record_of, self._table.scan(segment=segment, expired=True))
        return (record for record in found if record is not None)

    def any_in(self, namespace: str) -> bool:
        """Return whether a namespace has a session of any status."""
        return next(self.of_namespace(namespace, limit=1), None) is not None

    def execute(
        self, namespace: str, session_id: str, *, now_ms: int, runtime_settings: dict[str, Any], expires_at: int
    ) -> SessionRecord | None:
        """Take a pending session to ``executed``; ``None`` when it is not pending (any more).

        A session that was executed in the same millisecond with the same settings counts as this call's: the SDK
        repeats a call whose answer was lost.
        """
        return self._change(
            namespace,
            session_id,
            "SET #status = :executed, #executedAtMs = :now, #runtimeSettings = :settings, #expiresAt = :expires",
            when="(#status = :pending AND #expiresAt > :nowS) OR "
            "(#status = :executed AND #executedAtMs = :now AND #runtimeSettings = :settings)",
            values={
                ":executed": "executed",
                ":pending": "pending_execution",
                ":now": now_ms,
                ":nowS": now_ms // 1000,
                ":settings": runtime_settings,
                ":expires": expires_at,
            },
        )

    def close(self, namespace: str, session_id: str, *, now_ms: int, reason: CloseReason) -> SessionRecord | None:
        """Take an executed session to ``closing``; ``None`` when another call did or it is not executed."""
        return self._change(
            namespace,
            session_id,
            "SET #status = :closing, #closingAtMs = :now, #closeReason = :reason",
            when="#status = :executed",
            values={":closing": "closing", ":executed": "executed", ":now": now_ms, ":reason": reason},
        )

    def keep_token(self, namespace: str, session_id: str, task_token: str) -> SessionRecord | None:
        """Store the lifecycle's task token while the session is executed; ``None`` when it is not (any more)."""
        return self._change(
            namespace,
            session_id,
            "SET #taskToken = :token",
            when="#status = :executed",
            values={":token": task_token, ":executed": "executed"},
        )

    def hold(
        self, namespace: str, session_id: str, *, reason: CloseReason | None, hold_until_ms: int, expires_at: int
    ) -> bool:
        """Store until when a closing session is held; ``False`` when its reason has changed."""
        held = self._change(
            namespace,
            session_id,
            "SET #holdUntilMs = :until, #expiresAt = :expires REMOVE #taskToken",
            when="#status = :closing AND #closeReason = :reason",
            values={":until": hold_until_ms, ":expires": expires_at, ":closing": "closing", ":reason": reason},
        )
        return held is not None

    def forgo_hold(self, namespace: str, session_id: str, *, reason: CloseReason) -> bool:
        """Let a closing session end without a hold; ``False`` when its report is frozen and it is held already."""
        changed = self._change(
            namespace,
            session_id,
            "SET #closeReason = :reason",
            when="#status = :closing AND attribute_not_exists(#holdUntilMs)",
            values={":closing": "closing", ":reason": reason},
        )
        return changed is not None

    def archiving(self, namespace: str, session_id: str, *, now_ms: int) -> Write:
        """Return the write that says that a closing session is in the history: once, and only while it is there."""
        return self._table.updating(
            key_of(namespace, session_id),
            "SET #archivedAtMs = :now",
            when="#status = :closing AND attribute_not_exists(#archivedAtMs)",
            values={":now": now_ms, ":closing": "closing"},
        )

    def remove(self, namespace: str, session_id: str, *, status: SessionStatus) -> bool:
        """Delete a session record that has this status; ``False`` when its status is another."""
        return self._table.delete(
            key_of(namespace, session_id),
            when="attribute_not_exists(#sessionId) OR #status = :status",
            values={":status": status},
        )

    def take_back(self, record: SessionRecord) -> bool:
        """Delete a session that was just created and never ran; ``False`` when it runs, or is gone or over already.

        In a transaction, whose repetition by the SDK is known for the same: by itself it could not be told apart from a
        deletion by others.
        """
        deleting = self._table.deleting(
            key_of(record.namespace, record.session_id),
            when="#status = :status AND attribute_not_exists(#taskToken)",
            values={":status": record.status},
        )
        return self._table.write_with(deleting)

    def _items_of(self, namespace: str, *, start: str | None, limit: int | None) -> Iterator[Item]:
        return self._table.query(
            "#namespace = :namespace",
            {":namespace": namespace},
            limit=limit,
            start=key_of(namespace, start) if start else None,
        )

    def _change(
        self, namespace: str, session_id: str, change: str, *, when: str, values: dict[str, Any]
    ) -> SessionRecord | None:
        item: Item | None = self._table.update(key_of(namespace, session_id), change, when=when, values=values)
        return SessionRecord.from_item(item) if item else None
