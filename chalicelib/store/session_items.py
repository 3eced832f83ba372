"""The session-items table as a whole: what is left of a session when it is gone."""

from collections.abc import Iterator
from itertools import groupby, islice

from chalicelib.store.log import SESSION_CLOSING
from chalicelib.store.table import Item, Table


class SessionItems(Table):
    """All items of a session, whatever they are."""

    def by_session(self, segment: tuple[int, int]) -> Iterator[tuple[str, list[Item]]]:
        """Read keys and ages of one segment of all items, a session at a time."""
        items = self.scan(project="#sessionId, #item, #namespace, #createdAtMs, #expiresAt", segment=segment)
        # All items of a session have one partition key, hence are in one segment and follow each other.
        for session_id, group in groupby(items, key=lambda item: str(item["sessionId"])):
            yield session_id, list(group)

    def purge(self, session_id: str, *, at_most: int) -> bool:
        """Delete up to ``at_most`` items of a session; ``True`` when none is left.

        What tells the waiting of the session's end stays until it expires: they may come to read it later than this.
        """
        items = self.query(
            "#sessionId = :session", {":session": session_id}, project="#sessionId, #item", limit=at_most
        )
        found = (item for item in items if not item["item"].endswith(f"#{SESSION_CLOSING}"))
        keys = [{"sessionId": item["sessionId"], "item": item["item"]} for item in islice(found, at_most)]
        self.write_all(deletes=keys)
        return len(keys) < at_most
