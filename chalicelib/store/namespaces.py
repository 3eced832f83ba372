"""The namespaces table: settings of each namespace, and whether it is going away."""

import dataclasses
from collections.abc import Iterator

from chalicelib.store.record import Record
from chalicelib.store.sessions import Sessions
from chalicelib.store.table import Key, Table, write_together


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamespaceRecord(Record):
    """A namespace as it is stored."""

    name: str
    created_at_ms: int
    delete_on_last_session_exit: bool = True
    annotations: dict[str, str] = dataclasses.field(default_factory=dict)
    #: ``active`` or ``deleting``.
    state: str = "active"
    #: ``deleting`` by request: its sessions end with it, and no reader sees it any more.
    forced: bool = False
    #: Since when (epoch ms) it is ``deleting``.
    deleting_since_ms: int | None = None


class Namespaces(Table):
    """The namespaces table."""

    @staticmethod
    def key(name: str) -> Key:
        """Return the key of a namespace."""
        return {"name": name}

    def create(self, record: NamespaceRecord) -> bool:
        """Write a new namespace; ``False`` when the name is taken.

        What was created in the same millisecond just so is this one: the SDK asks again when an answer is lost.
        """
        return self.put(
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
        item = self.get(self.key(name))
        return NamespaceRecord.from_item(item) if item else None

    def all(self, *, start: str | None = None, limit: int | None = None) -> Iterator[NamespaceRecord]:
        """Read all namespaces, in no order."""
        return map(NamespaceRecord.from_item, self.scan(start=self.key(start) if start else None, limit=limit))

    def start_deleting(self, record: NamespaceRecord, deletion: str, *, now_ms: int) -> NamespaceRecord | None:
        """Begin a deletion that has this id, in place of any other, and return the namespace as it is now.

        ``None`` when it is gone; one of the same name that was created since is another one.
        """
        changed = self.update(
            self.key(record.name),
            "SET #state = :deleting, #deletion = :deletion, #deletingSinceMs = if_not_exists(#deletingSinceMs, :now)",
            when="#createdAtMs = :created",
            values={":deleting": "deleting", ":deletion": deletion, ":now": now_ms, ":created": record.created_at_ms},
        )
        return NamespaceRecord.from_item(changed) if changed else None

    def stop_deleting(self, name: str, deletion: str | None = None) -> bool:
        """Take a namespace that was deleting itself back to ``active``; ``False`` when deletion was asked for.

        With an id only that deletion is stopped, and ``False`` says that another one began.
        """
        changed = self.update(
            self.key(name),
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

    def force_deletion(self, name: str, sessions: Sessions, *, now_ms: int) -> bool:
        """Hide a namespace and all in it from every reader; ``False`` when there is none."""
        forced = self.updating(
            self.key(name),
            "SET #state = :deleting, #forced = :yes, #deletingSinceMs = if_not_exists(#deletingSinceMs, :now)",
            when="attribute_exists(#name)",
            values={":deleting": "deleting", ":yes": True, ":now": now_ms},
        )
        return write_together(self._client, self._clock, [forced, sessions.hiding(name)])

    def remove(self, record: NamespaceRecord, deletion: str, sessions: Sessions) -> bool:
        """Finish the deletion that has this id; ``False`` when it was stopped, another one began, or it was forced."""
        removed = self.deleting(
            self.key(record.name),
            when="attribute_not_exists(#name) OR (#state = :deleting AND #deletion = :deletion AND #forced = :forced)",
            values={":deleting": "deleting", ":deletion": deletion, ":forced": record.forced},
        )
        if not record.forced:
            return self.write(removed)
        return write_together(self._client, self._clock, [removed, sessions.showing(record.name)])
