"""API keys: who may use the REST API, and which namespaces a key reaches."""

import hashlib
from typing import TYPE_CHECKING

from chalicelib.domain.errors import Forbidden, Unauthorized
from chalicelib.store.api_keys import ApiKeyRecord

if TYPE_CHECKING:
    from chalicelib.deployment import Deployment

#: How long a process believes what it read of a key: a revoked key works at most this much longer.
CACHE_MS = 60_000

#: Keys that one process remembers; beyond it forgets all and reads again.
_CACHE_SIZE = 1_000


def hash_of(key: str) -> str:
    """Return the SHA-256 by which a key is stored."""
    return hashlib.sha256(key.encode()).hexdigest()


def put(atoll: "Deployment", key: str, name: str, namespaces: list[str] | None = None) -> ApiKeyRecord:
    """Store a key by its hash; ``namespaces`` limits it to exact names or prefixes ending in ``*``."""
    record = ApiKeyRecord(
        key_hash=hash_of(key), name=name, created_at_ms=atoll.clock.now_ms(), namespaces=namespaces or ["*"]
    )
    atoll.api_keys.save(record)
    return record


def authenticate(atoll: "Deployment", key: str) -> ApiKeyRecord:
    """Return the record of a valid key; raise `Unauthorized` without one."""
    if not key:
        raise Unauthorized("an API key is needed: Authorization: Bearer <key>")
    key_hash, now_ms = hash_of(key), atoll.clock.now_ms()
    read_at_ms, record = atoll.known_keys.get(key_hash, (0, None))
    if record is None or now_ms - read_at_ms > CACHE_MS:
        record = atoll.api_keys.find(key_hash)
        if record is None:
            atoll.known_keys.pop(key_hash, None)
            raise Unauthorized("the API key is not valid")
        if len(atoll.known_keys) >= _CACHE_SIZE:
            atoll.known_keys.clear()
        atoll.known_keys[key_hash] = (now_ms, record)
    return record


def reaches(key: ApiKeyRecord, namespace: str) -> bool:
    """Tell whether a key may touch a namespace."""
    return any(
        namespace.startswith(allowed[:-1]) if allowed.endswith("*") else namespace == allowed
        for allowed in key.namespaces
    )


def check_reach(key: ApiKeyRecord, namespace: str) -> None:
    """Raise `Forbidden` when a key may not touch a namespace."""
    if not reaches(key, namespace):
        raise Forbidden(f"this API key does not reach the namespace {namespace!r}")
