"""One DynamoDB table: typed calls over botocore's client, and the rule that what has expired does not exist.

Expressions name attributes as ``#status``; the alias map is derived from the expression, so that no reserved word
of DynamoDB can ever clash.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, cast

from botocore.exceptions import ClientError

from chalicelib.clock import Clock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

T = TypeVar("T")
Item = dict[str, Any]
Key = Mapping[str, str]

#: DynamoDB's limits of one BatchWriteItem and one BatchGetItem (Developer Guide, "Service, account, and table quotas").
BATCH_WRITE_ITEMS = 25
BATCH_GET_ITEMS = 100

#: How often a write is tried that a transaction is in the way of.
TRANSACTION_TRIES = 20

_ALIAS = re.compile(r"#(\w+)")


def encode(item: Mapping[str, Any]) -> dict[str, Any]:
    """Turn plain values into DynamoDB's tagged ones."""
    return {name: _tagged(value) for name, value in item.items()}


def decode(tagged: Mapping[str, Any]) -> Item:
    """Turn DynamoDB's tagged values into plain ones; whole numbers become ``int``."""
    return {name: _plain(value) for name, value in tagged.items()}


def size_of(value: Any) -> int:
    """Return the bytes that a value takes in an item (Developer Guide, "DynamoDB item sizes and formats")."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, Mapping):
        return 3 + sum(len(name.encode()) + size_of(part) + 1 for name, part in value.items())
    if isinstance(value, (list, set, tuple)):
        return 3 + sum(size_of(part) + 1 for part in value)
    return 1 if isinstance(value, bool) or value is None else 21


# boto3 has a codec of its own, but importing boto3 costs a function 50 ms of its cold start.
def _tagged(value: Any) -> dict[str, Any]:
    tag: str
    content: Any = value
    match value:
        case str():
            tag = "S"
        case bool():
            tag = "BOOL"
        case int():
            tag, content = "N", str(value)
        case None:
            tag, content = "NULL", True
        case dict():
            tag, content = "M", encode(value)
        case list() | tuple():
            tag, content = "L", [_tagged(part) for part in value]
        case set() | frozenset() if value and all(isinstance(part, str) for part in value):
            tag, content = "SS", sorted(value)
        case _:
            raise TypeError(f"no attribute of an item can be a {type(value).__name__}")
    return {tag: content}


def _plain(tagged: Mapping[str, Any]) -> Any:
    [(tag, value)] = tagged.items()
    match tag:
        case "N":
            return int(value) if value.lstrip("-").isdigit() else _number(value)
        case "NULL":
            return None
        case "M":
            return decode(value)
        case "L":
            return [_plain(part) for part in value]
        case "SS":
            return set(value)
    return value


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _aliases(*expressions: str | None) -> dict[str, str]:
    return {f"#{name}": name for text in expressions if text for name in _ALIAS.findall(text)}


class Write(NamedTuple):
    """One write to be made alone, or together with others."""

    kind: Literal["Put", "Update", "Delete"]
    request: dict[str, Any]


class Table:
    """A table by its full name. Reads are strongly consistent: every rule of the design rests on it."""

    def __init__(self, client: "DynamoDBClient", name: str, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self.name = name

    def alive(self, item: Item) -> bool:
        """Tell whether an item still exists for a reader: DynamoDB's TTL may delete it up to days late."""
        return int(item.get("expiresAt", 1 << 62)) > self._clock.now_ms() / 1000

    def get(self, key: Key) -> Item | None:
        """Read one item; ``None`` when there is none or it has expired."""
        found = self._client.get_item(TableName=self.name, Key=encode(key), ConsistentRead=True).get("Item")
        item = decode(found) if found else None
        return item if item and self.alive(item) else None

    def putting(self, item: Item, *, when: str | None = None, values: Mapping[str, Any] | None = None) -> Write:
        """Return the write of a whole item."""
        return self._write("Put", values, when, Item=encode(item))

    def updating(
        self, key: Key, change: str, *, when: str | None = None, values: Mapping[str, Any] | None = None
    ) -> Write:
        """Return the change of one item."""
        return self._write("Update", values, when, change, Key=encode(key))

    def deleting(self, key: Key, *, when: str | None = None, values: Mapping[str, Any] | None = None) -> Write:
        """Return the deletion of one item. A missing item is deleted already."""
        return self._write("Delete", values, when, Key=encode(key))

    def write(self, write: Write) -> bool:
        """Make one write alone; ``False`` when its condition did not hold and nothing was written."""
        try:
            self._call(write)
        except ClientError as error:
            if _lost_the_race(error):
                return False
            raise
        return True

    def put(self, item: Item, *, when: str | None = None, values: Mapping[str, Any] | None = None) -> bool:
        """Write a whole item; ``False`` when the condition did not hold and nothing was written."""
        return self.write(self.putting(item, when=when, values=values))

    def update(
        self, key: Key, change: str, *, when: str | None = None, values: Mapping[str, Any] | None = None
    ) -> Item | None:
        """Change one item and return it as it is now; ``None`` when the condition did not hold."""
        try:
            answer = self._call(self.updating(key, change, when=when, values=values), ReturnValues="ALL_NEW")
        except ClientError as error:
            if _lost_the_race(error):
                return None
            raise
        return decode(answer["Attributes"])

    def try_update(
        self, key: Key, change: str, *, when: str, values: Mapping[str, Any] | None = None
    ) -> tuple[bool, Item | None]:
        """Change one item: ``True`` and the item as it is now, or ``False`` and the item that refused (if there is)."""
        try:
            answer = self._call(
                self.updating(key, change, when=when, values=values),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            if not _lost_the_race(error):
                raise
            found = error.response.get("Item")
            item = decode(cast("dict[str, Any]", found)) if found else None
            return False, item if item and self.alive(item) else None
        return True, decode(answer["Attributes"])

    def delete(self, key: Key, *, when: str | None = None, values: Mapping[str, Any] | None = None) -> bool:
        """Delete one item; ``False`` when the condition did not hold. A missing item is deleted already."""
        return self.write(self.deleting(key, when=when, values=values))

    def query(
        self,
        condition: str,
        values: Mapping[str, Any],
        *,
        project: str | None = None,
        where: str | None = None,
        limit: int | None = None,
        backwards: bool = False,
        start: Mapping[str, str | int] | None = None,
        index: str | None = None,
        dead: bool = False,
    ) -> Iterator[Item]:
        """Read the items of one partition in the order of their sort key, page after page, as they are asked for.

        ``dead`` reads what does not exist for a reader, too. A global secondary index has no consistent reads: it may
        be some milliseconds behind.
        """
        request = _expressions(
            values, KeyConditionExpression=condition, ProjectionExpression=project, FilterExpression=where
        )
        request |= self._source(index)
        if limit is not None:
            request["Limit"] = limit
        if start is not None:
            request["ExclusiveStartKey"] = encode(start)
        while True:
            page = self._client.query(ScanIndexForward=not backwards, **request)
            yield from (item for item in map(decode, page["Items"]) if dead or self.alive(item))
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def scan(
        self,
        *,
        project: str | None = None,
        start: Key | None = None,
        limit: int | None = None,
        index: str | None = None,
        segment: tuple[int, int] | None = None,
        dead: bool = False,
    ) -> Iterator[Item]:
        """Read the whole table, or all that is in one of its indexes, page after page.

        ``segment`` is one part (from 0) of so many into which the keys are spread; ``dead`` reads what does not exist
        for a reader, too.
        """
        request: dict[str, Any] = {**self._source(index), **_expressions(None, ProjectionExpression=project)}
        if segment is not None:
            request["Segment"], request["TotalSegments"] = segment
        if limit is not None:
            request["Limit"] = limit
        if start is not None:
            request["ExclusiveStartKey"] = encode(start)
        while True:
            page = self._client.scan(**request)
            yield from (item for item in map(decode, page["Items"]) if dead or self.alive(item))
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def write_all(self, puts: Sequence[Item] = (), deletes: Iterable[Key] = ()) -> None:
        """Write and delete many items, unconditionally and in no order, in as few calls as DynamoDB allows."""
        requests: list[Any] = [{"PutRequest": {"Item": encode(item)}} for item in puts]
        requests += [{"DeleteRequest": {"Key": encode(key)}} for key in deletes]
        while requests:
            batch, requests = requests[:BATCH_WRITE_ITEMS], requests[BATCH_WRITE_ITEMS:]
            answer = self._client.batch_write_item(RequestItems={self.name: batch})
            left = answer.get("UnprocessedItems", {}).get(self.name, [])
            if left:  # throttled: botocore has not retried these
                self._clock.sleep(0.05)
                requests = [*left, *requests]

    def _source(self, index: str | None) -> dict[str, Any]:
        source: dict[str, Any] = {"TableName": self.name, "ConsistentRead": index is None}
        return {**source, "IndexName": index} if index else source

    def _call(self, write: Write, **request: Any) -> Any:
        call: Any = getattr(self._client, f"{write.kind.lower()}_item")
        return _when_free(self._clock, lambda: call(**write.request, **request))

    def _write(
        self,
        kind: Literal["Put", "Update", "Delete"],
        values: Mapping[str, Any] | None,
        when: str | None,
        change: str | None = None,
        **request: Any,
    ) -> Write:
        expressions = _expressions(values, ConditionExpression=when, UpdateExpression=change)
        return Write(kind, {"TableName": self.name, **request, **expressions})


def read_together(client: "DynamoDBClient", clock: Clock, wanted: Sequence[tuple[Table, Key]]) -> list[Item | None]:
    """Read items of several tables in one strongly consistent BatchGetItem, in the order they were asked for.

    An item that is asked for twice is read once; more than 100 take a second call.
    """
    if len(wanted) > BATCH_GET_ITEMS:
        first, rest = wanted[:BATCH_GET_ITEMS], wanted[BATCH_GET_ITEMS:]
        return [*read_together(client, clock, first), *read_together(client, clock, rest)]
    pending: dict[str, Any] = {}
    for table, key in wanted:
        keys = pending.setdefault(table.name, {"Keys": [], "ConsistentRead": True})["Keys"]
        if encode(key) not in keys:
            keys.append(encode(key))
    found: list[tuple[str, Item]] = []
    while pending:
        answer = client.batch_get_item(RequestItems=pending)
        found += [(name, decode(item)) for name, items in answer["Responses"].items() for item in items]
        pending = answer.get("UnprocessedKeys", {})
        if pending:
            clock.sleep(0.05)

    def match(table: Table, key: Key) -> Item | None:
        for name, item in found:
            if name == table.name and all(item[part] == value for part, value in key.items()) and table.alive(item):
                return item
        return None

    return [match(table, key) for table, key in wanted]


def write_together(client: "DynamoDBClient", clock: Clock, writes: Iterable[Write]) -> bool:
    """Make writes to several tables, all or none; ``False`` when a condition did not hold."""
    requests: list[Any] = [{write.kind: write.request} for write in writes]
    try:
        _when_free(clock, lambda: client.transact_write_items(TransactItems=requests))
    except ClientError as error:
        if "ConditionalCheckFailed" in _reasons(error):
            return False
        raise
    return True


def _when_free(clock: Clock, call: Callable[[], T]) -> T:
    """Make a call, and again while a transaction is in its way: that will have won or gone."""
    tries = 0
    while True:
        tries += 1
        try:
            return call()
        except ClientError as error:
            if tries == TRANSACTION_TRIES or not _meets_a_transaction(error):
                raise
            clock.sleep(0.05)


_PASSING = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}


def _meets_a_transaction(error: ClientError) -> bool:
    reasons = _reasons(error)
    if "ConditionalCheckFailed" in reasons:
        return False
    return error.response["Error"]["Code"] == "TransactionConflictException" or not reasons.isdisjoint(_PASSING)


def _reasons(error: ClientError) -> set[Any]:
    """Return why a transaction was cancelled; nothing for another error."""
    return {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}


def _expressions(values: Mapping[str, Any] | None, **expressions: str | None) -> dict[str, Any]:
    request: dict[str, Any] = {name: text for name, text in expressions.items() if text}
    if names := _aliases(*expressions.values()):
        request["ExpressionAttributeNames"] = names
    if values:
        request["ExpressionAttributeValues"] = encode(values)
    return request


def _lost_the_race(error: ClientError) -> bool:
    return error.response["Error"]["Code"] == "ConditionalCheckFailedException"
