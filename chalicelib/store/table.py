"""One DynamoDB table: typed calls over botocore's client, and the rule that what has expired does not exist.

Private to `chalicelib.store`: each store holds its table and returns records.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from botocore.exceptions import ClientError

from chalicelib.clock import Clock
from chalicelib.store.items import (
    BATCH_WRITE_ITEMS,
    Item,
    Key,
    Unprocessed,
    Write,
    condition_failed,
    decode,
    encode,
    expressions,
    tries,
    when_free,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class Table:
    """A table by its full name. Reads are strongly consistent: all conditions and queries of Atoll rely on it."""

    def __init__(self, client: "DynamoDBClient", name: str, clock: Clock) -> None:
        self._client = client
        self.clock = clock
        self.name = name

    def now_s(self) -> int:
        """Return the time in epoch s, as expiry counts."""
        return self.clock.now_ms() // 1000

    def alive(self, item: Item) -> bool:
        """Return whether an item has not expired: DynamoDB's TTL may delete it up to days late."""
        return int(item.get("expiresAt", 1 << 62)) > self.clock.now_ms() / 1000

    def get(self, key: Key) -> Item | None:
        """Read one item; ``None`` when it does not exist or has expired."""
        found = self._client.get_item(TableName=self.name, Key=encode(key), ConsistentRead=True).get("Item")
        item = decode(found) if found else None
        return item if item and self.alive(item) else None

    def putting(self, item: Item, *, when: str | None = None, values: Mapping[str, Any] | None = None) -> Write:
        """Return the write of a whole item."""
        return self._write("Put", values, when, Item=encode(item))

    def updating(
        self,
        key: Key,
        change: str,
        *,
        when: str | None = None,
        values: Mapping[str, Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> Write:
        """Return the change of one item; ``names`` has the attributes whose names are no words, by their aliases."""
        return self._write("Update", values, when, change, names, Key=encode(key))

    def deleting(self, key: Key, *, when: str | None = None, values: Mapping[str, Any] | None = None) -> Write:
        """Return the deletion of one item. A missing item is deleted already."""
        return self._write("Delete", values, when, Key=encode(key))

    def write(self, write: Write) -> bool:
        """Make one write alone; ``False`` when its condition did not hold and nothing was written."""
        try:
            self._call(write)
        except ClientError as error:
            if condition_failed(error):
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
            if condition_failed(error):
                return None
            raise
        return decode(answer["Attributes"])

    def try_update(
        self,
        key: Key,
        change: str,
        *,
        when: str,
        values: Mapping[str, Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> tuple[bool, Item | None]:
        """Change one item: ``True`` and the item as it is now, or ``False`` and the item that refused (if there is)."""
        return self._tried(self.updating(key, change, when=when, values=values, names=names), ReturnValues="ALL_NEW")

    def try_put(self, item: Item, *, when: str, values: Mapping[str, Any] | None = None) -> tuple[bool, Item | None]:
        """Write a whole item: ``True``, or ``False`` and the item that refused (if there is)."""
        return self._tried(self.putting(item, when=when, values=values))

    def _tried(self, write: Write, **request: Any) -> tuple[bool, Item | None]:
        try:
            answer = self._call(write, ReturnValuesOnConditionCheckFailure="ALL_OLD", **request)
        except ClientError as error:
            if not condition_failed(error):
                raise
            found = error.response.get("Item")
            item = decode(cast("dict[str, Any]", found)) if found else None
            return False, item if item and self.alive(item) else None
        return True, decode(answer["Attributes"]) if "Attributes" in answer else None

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
        expired: bool = False,
    ) -> Iterator[Item]:
        """Read the items of one partition in the order of their sort key, page after page, as they are asked for.

        ``expired`` includes expired items. A global secondary index has no consistent reads: it may
        be some milliseconds behind.
        """
        request = expressions(
            values, KeyConditionExpression=condition, ProjectionExpression=project, FilterExpression=where
        )
        request |= self._source(index)
        if limit is not None:
            request["Limit"] = limit
        if start is not None:
            request["ExclusiveStartKey"] = encode(start)
        while True:
            page = self._client.query(ScanIndexForward=not backwards, **request)
            yield from (item for item in map(decode, page["Items"]) if expired or self.alive(item))
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
        expired: bool = False,
    ) -> Iterator[Item]:
        """Read the whole table, or all that is in one of its indexes, page after page.

        ``segment`` is one part (from 0) of so many into which the keys are spread; ``expired`` reads what has
        expired, too.
        """
        request: dict[str, Any] = {**self._source(index), **expressions(None, ProjectionExpression=project)}
        if segment is not None:
            request["Segment"], request["TotalSegments"] = segment
        if limit is not None:
            request["Limit"] = limit
        if start is not None:
            request["ExclusiveStartKey"] = encode(start)
        while True:
            page = self._client.scan(**request)
            yield from (item for item in map(decode, page["Items"]) if expired or self.alive(item))
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def write_all(self, puts: Sequence[Item] = (), deletes: Iterable[Key] = ()) -> None:
        """Write and delete many items, unconditionally and in no order, in as few calls as DynamoDB allows.

        Raises `Unprocessed` when DynamoDB is throttled for longer than a call may wait; some of them are made then.
        """
        requests: list[Any] = [{"PutRequest": {"Item": encode(item)}} for item in puts]
        requests += [{"DeleteRequest": {"Key": encode(key)}} for key in deletes]
        for start in range(0, len(requests), BATCH_WRITE_ITEMS):
            self._write_batch(requests[start : start + BATCH_WRITE_ITEMS])

    def _write_batch(self, batch: list[Any]) -> None:
        for _ in tries(self.clock):
            answer = self._client.batch_write_item(RequestItems={self.name: batch})
            batch = answer.get("UnprocessedItems", {}).get(self.name, [])
            if not batch:
                return
        raise Unprocessed(f"{len(batch)} writes to {self.name} were throttled")

    def write_with(self, *writes: Write) -> bool:
        """Make writes to this and other tables, all or none; ``False`` when a condition did not hold."""
        requests: list[Any] = [{write.kind: write.request} for write in writes]
        try:
            when_free(self.clock, lambda: self._client.transact_write_items(TransactItems=requests))
        except ClientError as error:
            if condition_failed(error):
                return False
            raise
        return True

    def _source(self, index: str | None) -> dict[str, Any]:
        source: dict[str, Any] = {"TableName": self.name, "ConsistentRead": index is None}
        return {**source, "IndexName": index} if index else source

    def _call(self, write: Write, **request: Any) -> Any:
        call: Any = getattr(self._client, f"{write.kind.lower()}_item")
        return when_free(self.clock, lambda: call(**write.request, **request))

    def _write(
        self,
        kind: Literal["Put", "Update", "Delete"],
        values: Mapping[str, Any] | None,
        when: str | None,
        change: str | None = None,
        names: Mapping[str, str] | None = None,
        **request: Any,
    ) -> Write:
        about = expressions(values, names, ConditionExpression=when, UpdateExpression=change)
        return Write(kind, {"TableName": self.name, **request, **about})
