"""JSON as RFC 8259 has it: Python's parser would take, and pass on, ``NaN`` and numbers beyond all floats."""

import json
import math
from collections.abc import Callable
from typing import Any


def loads(text: str | bytes, *, object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Read a JSON text; raise ``ValueError`` for what is none, and for what is nested too deep."""
    try:
        return json.loads(text, object_pairs_hook=object_pairs_hook, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError(str(error)) from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is out of range")
    return number
