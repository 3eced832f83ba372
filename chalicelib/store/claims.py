"""``CLAIM#`` items of the session-items table: which session an ``Idempotency-Key`` has led to.

A claim and its session's record appear in one transaction: there is never a claim without its session having been
created, nor a session created under a key that does not lead to it. A claim outlives its session.
"""

import dataclasses

from chalicelib.store.items import Item, Key
from chalicelib.store.record import Record
from chalicelib.store.sessions import SessionRecord, Sessions
from chalicelib.store.table import Table

_PREFIX = "CLAIM#"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClaimRecord(Record):
    """A claim as it is stored; ``expires_at`` in epoch s."""

    #: Hash of the API key and its idempotency key.
    claim_id: str
    #: Hash of the request's body.
    body_hash: str
    namespace: str
    created_session: str
    expires_at: int

    def to_item(self) -> Item:
        """Return the attributes of the item, its key among them."""
        return {**super().to_item(), **key_of(self.claim_id)}


def key_of(claim_id: str) -> Key:
    """Return the key of a claim."""
    return {"sessionId": _PREFIX + claim_id, "item": "CLAIM"}


class Claims:
    """The claims among the session items."""

    def __init__(self, table: Table, sessions: Sessions) -> None:
        self._table = table
        self._sessions = sessions

    def find(self, claim_id: str) -> ClaimRecord | None:
        """Read a claim."""
        item = self._table.get(key_of(claim_id))
        return ClaimRecord.from_item(item) if item else None

    def create_with(self, claim: ClaimRecord, record: SessionRecord) -> bool:
        """Write a claim and the session that it leads to; ``False`` when the claim is taken and neither is written."""
        free = "attribute_not_exists(#sessionId) OR #expiresAt <= :now"
        claiming = self._table.putting(claim.to_item(), when=free, values={":now": self._table.now_s()})
        return self._table.write_with(claiming, self._sessions.creating(record))

    def remove(self, claim_id: str) -> None:
        """Delete a claim that was just made: no other request can have made it since."""
        self._table.write_all(deletes=[key_of(claim_id)])
