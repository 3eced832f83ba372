"""``CLAIM#`` items of the session-items table: which session an ``Idempotency-Key`` has led to.

A claim and its session's record appear in one transaction: there is never a claim without its session having been
created, nor a session created under a key that does not lead to it. A claim outlives its session.
"""

import dataclasses

from chalicelib.store.record import Record
from chalicelib.store.sessions import SessionRecord, Sessions
from chalicelib.store.table import Item, Key, Table, write_together

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
        return {**super().to_item(), **Claims.key(self.claim_id)}


class Claims(Table):
    """The claims among the session items."""

    @staticmethod
    def key(claim_id: str) -> Key:
        """Return the key of a claim."""
        return {"sessionId": _PREFIX + claim_id, "item": "CLAIM"}

    def find(self, claim_id: str) -> ClaimRecord | None:
        """Read a claim."""
        item = self.get(self.key(claim_id))
        return ClaimRecord.from_item(item) if item else None

    def create_with(self, claim: ClaimRecord, sessions: Sessions, record: SessionRecord, *, now_s: int) -> bool:
        """Write a claim and the session that it leads to; ``False`` when the claim is taken and neither is written."""
        free = "attribute_not_exists(#sessionId) OR #expiresAt <= :now"
        writes = [self.putting(claim.to_item(), when=free, values={":now": now_s}), sessions.creating(record)]
        return write_together(self._client, self._clock, writes)

    def remove(self, claim_id: str) -> None:
        """Take back a claim that was just made: nobody else can have made it since."""
        self.write_all(deletes=[self.key(claim_id)])
