"""Counts AWS calls where botocore makes them, and what DynamoDB would charge for each.

The units follow the Developer Guide ("DynamoDB read and write operations"): a strongly consistent read is one unit for
each 4 KB, of every item of a GetItem or BatchGetItem, of the sum of a Query; a write is one for each KB of an item.
What moto reports of them is made up, so they are computed from the items that go over the wire.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore.client import BaseClient

READ_BYTES, WRITE_BYTES = 4096, 1024


@dataclass
class Counted:
    """What was done between two looks."""

    calls: list[str] = field(default_factory=list)
    read_units: float = 0
    write_units: float = 0
    items_read: int = 0
    items_written: int = 0

    def row(self) -> dict[str, Any]:
        """Return it as a row of results."""
        return {
            "calls": len(self.calls),
            "of": {name: self.calls.count(name) for name in dict.fromkeys(self.calls)},
            "read_units": self.read_units,
            "write_units": self.write_units,
            "items_read": self.items_read,
            "items_written": self.items_written,
        }


class Meter:
    """Counts the calls of the clients that it follows."""

    def __init__(self) -> None:
        self.counted = Counted()

    def follow(self, client: BaseClient) -> None:
        """Count the calls of one more client."""
        service = client.meta.service_model.service_name
        client.meta.events.register(f"before-parameter-build.{service}", self._begun)
        client.meta.events.register(f"after-call.{service}", self._ended)

    @contextmanager
    def counting(self) -> Iterator[Counted]:
        """Count from here to the end of the block."""
        counted = self.counted = Counted()
        try:
            yield counted
        finally:
            self.counted = Counted()

    def _begun(self, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        context["bench"] = params
        self.counted.calls.append(f"{model.service_model.service_name}:{model.name}")

    def _ended(self, parsed: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        if model.service_model.service_name != "dynamodb":
            return
        reads, writes = _units(model.name, context["bench"], parsed)
        self.counted.read_units += sum(reads)
        self.counted.write_units += sum(units for units, _ in writes)
        self.counted.items_read += _items_read(model.name, parsed)
        self.counted.items_written += sum(written for _, written in writes)


def _units(operation: str, asked: Any, answer: Any) -> tuple[list[float], list[tuple[float, int]]]:
    """Return the read units and the write units (and how many items they wrote) of one call."""
    reads: list[float] = []
    writes: list[tuple[float, int]] = []
    done = "Error" not in answer
    match operation:
        case "GetItem":
            reads = [_of_read(_size(answer.get("Item", {})))]
        case "BatchGetItem":
            found = [item for items in answer.get("Responses", {}).values() for item in items]
            missing = sum(len(part["Keys"]) for part in asked["RequestItems"].values()) - len(found)
            reads = [*(_of_read(_size(item)) for item in found), *([1.0] * missing)]
        case "Query" | "Scan":
            left_out = answer.get("ScannedCount", 0) / max(1, answer.get("Count", 0))
            reads = [_of_read(sum(map(_size, answer.get("Items", []))) * max(1.0, left_out))]
        case "PutItem":
            writes = [(_of_write(_size(asked["Item"])), done)]
        case "UpdateItem":
            writes = [(_of_write(_size(answer.get("Attributes") or answer.get("Item") or {})), done)]
        case "DeleteItem":
            writes = [(1.0, done)]
        case "BatchWriteItem":
            requests = [request for part in asked["RequestItems"].values() for request in part]
            writes = [(_of_write(_size(request.get("PutRequest", {}).get("Item", {}))), 1) for request in requests]
        case "TransactWriteItems":
            puts = [part.get("Put", {}).get("Item", {}) for part in asked["TransactItems"]]
            writes = [(2 * _of_write(_size(item)), done) for item in puts]  # of another write the least
    return reads, writes


def _items_read(operation: str, answer: Any) -> int:
    match operation:
        case "GetItem":
            return int("Item" in answer)
        case "BatchGetItem":
            return sum(map(len, answer.get("Responses", {}).values()))
        case "Query" | "Scan":
            return int(answer.get("ScannedCount", 0))
    return 0


def _of_read(size: float) -> float:
    return max(1.0, math.ceil(size / READ_BYTES))


def _of_write(size: float) -> float:
    return max(1.0, math.ceil(size / WRITE_BYTES))


def _size(item: Mapping[str, Any]) -> int:
    """Return an item's size (Developer Guide, "DynamoDB item sizes and formats")."""
    return sum(len(name.encode()) + _size_of_value(value) for name, value in item.items())


def _size_of_value(tagged: Mapping[str, Any]) -> int:
    [(tag, value)] = tagged.items()
    match tag:
        case "S":
            return len(value.encode())
        case "N":
            return len(value.lstrip("-").replace(".", "")) // 2 + 2
        case "M":
            return 3 + sum(len(name.encode()) + _size_of_value(part) + 1 for name, part in value.items())
        case "L":
            return 3 + sum(_size_of_value(part) + 1 for part in value)
        case "SS":
            return sum(len(part.encode()) for part in value)
    return 1
