"""The webhooks table: endpoints that fail, of each namespace, and the public keys of the deployment.

An endpoint is one URL in one namespace. One that takes webhooks has no item: a success deletes it.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

from chalicelib.store.items import Item, Key
from chalicelib.store.record import Record
from chalicelib.store.table import Table

_ENDPOINT = "ENDPOINT#"

#: Where the public keys are. No namespace has this name: none has a control character.
_KEYS: Key = {"namespace": "\n", "item": "PUBLIC_KEYS"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndpointRecord(Record):
    """An endpoint that fails, as it is stored; times in epoch ms, ``expires_at`` in epoch s."""

    namespace: str
    endpoint_id: str
    url: str
    #: Its first failure since it last took a webhook.
    failing_since_ms: int
    last_failure_at_ms: int
    #: How many attempts have failed since then.
    failures: int
    expires_at: int
    #: Since when nothing is sent to it.
    disabled_at_ms: int | None = None

    def to_item(self) -> Item:
        """Return the attributes of the item, its key among them."""
        return {**super().to_item(), **_key_of(self.namespace, self.endpoint_id)}


def id_of(url: str) -> str:
    """Return the id of an endpoint: a URL may be longer than a key, and does not belong into a path or a log."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]


class Webhooks:
    """The webhooks table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def find(self, namespace: str, url: str) -> EndpointRecord | None:
        """Read an endpoint; ``None`` for one that takes webhooks, or that nothing was sent to."""
        item = self._table.get(_key_of(namespace, id_of(url)))
        return EndpointRecord.from_item(item) if item else None

    def of_namespace(self, namespace: str, *, start: str | None, limit: int | None) -> Iterator[EndpointRecord]:
        """Read the endpoints of a namespace by their ids, from behind the id ``start`` on."""
        items = self._table.query(
            "#namespace = :namespace AND begins_with(#item, :endpoint)",
            {":namespace": namespace, ":endpoint": _ENDPOINT},
            start=_key_of(namespace, start) if start else None,
            limit=limit,
        )
        return map(EndpointRecord.from_item, items)

    def note_first_failure(self, record: EndpointRecord) -> None:
        """Write an endpoint that has begun to fail; of several at the same time the last one counts."""
        self._table.put(record.to_item())

    def note_failure(self, seen: EndpointRecord, *, now_ms: int, expires_at: int, disable: bool) -> bool:
        """Count a failure of an endpoint as it was seen, and disable it; ``False`` when it is not like that any more.

        That is when it has taken a webhook, or was enabled, or disabled, meanwhile.
        """
        change = "SET #failures = #failures + :one, #lastFailureAtMs = :now, #expiresAt = :expiry"
        changed = self._table.update(
            _key_of(seen.namespace, seen.endpoint_id),
            f"{change}, #disabledAtMs = :now" if disable else change,
            when="#failingSinceMs = :since AND attribute_not_exists(#disabledAtMs)",
            values={":one": 1, ":now": now_ms, ":expiry": expires_at, ":since": seen.failing_since_ms},
        )
        return changed is not None

    def forget(self, namespace: str, endpoint_id: str) -> bool:
        """Delete what is known of an endpoint, by which it is enabled; ``False`` when there was nothing."""
        return self._table.delete(_key_of(namespace, endpoint_id), when="attribute_exists(#item)")

    def publish_keys(self, keys: Sequence[str]) -> None:
        """Write the public keys by which receivers verify, in place of the ones before."""
        self._table.put({**_KEYS, "keys": list(keys)})

    def public_keys(self) -> list[str]:
        """Read the public keys, the current one first."""
        item = self._table.get(_KEYS)
        return list(item["keys"]) if item else []


def _key_of(namespace: str, endpoint_id: str) -> Key:
    return {"namespace": namespace, "item": _ENDPOINT + endpoint_id}
