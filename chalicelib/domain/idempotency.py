"""``Idempotency-Key``: the same request of the same API key creates one session, however often it is sent.

The key is remembered for 24 hours, however long its session lives. What a caller sent is kept as a hash only.
"""

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING

from chalicelib.domain.errors import BadRequest, Conflict
from chalicelib.store.claims import ClaimRecord
from chalicelib.wire.sessions import SessionIdentifier

if TYPE_CHECKING:
    from chalicelib.stores import Stores

#: How long a key is remembered.
REMEMBERED_S = 24 * 3600

MAX_KEY_LENGTH = 255


@dataclasses.dataclass(frozen=True)
class Claim:
    """An idempotency key of one request, with the digest of its body."""

    claim_id: str
    body_hash: str

    @classmethod
    def of(cls, caller: str, key: str, body: bytes) -> "Claim":
        """Make a claim from the hash of the caller's API key, the idempotency key and the JSON body.

        Bodies are the same when their JSON is: a client may write its keys in another order when it tries again.
        Raises `BadRequest` for a key of the wrong length or with unprintable characters.
        """
        check_key(key)
        canonical = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"))
        return cls(_digest(f"{caller}\0{key}"), _digest(f"{key}\0{canonical}"))

    def record(self, stores: "Stores", session: SessionIdentifier) -> ClaimRecord:
        """Return the record by which this claim leads to a session."""
        return ClaimRecord(
            claim_id=self.claim_id,
            body_hash=self.body_hash,
            namespace=session.namespace,
            created_session=session.session_id,
            expires_at=stores.clock.now_ms() // 1000 + REMEMBERED_S,
        )


def check_key(key: str) -> None:
    """Raise `BadRequest` for a key of the wrong length or with unprintable characters."""
    if not (1 <= len(key) <= MAX_KEY_LENGTH and key.isprintable()):
        raise BadRequest(f"Idempotency-Key: it has 1 to {MAX_KEY_LENGTH} printable characters, not {len(key)}")


def created(stores: "Stores", claim: Claim) -> SessionIdentifier | None:
    """Return the session that this request has created already; raise `Conflict` when another one has used its key."""
    found = stores.claims.find(claim.claim_id)
    if found is None:
        return None
    if found.body_hash != claim.body_hash:
        raise Conflict("this Idempotency-Key was used with another body in the last 24 hours")
    return SessionIdentifier(namespace=found.namespace, session_id=found.created_session)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
