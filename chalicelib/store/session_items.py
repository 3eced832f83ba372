"""The session-items table as a whole: what is left of a session when it is gone."""

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import groupby, islice

from chalicelib.store import log
from chalicelib.store.items import Item
from chalicelib.store.table import Table


@dataclasses.dataclass(frozen=True)
class SessionRemains:
    """What the items of one session say, whatever has become of its record."""

    session_id: str
    #: As its agents have it; ``None`` when it has none (any more).
    namespace: str | None
    #: When its newest item was written (epoch ms); ``None`` when no item says so.
    written_at_ms: int | None


class SessionItems:
    """All items of a session, whatever they are."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def remains(self, segment: tuple[int, int]) -> Iterator[SessionRemains]:
        """Read one segment of all items, a session at a time."""
        items = self._table.scan(project="#sessionId, #item, #namespace, #createdAtMs, #expiresAt", segment=segment)
        # All items of a session have one partition key, hence are in one segment and follow each other.
        for session_id, group in groupby(items, key=lambda item: str(item["sessionId"])):
            yield _remains(session_id, list(group))

    def purge(self, session_id: str, *, at_most: int) -> bool:
        """Delete up to ``at_most`` items of a session; ``True`` when none is left.

        The entry that ends every wait stays until it expires: a waiting agent may read it later than this.
        """
        items = self._table.query(
            "#sessionId = :session", {":session": session_id}, project="#sessionId, #item", limit=at_most
        )
        found = (item for item in items if not log.ends_waits(item))
        keys = [{"sessionId": item["sessionId"], "item": item["item"]} for item in islice(found, at_most)]
        self._table.write_all(deletes=keys)
        return len(keys) < at_most


def _remains(session_id: str, items: Sequence[Item]) -> SessionRemains:
    times_ms = [at_ms for item in items if (at_ms := _written_at_ms(item)) is not None]
    namespace = next((item["namespace"] for item in items if "namespace" in item), None)
    return SessionRemains(session_id, namespace, max(times_ms, default=None))


def _written_at_ms(item: Item) -> int | None:
    """Return when an item was written; ``None`` for one that does not say so, or that says that its session ends."""
    if log.is_entry(item):
        return None if log.ends_waits(item) else log.written_at_ms(item)
    created_at_ms = item.get("createdAtMs")
    return int(created_at_ms) if created_at_ms is not None else None
