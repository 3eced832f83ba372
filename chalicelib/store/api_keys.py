"""The api-keys table: only SHA-256 hashes of keys, and what each may touch.

Sign-ins and usage are in it too, and which models can be had: what the API's function reads and an operator writes.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Literal

from chalicelib.store.items import Item, Key
from chalicelib.store.record import Record
from chalicelib.store.table import Table

Role = Literal["admin", "operator", "viewer", "agents"]

#: Quotas by their names (`domain.quotas.NAMES`).
Limits = Mapping[str, int]

#: What the keys of items begin with that the API's function may write: who used what, and how much.
USE = "USE#"

#: Key of the item that holds the quotas of namespaces.
_LIMITS = "LIMITS#"

#: How long it is known when a key was last used, in s.
_LAST_USE_KEPT_S = 400 * 24 * 3600


@dataclasses.dataclass(frozen=True, kw_only=True)
class ApiKeyRecord(Record):
    """An API key as it is stored."""

    key_hash: str
    name: str
    created_at_ms: int
    #: Namespaces it may touch: exact names, or a prefix ending in ``*``. ``["*"]`` is all.
    namespaces: list[str] = dataclasses.field(default_factory=lambda: ["*"])
    expires_at: int | None = None
    #: A key that was made before there were roles is an admin's.
    role: Role = "admin"
    #: Its quotas; none are stored as nothing.
    limits: dict[str, int] | None = None
    #: Under which id its usage is counted, where that is not its own: a rotated key goes on with that of the old one.
    usage_id: str | None = None


@dataclasses.dataclass(frozen=True)
class FoundKey:
    """A key, when it was last used (roughly; epoch ms), and the quotas of namespaces: what one call reads."""

    record: ApiKeyRecord
    used_at_ms: int | None
    namespace_limits: Mapping[str, Limits]


def keys_of(key_hash: str) -> tuple[Key, Key, Key]:
    """Return the keys of a key's item, of its last use, and of the quotas of namespaces."""
    return {"keyHash": key_hash}, _last_use_of(key_hash), {"keyHash": _LIMITS}


def found(key: Item | None, last_use: Item | None, limits: Item | None) -> FoundKey | None:
    """Return what the items of `keys_of` say."""
    if key is None:
        return None
    used_at_ms = last_use["usedAtMs"] if last_use else None
    return FoundKey(ApiKeyRecord.from_item(key), used_at_ms, limits["limits"] if limits else {})


class ApiKeys:
    """The api-keys table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def find(self, key_hash: str) -> ApiKeyRecord | None:
        """Read a key by its hash."""
        item = self._table.get({"keyHash": key_hash})
        return ApiKeyRecord.from_item(item) if item else None

    def save(self, record: ApiKeyRecord) -> None:
        """Write a key, replacing one of the same hash."""
        self._table.put(record.to_item())

    def all(self) -> Iterator[ApiKeyRecord]:
        """Read all keys."""
        return (ApiKeyRecord.from_item(item) for item in self._table.scan() if "#" not in item["keyHash"])

    def remove(self, key_hash: str) -> None:
        """Delete a key."""
        self._table.delete({"keyHash": key_hash})

    def last_uses(self) -> dict[str, int]:
        """Return when (epoch ms) each key was last used, by its hash, roughly."""
        prefix = _last_use_of("")["keyHash"]
        items = (item for item in self._table.scan() if item["keyHash"].startswith(prefix))
        return {item["keyHash"].removeprefix(prefix): item["usedAtMs"] for item in items}

    def note_use(self, key_hash: str) -> None:
        """Write that a key is used now."""
        now_ms = self._table.clock.now_ms()
        expires_at = now_ms // 1000 + _LAST_USE_KEPT_S
        self._table.put({**_last_use_of(key_hash), "usedAtMs": now_ms, "expiresAt": expires_at})

    def namespace_limits(self) -> dict[str, Limits]:
        """Read the quotas of all namespaces that have any, by name or prefix with ``*``."""
        item = self._table.get({"keyHash": _LIMITS})
        return dict(item["limits"]) if item else {}

    def save_namespace_limits(self, limits: Mapping[str, Limits]) -> None:
        """Write the quotas of all namespaces that have any."""
        self._table.put({"keyHash": _LIMITS, "limits": {name: dict(each) for name, each in limits.items()}})


def _last_use_of(key_hash: str) -> Key:
    return {"keyHash": f"{USE}last#{key_hash}"}
