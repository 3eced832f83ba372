"""Agents with one option, and values of every type."""

import base64
import struct
from typing import Any

from hypothesis import strategies as st
from pydantic import TypeAdapter

from chalicelib.domain import agent_files, options
from chalicelib.wire.options import OptionValue
from chalicelib.wire.registry import RegistryAgent

RANGES = {
    "i8": (-(2**7), 2**7 - 1),
    "i16": (-(2**15), 2**15 - 1),
    "i32": (-(2**31), 2**31 - 1),
    "i64": (-(2**63), 2**63 - 1),
    "u8": (0, 2**8 - 1),
    "u16": (0, 2**16 - 1),
    "u32": (0, 2**32 - 1),
    "u64": (0, 2**64 - 1),
}
SCALARS = [*RANGES, "f32", "f64", "string", "blob", "bool"]
TYPES = [*SCALARS, *(f"list[{scalar}]" for scalar in SCALARS if scalar != "bool")]

_value = TypeAdapter(OptionValue)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
f32s = st.floats(width=32, allow_nan=False, allow_infinity=False)
f64s = st.floats(allow_nan=False, allow_infinity=False)


def read(kind: str, value: Any) -> Any:
    """Read a value from the body of a request."""
    return _value.validate_python({"type": kind, "value": value})


def agent(option: str, more: str = "") -> RegistryAgent:
    """An agent whose option ``X`` has these keys, in TOML."""
    return agent_files.parse(
        f"""
        edition = 4
        [agent]
        name = "a"
        version = "1.0.0"
        [runtimes.docker]
        image = "a"
        [options.X]
        {option}
        {more}
        """
    )


def resolved(option: str, *values: Any, more: str = "") -> options.ResolvedOptions:
    """What a session's agent gets for ``X``, stored and read again as a launch does."""
    made = options.resolve(agent(option, more), "worker", {"X": values[0]} if values else {})
    return options.ResolvedOptions.from_json(made.to_json())


def scalars(scalar: str) -> st.SearchStrategy[Any]:
    """Values of a type as a request may have them."""
    if scalar in RANGES:
        numbers = st.integers(*RANGES[scalar])
        return numbers | numbers.map(str) if scalar == "u64" else numbers
    return {
        "f32": f64s.filter(_fits_f32) | st.integers(-(2**60), 2**60),
        "f64": f64s | st.integers(-(2**60), 2**60),
        "bool": st.booleans(),
        "string": texts,
        "blob": st.binary(max_size=40).map(lambda blob: base64.b64encode(blob).decode())
        | st.lists(st.integers(-128, 127), max_size=40),
    }[scalar]


def values(kind: str) -> st.SearchStrategy[Any]:
    """Values of a type, lists too."""
    return st.lists(scalars(kind[5:-1]), max_size=5) if kind.startswith("list[") else scalars(kind)


def entries(kind: str, value: Any) -> list[Any]:
    """The value, or the values of a list."""
    return value if kind.startswith("list[") else [value]


def scalar_of(kind: str) -> str:
    """The type of an entry."""
    return kind[5:-1] if kind.startswith("list[") else kind


def _fits_f32(number: float) -> bool:
    try:
        struct.pack(">f", number)
    except OverflowError:
        return False
    return True
