"""Records of the tables' streams: what has changed, as the records of both sides."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from chalicelib.store import log, turns
from chalicelib.store.items import Item, decode
from chalicelib.store.namespaces import NamespaceRecord
from chalicelib.store.sessions import SessionRecord, record_of

if TYPE_CHECKING:
    from chalicelib.store.budgets import Notice
    from chalicelib.store.deliveries import DeliveryRecord
    from chalicelib.store.registry import RegistryAgentRecord

#: A record of a stream, as Lambda hands it over ("Using AWS Lambda with Amazon DynamoDB", "Example event").
StreamRecord = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class SessionChange:
    """A session before and after; ``None`` where it was not there. The hiding marker of a namespace is neither."""

    old: SessionRecord | None
    new: SessionRecord | None


@dataclasses.dataclass(frozen=True)
class NamespaceChange:
    """A namespace before and after."""

    old: NamespaceRecord | None
    new: NamespaceRecord | None


@dataclasses.dataclass(frozen=True)
class RegistryChange:
    """A registry agent before and after."""

    old: "RegistryAgentRecord | None"
    new: "RegistryAgentRecord | None"


@dataclasses.dataclass(frozen=True)
class DeliveryChange:
    """A delivery before and after."""

    old: "DeliveryRecord | None"
    new: "DeliveryRecord | None"


Change = SessionChange | NamespaceChange | RegistryChange | DeliveryChange


def ids_of(record: StreamRecord) -> dict[str, str | None]:
    """Return what a log line says that a record is about: ``namespace``, ``session``, ``delivery``."""
    keys = decode(record["dynamodb"]["Keys"])
    return {
        "namespace": keys.get("namespace") or (keys.get("name") if "version" not in keys else None),
        "session": keys.get("sessionId"),
        "delivery": keys.get("deliveryId"),
    }


def read(record: StreamRecord, name_of: Callable[[str], str]) -> Change:
    """Read a record; ``name_of`` gives the full name of a table.

    Raises ``LookupError`` for a table whose changes have no reaction.
    """
    table = record["eventSourceARN"].split("/")[1]
    old, new = (_image(record, name) for name in ("OldImage", "NewImage"))
    if table == name_of("sessions"):
        return SessionChange(record_of(old), record_of(new))
    if table == name_of("namespaces"):
        return NamespaceChange(_namespace(old), _namespace(new))
    if table == name_of("registry"):
        return _registry_change(old, new)
    if table == name_of("deliveries"):
        return _delivery_change(old, new)
    raise LookupError(f"changes of {table} have no reaction")


def is_entry(record: StreamRecord) -> bool:
    """Return whether a record of the session-items table is of an entry of a log."""
    return log.is_entry(record["dynamodb"]["Keys"]["item"]["S"])


def entry_of(record: StreamRecord) -> log.LogEntry:
    """Return the entry of a log that a record says was written."""
    return log.entry_of(decode(record["dynamodb"]["NewImage"]))


def is_notice(record: StreamRecord) -> bool:
    """Return whether a record of the session-items table is of what there is to tell of a budget."""
    from chalicelib.store import budgets

    return budgets.is_notice(record["dynamodb"]["Keys"]["item"]["S"])


def notice_of(record: StreamRecord) -> "Notice":
    """Return what a record says there is to tell of a budget."""
    from chalicelib.store.budgets import Notice

    return Notice.from_item(decode(record["dynamodb"]["NewImage"]))


def is_of_turns(record: StreamRecord) -> bool:
    """Return whether a record of the session-items table is of an agent's turns: of one that has stopped."""
    return turns.is_turn({"item": record["dynamodb"]["Keys"]["item"]["S"]})


def is_end(record: StreamRecord) -> bool:
    """Return whether a record of the session-items table says that all is gone but what followers need."""
    from chalicelib.store import followers

    return followers.is_end(record["dynamodb"]["Keys"]["item"]["S"])


def follower_change(record: StreamRecord) -> tuple[str, bool]:
    """Return the connection that a record is about, and whether it follows its session from now on or does no more.

    Raises ``LookupError`` for an item of another kind.
    """
    from chalicelib.store import followers

    connection_id = followers.connection_of(decode(record["dynamodb"]["Keys"]))
    if connection_id is None:
        raise LookupError("an item of a session has changed that has no reaction")
    return connection_id, "NewImage" in record["dynamodb"]


def _image(record: StreamRecord, name: str) -> Item | None:
    change = record["dynamodb"]
    return decode(change[name]) if name in change else None


def _namespace(item: Item | None) -> NamespaceRecord | None:
    return NamespaceRecord.from_item(item) if item else None


# These two import wire models that no other change needs.
def _registry_change(old: Item | None, new: Item | None) -> RegistryChange:
    from chalicelib.store.registry import RegistryAgentRecord

    before, after = (RegistryAgentRecord.from_item(item) if item else None for item in (old, new))
    return RegistryChange(before, after)


def _delivery_change(old: Item | None, new: Item | None) -> DeliveryChange:
    from chalicelib.store.deliveries import DeliveryRecord

    before, after = (DeliveryRecord.from_item(item) if item else None for item in (old, new))
    return DeliveryChange(before, after)
