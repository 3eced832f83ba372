"""The base of all records: a dataclass in Python, an item with camelCase attributes in DynamoDB."""

import dataclasses
from typing import Any, Self

from pydantic.alias_generators import to_camel

from chalicelib.store.table import Item


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A typed view of one item. ``None`` is an attribute that is not there."""

    def to_item(self) -> Item:
        """Return the attributes of the item."""
        return {to_camel(name): value for name, value in _values(self).items() if value is not None}

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Read the attributes that this record knows; others are ignored."""
        names = (field.name for field in dataclasses.fields(cls))
        return cls(**{name: item[to_camel(name)] for name in names if to_camel(name) in item})


def _values(record: Record) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
