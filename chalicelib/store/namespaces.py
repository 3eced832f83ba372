"""The namespaces table: settings of each namespace, and whether it is going away."""

import dataclasses
from collections.abc import Iterator
from typing import Literal

from chalicelib.store.items import Key
from chalicelib.store.record import Record
from chalicelib.store.sessions import Sessions
from chalicelib.store.table import Table


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamespaceRecord(Record):
    """A namespace as it is stored."""

    name: str
    created_at_ms: int
    delete_on_last_session_exit: bool = True
    annotations: dict[str, str] = dataclasses.field(default_factory=dict)
    state: Literal["active", "deleting"] = "active"
    #: ``deleting`` by request: its sessions end with it, and no reader sees it any more.
    forced: bool = False
    #: Since when (epoch ms) it is ``deleting``.
    deleting_since_ms: int | None = None


def key_of(name: str) -> Key:
    """Return the key of a namespace."""
    return {"name": name}


class Namespaces:
    """The namespaces table."""

    def __init__(self, table: Table, sessions: Sessions) -> None:
        self._table = table
        self._sessions = sessions

    def create(self, record: NamespaceRecord) -> bool:
        """Write a new namespace; ``False`` when the name is taken.

        A namespace that was created in the same millisecond with the same settings counts as this one: the SDK repeats
        a call whose answer was lost.
        """
        return self._table.put(
            record.to_item(),
            when="attribute_not_exists(#name) OR (#state = :active AND #createdAtMs = :now AND #annotations = :notes "
            "AND #deleteOnLastSessionExit = :goes)",
            values={
                ":active": "active",
                ":now": record.created_at_ms,
                ":notes": record.annotations,
                ":goes": record.delete_on_last_session_exit,
            },
        )

    def find(self, name: str) -> NamespaceRecord | None:
        """Read a namespace."""
        item = self._table.get(key_of(name))
        return NamespaceRecord.from_item(item) if item else None

    def all(self, *, start: str | None = None, limit: int | None = None) -> Iterator[NamespaceRecord]:
        """Read all namespaces, in no order."""
        return map(NamespaceRecord.from_item, self._table.scan(start=key_of(start) if start else None, limit=limit))

    def start_deleting(self, record: NamespaceRecord, deletion: str, *, now_ms: int) -> NamespaceRecord | None:
        """Begin a deletion that has this id, in place of any other, and return the namespace as it is now.

        ``None`` when it is gone; one of the same name that was created since is another one.
        """
        changed = self._table.update(
            key_of(record.name),
            "SET #state = :deleting, #deletion = :deletion, #deletingSinceMs = if_not_exists(#deletingSinceMs, :now)",
            when="#createdAtMs = :created",
            values={":deleting": "deleting", ":deletion": deletion, ":now": now_ms, ":created": record.created_at_ms},
        )
        return NamespaceRecord.from_item(changed) if changed else None

    def stop_deleting(self, name: str, deletion: str | None = None) -> bool:
        """Take a namespace that was deleting itself back to ``active``; ``False`` when deletion was asked for.

        With an id only that deletion is stopped, and ``False`` says that another one began.
        """
        changed = self._table.update(
            key_of(name),
            "SET #state = :active REMOVE #deletion, #deletingSinceMs",
            when="#state = :deleting AND #forced = :no" + (" AND #deletion = :deletion" if deletion else ""),
            values={
                ":deleting": "deleting",
                ":active": "active",
                ":no": False,
                **({":deletion": deletion} if deletion else {}),
            },
        )
        return changed is not None

    def force_deletion(self, name: str, *, now_ms: int) -> bool:
        """Hide a namespace and all in it from every reader; ``False`` when it is not there."""
        forced = self._table.updating(
            key_of(name),
            "SET #state = :deleting, #forced = :yes, #deletingSinceMs = if_not_exists(#deletingSinceMs, :now)",
            when="attribute_exists(#name)",
            values={":deleting": "deleting", ":yes": True, ":now": now_ms},
        )
        return self._table.write_with(forced, self._sessions.hiding(name))

    def remove(self, record: NamespaceRecord, deletion: str) -> bool:
        """Finish the deletion that has this id; ``False`` when it was stopped, another one began, or it was forced."""
        removed = self._table.deleting(
            key_of(record.name),
            when="attribute_not_exists(#name) OR (#state = :deleting AND #deletion = :deletion AND #forced = :forced)",
            values={":deleting": "deleting", ":deletion": deletion, ":forced": record.forced},
        )
        if not record.forced:
            return self._table.write(removed)
        return self._table.write_with(removed, self._sessions.showing(record.name))
