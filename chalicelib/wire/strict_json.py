"""JSON that has one meaning (RFC 8259). Python takes ``NaN`` too, numbers beyond all floats, and keys twice."""

import json
import math
import re
from typing import Any

#: How deep arrays and objects may be in each other. What is made of them (answers, stored texts) is written by code
#: that gives up at 255 levels.
MAX_DEPTH = 100

#: Strings as a whole, and runs of brackets. A string that is never closed goes to the end, so each character is looked
#: at once.
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|(?P<opening>[\[{]+)|(?P<closing>[\]}]+)', re.DOTALL)


def loads(text: str | bytes) -> Any:
    """Read a JSON text; raise ``ValueError`` if it is not JSON, for a key twice in one object, and for deep nesting."""
    if isinstance(text, bytes):
        text = text.decode()
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(text):
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    return json.loads(text, object_pairs_hook=_each_once, parse_constant=_refuse, parse_float=_finite)


def _is_deep(text: str) -> bool:
    """Return whether more than `MAX_DEPTH` brackets are open at once, somewhere in the text."""
    depth = 0
    for token in _TOKEN.finditer(text):
        if opening := token["opening"]:
            depth += len(opening)
            if depth > MAX_DEPTH:
                return True
        elif closing := token["closing"]:
            depth = max(0, depth - len(closing))
    return False


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
