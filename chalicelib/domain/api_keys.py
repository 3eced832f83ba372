"""API keys: authenticating a request of the REST API, and which namespaces a key reaches."""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from chalicelib.domain.errors import BadRequest, Conflict, Forbidden, NotFound, Unauthorized
from chalicelib.store.api_keys import ApiKeyRecord

if TYPE_CHECKING:
    from chalicelib.stores import Stores

#: How long a process caches a key, in ms: a revoked key works at most this much longer.
CACHE_MS = 60_000

#: Longest name of a key, in characters.
_ID_LENGTH = 12

#: Keys that one process caches; a full cache is cleared.
_CACHE_SIZE = 1_000


def hash_of(key: str) -> str:
    """Return the SHA-256 by which a key is stored."""
    return hashlib.sha256(key.encode()).hexdigest()


def make(
    stores: "Stores", name: str, namespaces: Sequence[str] = (), *, lifetime_s: int | None = None
) -> tuple[str, ApiKeyRecord]:
    """Make a new key and return it with its record: it cannot be read again, because only its hash is stored.

    Raises `BadRequest` for namespaces that no key can be limited to.
    """
    key = f"atoll_{secrets.token_urlsafe(32)}"
    return key, put(stores, key, name, namespaces, lifetime_s=lifetime_s)


def put(
    stores: "Stores", key: str, name: str, namespaces: Sequence[str] = (), *, lifetime_s: int | None = None
) -> ApiKeyRecord:
    """Store a key by its hash; ``namespaces`` limits it to exact names, or prefixes ending in ``*``; none is all.

    Raises `BadRequest` for a ``*`` elsewhere, or an empty name.
    """
    for namespace in namespaces:
        if not namespace or "*" in namespace[:-1]:
            raise BadRequest(f"{namespace!r} is neither a namespace's name nor the beginning of one with * behind it")
    now_ms = stores.clock.now_ms()
    record = ApiKeyRecord(
        key_hash=hash_of(key),
        name=name,
        created_at_ms=now_ms,
        namespaces=list(namespaces) or ["*"],
        expires_at=None if lifetime_s is None else now_ms // 1000 + lifetime_s,
    )
    stores.api_keys.save(record)
    return record


def revoke(stores: "Stores", wanted: str) -> ApiKeyRecord:
    """Delete the key that a name or the beginning of an id names; it works for `CACHE_MS` more at most.

    Raises `NotFound` when no key matches, `Conflict` when several do.
    """
    keys = list(stores.api_keys.all())
    found = [key for key in keys if key.name == wanted] or [
        key for key in keys if len(wanted) >= _ID_LENGTH and key.key_hash.startswith(wanted)
    ]
    if not found:
        raise NotFound(f"there is no API key {wanted!r}")
    if len(found) > 1:
        raise Conflict(f"{len(found)} API keys are named {wanted!r}: name one by its id")
    stores.api_keys.remove(found[0].key_hash)
    return found[0]


def id_of(key: ApiKeyRecord) -> str:
    """Return the id of a key, the beginning of its hash: names need not be unique."""
    return key.key_hash[:_ID_LENGTH]


def authenticate(stores: "Stores", key: str) -> ApiKeyRecord:
    """Return the record of a valid key; raise `Unauthorized` without one."""
    if not key:
        raise Unauthorized("an API key is needed: Authorization: Bearer <key>")
    key_hash, now_ms = hash_of(key), stores.clock.now_ms()
    read_at_ms, record = stores.known_keys.get(key_hash, (0, None))
    expired = record is not None and record.expires_at is not None and record.expires_at <= now_ms / 1000
    if record is None or expired or now_ms - read_at_ms > CACHE_MS:
        record = stores.api_keys.find(key_hash)
        if record is None:
            stores.known_keys.pop(key_hash, None)
            raise Unauthorized("the API key is not valid")
        if len(stores.known_keys) >= _CACHE_SIZE:
            stores.known_keys.clear()
        stores.known_keys[key_hash] = (now_ms, record)
    return record


def reaches(key: ApiKeyRecord, namespace: str) -> bool:
    """Return whether a key may touch a namespace."""
    return is_within(key.namespaces, namespace)


def is_within(allowed: Iterable[str], namespace: str) -> bool:
    """Return whether a namespace is among those that names, and prefixes ending in ``*``, stand for."""
    return any(namespace.startswith(each[:-1]) if each.endswith("*") else namespace == each for each in allowed)


def check_reach(key: ApiKeyRecord, namespace: str) -> None:
    """Raise `Forbidden` when a key may not touch a namespace."""
    if not reaches(key, namespace):
        raise Forbidden(f"this API key does not reach the namespace {namespace!r}")
