"""The api-keys table: only SHA-256 hashes of keys, and what each may touch. Sign-ins are in it too."""

import dataclasses
from collections.abc import Iterator

from chalicelib.store.record import Record
from chalicelib.store.sign_ins import PREFIX as SIGN_IN
from chalicelib.store.table import Table


@dataclasses.dataclass(frozen=True, kw_only=True)
class ApiKeyRecord(Record):
    """An API key as it is stored."""

    key_hash: str
    name: str
    created_at_ms: int
    #: Namespaces it may touch: exact names, or a prefix ending in ``*``. ``["*"]`` is all.
    namespaces: list[str] = dataclasses.field(default_factory=lambda: ["*"])
    expires_at: int | None = None


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
        found = self._table.scan()
        return (ApiKeyRecord.from_item(item) for item in found if not item["keyHash"].startswith(SIGN_IN))

    def remove(self, key_hash: str) -> None:
        """Delete a key."""
        self._table.delete({"keyHash": key_hash})
