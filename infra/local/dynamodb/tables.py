"""DynamoDB: moto's, made atomic, with queries of one partition, streams that keep nothing and a TTL that deletes."""

import copy
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any, TypeVar
from unittest.mock import patch

from moto.core.responses import ActionResult
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import StreamShard, Table
from moto.dynamodb.models.utilities import dynamo_json_dump, dynamo_to_dict
from moto.dynamodb.responses import DynamoHandler, DynamoResult

T = TypeVar("T")

#: Takes a table's name and one record of its stream.
RecordSink = Callable[[str, dict[str, Any]], None]

#: Says whether a record is wanted, by its table, the name of its event and the item's keys.
RecordFilter = Callable[[str, str, dict[str, Any]], bool]

#: An item: its table, its key within it, and its attributes as JSON, ``None`` when it was deleted.
ItemRow = tuple[str, str, str | None]

#: Takes items that one call has written and the records that it made, each with its table's name.
Save = Callable[[list[ItemRow], list[tuple[str, dict[str, Any]]]], None]

#: ``userIdentity`` of a stream record whose item expired (DynamoDB guide, "DynamoDB Streams and Time to Live").
TTL_IDENTITY = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}

#: Operations whose answers are made of items.
ITEM_OPERATIONS = {
    "BatchGetItem",
    "BatchWriteItem",
    "DeleteItem",
    "GetItem",
    "PutItem",
    "Query",
    "Scan",
    "TransactGetItems",
    "UpdateItem",
}


class _Shard(StreamShard):
    """A stream's shard that hands its records on instead of keeping them."""

    def __init__(self, table: Table, tables: "Tables") -> None:
        super().__init__(table.account_id, table)
        self._tables = tables
        # Beyond those of an earlier run, whose records may still be carried.
        self._written = time.time_ns() // 1_000 if tables.keeps else 0

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Shard":
        # A transaction copies its tables to be able to undo. Sequence numbers go on all the same.
        return self

    def add(self, old: Any, new: Any) -> None:
        """Take one change of the table; a write that changed nothing makes no record (as on AWS)."""
        if old is not None and new is not None and old.to_json() == new.to_json():
            return
        self._tables.wrote(self.table, old, new)
        kind = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
        keys = _keys(self.table, new if old is None else old)
        if not self._tables.wants(self.table.name, kind, keys):
            return
        view = self.table.stream_specification["StreamViewType"]  # type: ignore[index]
        change: dict[str, Any] = {
            "ApproximateCreationDateTime": int(time.time()),
            "SequenceNumber": str(self.starting_sequence_number + self._written),
            "StreamViewType": view,
            "Keys": keys,
        }
        self._written += 1
        if new is not None:
            change["NewImage"] = new.to_json()["Attributes"]
        if old is not None and view == "NEW_AND_OLD_IMAGES":
            change["OldImage"] = old.to_json()["Attributes"]
        # As text and back: moto hands out its own values, which the next write may change.
        text = dynamo_json_dump(change)
        record = {
            "eventID": uuid.uuid4().hex,
            "eventName": kind,
            "eventSource": "aws:dynamodb",
            "eventVersion": "1.1",
            "awsRegion": self.table.region_name,
            "eventSourceARN": f"{self.table.table_arn}/stream/{self.table.latest_stream_label}",
            "dynamodb": {**json.loads(text), "SizeBytes": len(text)},
        }
        self._tables.changed(self.table.name, record)


