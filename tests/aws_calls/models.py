"""What the models of AWS's services say of parameters and botocore does not check: patterns, enums, largest sizes.

botocore checks types, what is required, what is unknown, and smallest sizes. The patterns of the models are Java's; AWS
matches them against the whole value ("Member must satisfy regular expression pattern").
"""

import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import regex
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

#: Yields what is wrong with a value, which is at a place.
Check = Callable[[Any, str], Iterator[str]]

#: Shapes that are left out. Of attributes' values, of which there are very many, the model bounds only the names in
#: maps. `tests.aws_calls.dynamodb` weighs the items that they are in.
_LEFT_OUT = {("dynamodb", "AttributeValue")}

#: The types whose size is their length; of others it is the value itself.
_SIZED = ("string", "blob", "list", "map")


class Models:
    """The checks of parameters, made once for each shape of each service."""

    def __init__(self) -> None:
        self._operations: dict[tuple[str, str], Check | None] = {}
        self._shapes: dict[tuple[str, str], Check | None] = {}
        #: Held while checks are made: one that is half made looks itself up without end.
        self._making = threading.Lock()

    def faults(self, operation: OperationModel, params: Mapping[str, Any]) -> Iterator[str]:
        """Yield what is wrong with the parameters of a call."""
        service = operation.service_model.service_name
        key = service, operation.name
        if key not in self._operations:
            shape = operation.input_shape
            with self._making:
                self._operations[key] = self._of(service, shape) if shape is not None else None
        check = self._operations[key]
        if check is not None:
            yield from check(params, "")

    def _of(self, service: str, shape: Shape) -> Check | None:
        key = service, shape.name
        if key in _LEFT_OUT:
            return None
        if key not in self._shapes:
            # A shape may have itself as a member: it is looked up when a value is checked.
            def later(value: Any, place: str) -> Iterator[str]:
                return (self._shapes[key] or _nothing)(value, place)

            self._shapes[key] = later
            self._shapes[key] = self._made(service, shape)
        return self._shapes[key]

    def _made(self, service: str, shape: Shape) -> Check | None:
        checks = [each for each in (_own(shape), self._of_parts(service, shape)) if each is not None]
        if len(checks) < 2:
            return checks[0] if checks else None
        return lambda value, place: (fault for check in checks for fault in check(value, place))

    def _of_parts(self, service: str, shape: Shape) -> Check | None:
        if isinstance(shape, StructureShape):
            members = {name: self._of(service, member) for name, member in shape.members.items()}
            return _structure({name: check for name, check in members.items() if check is not None})
        if isinstance(shape, ListShape):
            return _list(self._of(service, shape.member))
        if isinstance(shape, MapShape):
            return _map(self._of(service, shape.key), self._of(service, shape.value))
        return None


def _nothing(_: Any, __: str) -> Iterator[str]:
    yield from ()


def _structure(members: dict[str, Check]) -> Check | None:
    def check(value: Any, place: str) -> Iterator[str]:
        for name, member in value.items():
            if name in members:
                yield from members[name](member, f"{place}.{name}" if place else name)

    return check if members else None


def _list(member: Check | None) -> Check | None:
    if member is None:
        return None

    def check(value: Any, place: str) -> Iterator[str]:
        for number, each in enumerate(value):
            yield from member(each, f"{place}[{number}]")

    return check


def _map(of_key: Check | None, of_value: Check | None) -> Check | None:
    def check(value: Any, place: str) -> Iterator[str]:
        for name, each in value.items():
            if of_key is not None:
                yield from of_key(name, f"{place} (key {name!r})")
            if of_value is not None:
                yield from of_value(each, f"{place}.{name}")

    return check if of_key or of_value else None


def _own(shape: Shape) -> Check | None:
    """Return the check of what a shape says of itself; ``None`` where it says nothing that botocore leaves out."""
    says = shape.metadata
    most = says.get("max")
    enum = frozenset(says.get("enum", ()))
    pattern = compiled(says["pattern"]) if "pattern" in says and shape.type_name == "string" else None
    if most is None and not enum and pattern is None:
        return None
    sized = shape.type_name in _SIZED

    def check(value: Any, place: str) -> Iterator[str]:
        if most is not None and (not sized or hasattr(value, "__len__")):  # a stream has no length yet
            size = len(value) if sized else value
            if size > most:
                yield f"{place}: {size} is more than {most}"
        if enum and value not in enum:
            yield f"{place}: {value!r} is none of {sorted(enum)}"
        if pattern is not None and pattern.fullmatch(value) is None:
            yield f"{place}: {value!r} does not match {pattern.pattern}"

    return check


#: How Java writes the characters beyond the first plane: as UTF-16 does.
_BEYOND = (r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")


@cache
def compiled(pattern: str) -> re.Pattern[str] | regex.Pattern[str]:
    """Return one of Java's patterns; raise ``regex.error`` when it cannot be read here."""
    pattern = pattern.replace(*_BEYOND)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # a set in a set, which `re` does not read as one
            return re.compile(pattern, re.ASCII)
    except (re.error, FutureWarning):
        return regex.compile(pattern, regex.V1)  # has classes such as `\p{L}`, and sets in sets
