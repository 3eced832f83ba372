"""JSON that has one meaning (RFC 8259). Python takes ``NaN`` too, numbers beyond all floats, and keys twice."""

import json
import math
from typing import Any


def loads(text: str | bytes) -> Any:
    """Read a JSON text; raise ``ValueError`` for what is none, for a key twice in one object, and for deep nesting."""
    try:
        return json.loads(text, object_pairs_hook=_each_once, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError(str(error)) from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name[:80]!r} comes twice in one object")
        found[name] = value
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is out of range")
    return number
