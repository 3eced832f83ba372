"""The base of all records: a dataclass in Python, an item with camelCase attributes in DynamoDB."""

import dataclasses
from typing import Any, Self

from pydantic.alias_generators import to_camel

from chalicelib.store.items import Item


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A typed view of one item. ``None`` is an attribute that is not there."""

    def to_item(self) -> Item:
        """Return the attributes of the item."""
        values: dict[str, Any] = {attribute: getattr(self, name) for name, attribute in _attributes(type(self))}
        return {attribute: value for attribute, value in values.items() if value is not None}

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Read the attributes that this record knows; others are ignored."""
        return cls(**{name: item[attribute] for name, attribute in _attributes(cls) if attribute in item})


#: Of each kind of record its fields, and what each is called in DynamoDB.
_ATTRIBUTES: dict[type, tuple[tuple[str, str], ...]] = {}


def _attributes(record: type[Record]) -> tuple[tuple[str, str], ...]:
    known = _ATTRIBUTES.get(record)
    if known is None:
        known = tuple((field.name, to_camel(field.name)) for field in dataclasses.fields(record))
        _ATTRIBUTES[record] = known
    return known
