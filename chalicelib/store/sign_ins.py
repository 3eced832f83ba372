"""``SIGN_IN#`` items of the api-keys table: browsers that have signed in, each by the hash of its cookie alone."""

import dataclasses

from chalicelib.store.items import Item, Key
from chalicelib.store.record import Record
from chalicelib.store.table import Table

#: What the keys of these items begin with. The policy of the API's function allows it to write no others there.
PREFIX = "SIGN_IN#"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignInRecord(Record):
    """A sign-in as it is stored; ``expires_at`` in epoch s."""

    sign_in_hash: str
    #: Hash of the API key that signed in.
    api_key_hash: str
    created_at_ms: int
    expires_at: int

    def to_item(self) -> Item:
        """Return the attributes of the item, its key among them."""
        return {**super().to_item(), **_key_of(self.sign_in_hash)}


class SignIns:
    """The sign-ins among the API keys."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def find(self, sign_in_hash: str) -> SignInRecord | None:
        """Read a sign-in by its hash."""
        item = self._table.get(_key_of(sign_in_hash))
        return SignInRecord.from_item(item) if item else None

    def save(self, record: SignInRecord) -> None:
        """Write a sign-in."""
        self._table.put(record.to_item())

    def remove(self, sign_in_hash: str) -> None:
        """Delete a sign-in."""
        self._table.delete(_key_of(sign_in_hash))


def _key_of(sign_in_hash: str) -> Key:
    return {"keyHash": PREFIX + sign_in_hash}
