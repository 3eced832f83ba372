"""API keys: authenticating a request of the REST API, and which namespaces a key reaches."""

import dataclasses
import hashlib
import secrets
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from chalicelib.domain.errors import BadRequest, Conflict, Forbidden, NotFound, Unauthorized
from chalicelib.store.api_keys import ApiKeyRecord, Limits, Role

if TYPE_CHECKING:
    from chalicelib.stores import Stores

#: How long a process caches a key, in ms: a revoked key reads at most this much longer.
CACHE_MS = 60_000

#: How old a cached key may be that changes something, in ms: a revoked key changes things at most this much longer.
CHANGE_CACHE_MS = 5_000

#: How long a process remembers a key that is not valid, in ms. A key is random, so none is tried before it is made.
WRONG_MS = 60_000

#: How exactly it is known when a key was last used, in ms: a write of its own once in that time.
LAST_USE_MS = 3_600_000

#: Longest name of a key, in characters.
_ID_LENGTH = 12

#: Keys that one process caches, and wrong ones that it remembers; a full cache is cleared.
_CACHE_SIZE = 1_000


def hash_of(key: str) -> str:
    """Return the SHA-256 by which a key is stored."""
    return hashlib.sha256(key.encode()).hexdigest()


def make(
    stores: "Stores",
    name: str,
    namespaces: Sequence[str] = (),
    *,
    lifetime_s: int | None = None,
    role: Role = "admin",
    limits: Limits | None = None,
) -> tuple[str, ApiKeyRecord]:
    """Make a new key and return it with its record: it cannot be read again, because only its hash is stored.

    Raises `BadRequest` for namespaces that no key can be limited to.
    """
    key = _random()
    return key, put(stores, key, name, namespaces, lifetime_s=lifetime_s, role=role, limits=limits)


def _random() -> str:
    return f"atoll_{secrets.token_urlsafe(32)}"


def put(
    stores: "Stores",
    key: str,
    name: str,
    namespaces: Sequence[str] = (),
    *,
    lifetime_s: int | None = None,
    role: Role = "admin",
    limits: Limits | None = None,
) -> ApiKeyRecord:
    """Store a key by its hash; ``namespaces`` limits it to exact names, or prefixes ending in ``*``; none is all.

    Raises `BadRequest` for a ``*`` elsewhere, or an empty name.
    """
    for namespace in namespaces:
        check_pattern(namespace)
    now_ms = stores.clock.now_ms()
    record = ApiKeyRecord(
        key_hash=hash_of(key),
        name=name,
        created_at_ms=now_ms,
        namespaces=list(namespaces) or ["*"],
        expires_at=None if lifetime_s is None else now_ms // 1000 + lifetime_s,
        role=role,
        limits=dict(limits) if limits else None,
    )
    _save(stores, record)
    return record


def _save(stores: "Stores", record: ApiKeyRecord) -> None:
    stores.api_keys.save(record)
    stores.wrong_keys.pop(record.key_hash, None)


def check_pattern(namespace: str) -> None:
    """Raise `BadRequest` for what is neither a namespace's name nor a prefix of some with ``*`` behind it."""
    if not namespace or "*" in namespace[:-1]:
        raise BadRequest(f"{namespace!r} is neither a namespace's name nor the beginning of one with * behind it")


def rotate(stores: "Stores", wanted: str, *, overlap_s: int) -> tuple[str, ApiKeyRecord]:
    """Make a key that may do what another may, and let that one expire after ``overlap_s``; both count as one.

    A key that has an end keeps it: rotating prolongs nothing. Returns the new key and its record. Raises `NotFound` or
    `Conflict` as `revoke` does.
    """
    old = named(stores, wanted)
    now_ms = stores.clock.now_ms()
    key, ends = _random(), now_ms // 1000 + overlap_s
    new = dataclasses.replace(old, key_hash=hash_of(key), created_at_ms=now_ms, usage_id=old.usage_id or id_of(old))
    _save(stores, new)
    _save(stores, dataclasses.replace(old, expires_at=min(ends, old.expires_at or ends)))
    return key, new


def revoke(stores: "Stores", wanted: str) -> ApiKeyRecord:
    """Delete the key that a name or the beginning of an id names.

    It changes nothing after `CHANGE_CACHE_MS` more, and reads nothing after `CACHE_MS`. Raises `NotFound` when no key
    matches, `Conflict` when several do.
    """
    found = named(stores, wanted)
    stores.api_keys.remove(found.key_hash)
    return found


def named(stores: "Stores", wanted: str) -> ApiKeyRecord:
    """Return the key that a name or the beginning of an id names.

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
    return found[0]


def id_of(key: ApiKeyRecord) -> str:
    """Return the id of a key, the beginning of its hash: names need not be unique."""
    return key.key_hash[:_ID_LENGTH]


def usage_id_of(key: ApiKeyRecord) -> str:
    """Return the id under which the usage of a key counts."""
    return key.usage_id or id_of(key)


def authenticate(stores: "Stores", key: str, *, for_change: bool = False) -> ApiKeyRecord:
    """Return the record of a valid key; raise `Unauthorized` without one.

    ``for_change`` says that a change is asked for, which a revoked key loses within seconds.
    """
    if not key:
        raise Unauthorized("an API key is needed: Authorization: Bearer <key>")
    key_hash, now_ms = hash_of(key), stores.clock.now_ms()
    read_at_ms, record = stores.known_keys.get(key_hash, (0, None))
    expired = record is not None and record.expires_at is not None and record.expires_at <= now_ms / 1000
    if record is None or expired or now_ms - read_at_ms > (CHANGE_CACHE_MS if for_change else CACHE_MS):
        record = None if is_known_as_wrong(stores, key_hash) else read(stores, key_hash)
        if record is None:
            stores.known_keys.pop(key_hash, None)
            remember_as_wrong(stores, key_hash)
            raise Unauthorized("the API key is not valid")
        if len(stores.known_keys) >= _CACHE_SIZE:
            stores.known_keys.clear()
        stores.known_keys[key_hash] = (now_ms, record)
    return record


def read(stores: "Stores", key_hash: str) -> ApiKeyRecord | None:
    """Read a key that is used now, and the quotas of namespaces with it, in one call; note the use once in an hour."""
    found = stores.reads.api_key(key_hash)
    if found is None:
        return None
    stores.namespace_limits = found.namespace_limits
    if found.used_at_ms is None or stores.clock.now_ms() - found.used_at_ms >= LAST_USE_MS:
        stores.api_keys.note_use(key_hash)
    return found.record


def is_known_as_wrong(stores: "Stores", credential_hash: str) -> bool:
    """Return whether a key or a sign-in was not valid within the last `WRONG_MS`."""
    looked_at_ms = stores.wrong_keys.get(credential_hash)
    return looked_at_ms is not None and stores.clock.now_ms() - looked_at_ms < WRONG_MS


def remember_as_wrong(stores: "Stores", credential_hash: str) -> None:
    """Remember a key or a sign-in that is not valid, so that it is not read again for `WRONG_MS`."""
    if is_known_as_wrong(stores, credential_hash):
        return
    if len(stores.wrong_keys) >= _CACHE_SIZE:
        stores.wrong_keys.clear()
    stores.wrong_keys[credential_hash] = stores.clock.now_ms()


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
