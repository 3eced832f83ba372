"""Items of DynamoDB: their codec, their sizes, the expressions about them, and the retries of calls to a busy table.

Expressions name attributes as ``#status``; the alias map is derived from the expression, so that no reserved word
of DynamoDB can ever clash.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

from botocore.exceptions import ClientError

from chalicelib.clock import Clock

T = TypeVar("T")
Item = dict[str, Any]
Key = Mapping[str, str]

#: DynamoDB's limits of one BatchWriteItem and one BatchGetItem (Developer Guide, "Service, account, and table quotas").
BATCH_WRITE_ITEMS = 25
BATCH_GET_ITEMS = 100

#: How often a call is made that meets a transaction, or a batch that leaves something undone; and the bounds of the
#: pause before the next one, in s. All pauses together are some 8 s: a request has 29 s, and a reaction comes again.
MOST_TRIES = 12
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0

_ALIAS = re.compile(r"#(\w+)")


class Unprocessed(Exception):
    """DynamoDB left part of a batch undone, as often as it was asked: it is throttled for longer than a call may wait.

    What was done of the batch stays done; the same call may succeed later.
    """


class Write(NamedTuple):
    """One write to be made alone, or together with others."""

    kind: Literal["Put", "Update", "Delete"]
    request: dict[str, Any]


def encode(item: Mapping[str, Any]) -> dict[str, Any]:
    """Turn plain values into DynamoDB's tagged ones; ``TypeError`` for a value that no attribute can have."""
    return {name: _tagged(value) for name, value in item.items()}


def decode(tagged: Mapping[str, Any]) -> Item:
    """Turn DynamoDB's tagged values into plain ones; whole numbers become ``int``."""
    return {name: _plain(value) for name, value in tagged.items()}


def size_of(value: Any) -> int:
    """Return the bytes that a value takes in an item (Developer Guide, "DynamoDB item sizes and formats")."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, bytes):
        return len(value)
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
        case bytes():
            tag = "B"
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


def expressions(
    values: Mapping[str, Any] | None, names: Mapping[str, str] | None = None, **texts: str | None
) -> dict[str, Any]:
    """Return what a request says of its expressions: their texts, the aliases in them, and the values.

    An alias stands for the attribute of its own name, unless ``names`` says for which: one that is no word.
    """
    request: dict[str, Any] = {name: text for name, text in texts.items() if text}
    known = names or {}
    names = {f"#{name}": known.get(name, name) for text in request.values() for name in _ALIAS.findall(text)}
    if names:
        request["ExpressionAttributeNames"] = names
    if values:
        request["ExpressionAttributeValues"] = encode(values)
    return request


def tries(clock: Clock) -> Iterator[int]:
    """Count tries from 1 to `MOST_TRIES`, with a growing, jittered pause before each but the first."""
    for number in range(1, MOST_TRIES + 1):
        if number > 1:
            longest_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (number - 2))
            clock.sleep(random.uniform(longest_s / 2, longest_s))  # noqa: S311, no secret
        yield number


def when_free(clock: Clock, call: Callable[[], T]) -> T:
    """Make a call, and again while a transaction is in its way: that will have won or gone.

    Raises ``ClientError`` for any other reason, and the last conflict after `MOST_TRIES`.
    """
    for number in tries(clock):
        try:
            return call()
        except ClientError as error:
            if number == MOST_TRIES or not _meets_a_transaction(error):
                raise
    raise AssertionError("the last try either returned or raised")


#: Why a transaction is cancelled that may go through a little later.
_TRANSIENT = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}


def _meets_a_transaction(error: ClientError) -> bool:
    if condition_failed(error):
        return False
    code = error.response["Error"]["Code"]
    return code == "TransactionConflictException" or not _reasons(error).isdisjoint(_TRANSIENT)


def condition_failed(error: ClientError) -> bool:
    """Return whether the condition of a write, or one of a transaction, did not hold."""
    code = error.response["Error"]["Code"]
    return code == "ConditionalCheckFailedException" or "ConditionalCheckFailed" in _reasons(error)


def _reasons(error: ClientError) -> set[Any]:
    """Return why a transaction was cancelled; nothing for another error."""
    return {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