class Tables:
    """The tables of one account and region."""

    def __init__(
        self, account: str, region: str, sink: RecordSink, wants: RecordFilter, save: Save | None = None
    ) -> None:
        """
        Parameters
        ----------
        save
            Makes what one call has written outlive this process, before the call is answered.
        """
        self._account = account
        self._region = region
        self._sink = sink
        #: Whether anybody takes a record: one is costly to make.
        self.wants = wants
        # moto holds no lock: without one, two threads can both win a conditional write.
        self._lock = threading.RLock()
        self._pending: list[tuple[str, dict[str, Any]]] = []
        self._save = save
        #: What the call that is being made has written: of each item its table and key, and its attributes as JSON.
        self._unsaved: list[ItemRow] = []

    @property
    def keeps(self) -> bool:
        """Whether what is written outlives this process."""
        return self._save is not None

    def patches(self) -> Iterable[AbstractContextManager[Any]]:
        """Return the patches that make moto's DynamoDB behave."""
        call_action = DynamoHandler.call_action
        query = Table.query

        def call_alone(handler: DynamoHandler) -> Any:
            return self.alone(lambda: call_action(handler), succeeded=lambda answer: bool(answer[0] < 300))

        def query_partition(table: Table, *asked: Any, **named: Any) -> Any:
            """Query with only the wanted part of the partition in sight: moto walks and copies the whole table."""
            hash_key, comparison, values, limit, start, forward, _, index_name, *_ = asked
            if index_name or table.range_key_attr is None:
                return query(table, *asked, **named)
            part = copy.copy(table)
            found = _in_range(table.items.get(hash_key, {}), comparison, values)
            if limit and not start:
                # One more than is wanted shows that there are more.
                found = dict(sorted(found.items(), key=_range_value, reverse=not forward)[: limit + 1])
            part.items = {hash_key: found}  # type: ignore[assignment]
            return query(part, *asked, **named)

        execute_result = ActionResult.execute_result

        def answer_items(result: DynamoResult, context: Any) -> Any:
            """Write items as the JSON they are: moto rebuilds each, and looks at it for every type's name."""
            if context.operation_model.name not in ITEM_OPERATIONS:
                return execute_result(ActionResult(dynamo_to_dict(result.result)), context)
            return 200, {"Content-Type": "application/x-amz-json-1.0"}, dynamo_json_dump(result.result)

        return [
            patch.object(DynamoHandler, "call_action", call_alone),
            patch.object(DynamoResult, "execute_result", answer_items),
            patch.object(DynamoResult, "__init__", ActionResult.__init__),
            patch.object(Table, "query", query_partition),
        ]

    def alone(self, call: Callable[[], T], *, succeeded: Callable[[T], bool] = lambda _: True) -> T:
        """Make one call with no other beside it; its records go out when it has succeeded."""
        with self._lock:
            self._forget_pending()
            try:
                answer = call()
                # A refused transaction is undone by moto, and so are its records.
                if succeeded(answer):
                    self._hand_on()
            finally:
                self._forget_pending()
            return answer

    def _hand_on(self) -> None:
        try:
            if self._save is not None and self._unsaved:
                self._save(self._unsaved, self._pending)
        finally:
            # What could not be saved has happened all the same.
            for table, record in self._pending:
                self._sink(table, record)

    def _forget_pending(self) -> None:
        self._pending.clear()
        self._unsaved.clear()

    def stream(self, name: str) -> None:
        """Send the stream of a table to the sink from here on."""
        table = self._table(name)
        table.stream_shard = _Shard(table, self)

    def names(self) -> list[str]:
        """Return the names of all tables."""
        return list(dynamodb_backends[self._account][self._region].tables)

    def restore(self, name: str, items: Iterable[str | bytes]) -> None:
        """Put the items of an earlier run into a table, each from its attributes as JSON."""
        table = self._table(name)
        shard, table.stream_shard = table.stream_shard, None
        for attributes in items:
            table.put_item(json.loads(attributes))
        table.stream_shard = shard

    def wrote(self, table: Table, old: Any, new: Any) -> None:
        """Take a change of an item, to be saved when the call that made it has succeeded."""
        if self._save is not None:
            item = new if new is not None else old
            key = [item.hash_key.value, item.range_key.value if item.range_key is not None else None]
            attributes = None if new is None else dynamo_json_dump(new.to_json()["Attributes"])
            self._unsaved.append((table.name, json.dumps(key), attributes))

    def changed(self, table: str, record: dict[str, Any]) -> None:
        """Take a record; it goes out when the call that made it has succeeded."""
        self._pending.append((table, record))

    def delete_expired(self, now_s: float) -> int:
        """Delete what its TTL attribute says is over, and return how many items that were."""
        deleted = 0
        for name in self.names():
            table = self._table(name)
            attribute = table.ttl.get("AttributeName")
            if table.ttl.get("TimeToLiveStatus") != "ENABLED" or not attribute:
                continue
            with self._lock:
                self._forget_pending()
                for item in table.all_items():
                    if _expired(item.attrs.get(attribute), now_s):
                        table.delete_item(item.hash_key, item.range_key)
                        deleted += 1
                self._pending[:] = [(name, {**record, "userIdentity": TTL_IDENTITY}) for _, record in self._pending]
                try:
                    self._hand_on()
                finally:
                    self._forget_pending()
        return deleted

    def forget_empty_partitions(self) -> None:
        """Give back what moto keeps of partitions that hold nothing any more, or were only asked for."""
        for name in self.names():
            table = self._table(name)
            if table.range_key_attr is not None:
                with self._lock:
                    for key in [key for key, items in table.items.items() if not items]:
                        del table.items[key]

    def _table(self, name: str) -> Table:
        return dynamodb_backends[self._account][self._region].tables[name]


def _expired(value: Any, now_s: float) -> bool:
    return value is not None and value.type == "N" and Decimal(value.value) < now_s


def _keys(table: Table, item: Any) -> dict[str, Any]:
    keys = {table.hash_key_attr: item.hash_key.to_json()}
    if table.range_key_attr is not None:
        keys[table.range_key_attr] = item.range_key.to_json()
    return keys


#: Key conditions on text, by moto's names for them.
_ON_TEXT: dict[str, Callable[..., bool]] = {
    "=": lambda key, value: key == value,
    "<": lambda key, value: key < value,
    "<=": lambda key, value: key <= value,
    ">": lambda key, value: key > value,
    ">=": lambda key, value: key >= value,
    "BETWEEN": lambda key, low, high: low <= key <= high,
    "BEGINS_WITH": lambda key, value: key.startswith(value),
}


def _range_value(entry: tuple[Any, Any]) -> Any:
    return entry[0].value if entry[0].type == "S" else entry[0].cast_value


def _in_range(items: dict[Any, Any], comparison: str | None, values: list[Any]) -> dict[Any, Any]:
    """Return the items of a partition that a key condition asks for; moto sorts and checks them once more."""
    holds = _ON_TEXT.get(comparison.upper()) if comparison else None
    if holds is None or any(value.type != "S" for value in values):
        return dict(items)
    texts = [value.value for value in values]
    return {key: item for key, item in items.items() if holds(key.value, *texts)}
