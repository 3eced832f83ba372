"""What DynamoDB documents of its calls: sizes of items and keys, and what expressions may say.

Sources: Amazon DynamoDB Developer Guide, "Quotas in Amazon DynamoDB" ("Constraints"), "Reserved words in DynamoDB",
"DynamoDB item sizes and formats"; the API reference of the batches and transactions.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

Params = Mapping[str, Any]
Item = Mapping[str, Any]

LARGEST_ITEM = 400 * 1024
LONGEST_EXPRESSION = 4 * 1024
LONGEST_PLACEHOLDER = 255
MOST_OPERATORS = 300
LARGEST_TRANSACTION = 4 * 1024 * 1024
#: Longest keys, in bytes: the partition's, the sort key.
LONGEST_KEYS = {"HASH": 2_048, "RANGE": 1_024}

#: The key attributes of each table that was made in this process, with their types of key.
_keys: dict[str, dict[str, str]] = {}

_EXPRESSIONS = (
    "ConditionExpression",
    "FilterExpression",
    "KeyConditionExpression",
    "ProjectionExpression",
    "UpdateExpression",
)

#: Words of the language of expressions, which are reserved words too.
_LANGUAGE = {"SET", "REMOVE", "ADD", "DELETE", "AND", "OR", "NOT", "BETWEEN", "IN"}
_TOKEN = re.compile(r"[#:]?[A-Za-z_][A-Za-z0-9_]*\(?|[#:][A-Za-z0-9_]+")
_OPERATOR = re.compile(r"<>|<=|>=|[=<>+-]|\b(?:AND|OR|NOT|BETWEEN|IN)\b|\w+(?=\()")


def faults(params: Params) -> Iterator[str]:
    """Yield what is wrong with the parameters of a call of DynamoDB, whichever it is."""
    if "KeySchema" in params and "TableName" in params:
        _keys[params["TableName"]] = {each["AttributeName"]: each["KeyType"] for each in params["KeySchema"]}
        return
    yield from _parts(params)
    if "TransactItems" in params:
        yield from _transaction([each for item in params["TransactItems"] for each in item.values()])
    if isinstance(params.get("RequestItems"), Mapping):
        yield from _batch(params["RequestItems"])


def _parts(params: Params) -> Iterator[str]:
    """Yield what is wrong with one read or write."""
    for name in ("Key", "Item", "ExclusiveStartKey"):
        if name in params:
            yield from _key(params.get("TableName", ""), params[name], whole=name != "ExclusiveStartKey")
    if "Item" in params:
        yield from _item(params["Item"])
    yield from _expressions(params)


def _transaction(actions: list[Params]) -> Iterator[str]:
    for action in actions:
        yield from _parts(action)
    yield from _once((action["TableName"], action.get("Key") or action["Item"]) for action in actions)
    if sum(size_of(action.get("Item", {})) for action in actions) > LARGEST_TRANSACTION:
        yield f"TransactItems: more than {LARGEST_TRANSACTION} bytes"


def _batch(tables: Mapping[str, Any]) -> Iterator[str]:
    named: list[tuple[str, Item]] = []
    for table, asked in tables.items():
        if isinstance(asked, Mapping):
            yield from _expressions(asked)
            keys = asked["Keys"]
        else:
            keys = []
            for action in [each for request in asked for each in request.values()]:
                keys.append(action.get("Key") or action["Item"])
                yield from _item(action.get("Item", {}))
        for key in keys:
            yield from _key(table, key)
        named += [(table, key) for key in keys]
    if not named:
        yield "RequestItems: there is none"
    if len(named) > 100:
        yield f"RequestItems: {len(named)} are more than 100"
    yield from _once(named)


def _once(named: Iterable[tuple[str, Item]]) -> Iterator[str]:
    """Yield the items of known tables that are named twice."""
    seen = set()
    for table, item in named:
        if table in _keys:
            place = table, *(str(item.get(name)) for name in _keys[table])
            if place in seen:
                yield f"the item {place} is named twice"
            seen.add(place)


def _key(table: str, item: Item, *, whole: bool = True) -> Iterator[str]:
    """Yield what is wrong with the key of an item, if its table is known."""
    for name, kind in _keys.get(table, {}).items():
        if name not in item:
            if whole:
                yield f"key: has no {name}"
            continue
        size = _size(item[name])
        if not 1 <= size <= LONGEST_KEYS[kind]:
            yield f"key {name}: {size} bytes, not from 1 to {LONGEST_KEYS[kind]}"


def _item(item: Item) -> Iterator[str]:
    size = size_of(item)
    if size > LARGEST_ITEM:
        yield f"Item: {size} bytes are more than {LARGEST_ITEM}"


def size_of(item: Item) -> int:
    """Return the size of an item, without what DynamoDB adds to numbers, lists and maps."""
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


def _size(value: Mapping[str, Any]) -> int:
    kind, content = next(iter(value.items()))
    if kind == "S":
        return len(content) if content.isascii() else len(content.encode())
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + _size(each) for name, each in content.items())
    if kind == "L":
        return 3 + sum(1 + _size(each) for each in content)
    if kind == "N":
        return (len(content) + 1) // 2 + 1
    return 1 if kind in ("BOOL", "NULL") else sum(map(len, content)) if kind in ("SS", "NS", "BS") else len(content)


def _values(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        kind, content = next(iter(value.items()))
        if kind in ("SS", "NS", "BS") and (not content or len(content) != len(set(content))):
            yield f"{name}: a set that is empty, or has a member twice"
    if sum(map(_size, values.values())) > LARGEST_ITEM:
        yield f"ExpressionAttributeValues: more than {LARGEST_ITEM} bytes"


def _expressions(params: Params) -> Iterator[str]:
    expressions = [params[name] for name in _EXPRESSIONS if name in params]
    names, values = params.get("ExpressionAttributeNames"), params.get("ExpressionAttributeValues")
    if not expressions:
        if names is not None or values is not None:
            yield "ExpressionAttributeNames, …Values: there is no expression"
        return
    used: set[str] = set()
    for expression in expressions:
        found, wrong = _read(expression)
        used |= found
        yield from wrong
    defined = {*(names or {}), *(values or {})}
    if names == {} or values == {}:
        yield "ExpressionAttributeNames, …Values: must not be empty"
    if unused := defined - used:
        yield f"unused in expressions: {sorted(unused)}"
    if undefined := used - defined:
        yield f"not defined: {sorted(undefined)}"
    yield from _values(values or {})


@lru_cache(1_000)
def _read(expression: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the placeholders of an expression, and what is wrong with it."""
    wrong = []
    if not expression:
        wrong.append("an expression is empty")
    if len(expression.encode()) > LONGEST_EXPRESSION:
        wrong.append(f"an expression of {len(expression.encode())} bytes, more than {LONGEST_EXPRESSION}")
    if (operators := len(_OPERATOR.findall(expression))) > MOST_OPERATORS:
        wrong.append(f"an expression of {operators} operators and functions, more than {MOST_OPERATORS}")
    tokens = set(_TOKEN.findall(expression))
    placeholders = frozenset(token.rstrip("(") for token in tokens if token[0] in "#:")
    wrong += [f"a placeholder is too long: {each}" for each in placeholders if len(each) > LONGEST_PLACEHOLDER]
    words = {token for token in tokens if token[0] not in "#:" and not token.endswith("(")}
    if reserved := sorted(word for word in words if word.upper() in _reserved()):
        wrong.append(f"reserved words: {reserved} in {expression!r}")
    return placeholders, tuple(wrong)


@cache
def _reserved() -> set[str]:
    # Most tests use no table, and need not load this.
    from moto.dynamodb.parsing.reserved_keywords import ReservedKeywords

    return set(ReservedKeywords.get_reserved_keywords()) - _LANGUAGE
