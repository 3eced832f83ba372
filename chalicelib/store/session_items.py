"""The session-items table as a whole: what is left of a session when it is gone."""

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import groupby, islice

from chalicelib.store import followers, log
from chalicelib.store.items import Item
from chalicelib.store.table import Table

_DESCRIPTION = "#sessionId, #item, #namespace, #createdAtMs, #expiresAt, #id, #stampMs, #closed"
#: How long (s) what ends the waits of a session outlives it.
ENDS_S = 3_600


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
        items = self._table.scan(project=_DESCRIPTION, segment=segment)
        # All items of a session have one partition key, hence are in one segment and follow each other.
        for session_id, group in groupby(items, key=lambda item: str(item["sessionId"])):
            yield _remains(session_id, list(group))

    def close_log(self, session_id: str, namespace: str) -> None:
        """Say that a session is being removed, before anything of it goes.

        No reader puts a void where an entry was from then on, and nobody begins to follow it. Whose session it was is
        known for an hour more (`removed_from`).
        """
        self._table.update(
            log.head_key_of(session_id),
            "SET #closed = :closed, #expiresAt = :soon, #namespace = :namespace, "
            "#position = if_not_exists(#position, :none), #stampMs = if_not_exists(#stampMs, :none)",
            when="attribute_not_exists(#closed)",
            values={
                ":closed": True,
                ":soon": self._table.now_s() + ENDS_S,
                ":namespace": namespace,
                ":none": 0,
            },
        )

    def removed_from(self, session_id: str) -> str | None:
        """Return the namespace of a session whose removal has begun, for an hour; ``None`` for another.

        Heads that were closed before this was noted in them say none.
        """
        head = self._table.get(log.head_key_of(session_id))
        return head.get("namespace") if head and log.is_closed(head) else None

    def purge(
        self, session_id: str, *, at_most: int, waits_end: bool = False, first_unpushed: int | None = None
    ) -> bool:
        """Delete up to ``at_most`` items of a session; ``True`` when none is left but what stays.

        With ``waits_end``, two things stay for an hour, longer than any wait: the entry that ends every wait, which a
        waiting agent may read later than this; and the head of the log, once it is closed, since that entry may come
        later than this too, and has to be behind all that an agent has read. With ``first_unpushed`` its followers
        stay, and the log from that position on.
        """
        unpushed = None if first_unpushed is None else log.key_of(session_id, first_unpushed)["item"]

        def goes(item: Item) -> bool:
            return not (waits_end and _stays(item)) and (unpushed is None or not _is_to_push(item["item"], unpushed))

        items = self._table.query(
            "#sessionId = :session", {":session": session_id}, project="#sessionId, #item, #id, #closed", limit=at_most
        )
        found = list(islice(filter(goes, items), at_most))
        self._table.write_all(deletes=[{"sessionId": item["sessionId"], "item": item["item"]} for item in found])
        return len(found) < at_most


def _stays(item: Item) -> bool:
    return log.ends_waits(item) or (log.is_head(item) and log.is_closed(item))


def _is_to_push(sort_key: str, unpushed: str) -> bool:
    return followers.is_for_followers(sort_key) or (log.is_entry(sort_key) and sort_key >= unpushed)


def _remains(session_id: str, items: Sequence[Item]) -> SessionRemains:
    times_ms = [at_ms for item in items if (at_ms := _written_at_ms(item)) is not None]
    namespace = next((item["namespace"] for item in items if "namespace" in item and not _stays(item)), None)
    return SessionRemains(session_id, namespace, max(times_ms, default=None))


def _written_at_ms(item: Item) -> int | None:
    """Return when an item was written; ``None`` for one that does not say so, or that says that its session ends."""
    at_ms = None if _stays(item) else item.get("stampMs", item.get("createdAtMs"))
    return int(at_ms) if at_ms is not None else None
