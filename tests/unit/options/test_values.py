"""Values of a request: which are accepted, and which are refused."""

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.unit.options.agents import RANGES, SCALARS, TYPES, read, values

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


def test_there_are_25_types() -> None:
    assert len(set(TYPES)) == 25


@pytest.mark.parametrize("kind", TYPES)
@given(data=st.data())
def test_a_value_is_written_as_it_can_be_read_again(kind: str, data: st.DataObject) -> None:
    value = read(kind, data.draw(values(kind)))
    written = json.loads(json.dumps(value.to_wire()))
    assert written["type"] == kind
    assert read(kind, written["value"]) == value


@pytest.mark.parametrize("kind", TYPES)
@given(value=json_values)
def test_every_value_is_accepted_or_refused(kind: str, value: Any) -> None:
    with contextlib.suppress(ValidationError):
        assert read(kind, value).type == kind


@pytest.mark.parametrize("kind", RANGES)
@given(data=st.data())
def test_integers_out_of_range_are_refused(kind: str, data: st.DataObject) -> None:
    low, high = RANGES[kind]
    number = data.draw(st.integers(max_value=low - 1) | st.integers(min_value=high + 1))
    for value in (number, [number]):
        with pytest.raises(ValidationError):
            read(kind if value is number else f"list[{kind}]", value)


@pytest.mark.parametrize("kind", RANGES)
@pytest.mark.parametrize("value", [1.0, True, None, "", "x", "0x1", "1e3", " 1", "\uff11", [], {}])
def test_what_is_no_integer_is_refused(kind: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        read(kind, value)


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), 10**400, True, "", "x", "NaN", "1e999", "0x1", " 1", ".5", None],
)
def test_what_is_no_finite_number_is_refused(kind: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        read(kind, value)


@pytest.mark.parametrize("kind", RANGES)
def test_an_integer_may_come_as_text(kind: str) -> None:
    for number in RANGES[kind]:
        assert read(kind, str(number)).value == number
        assert read(f"list[{kind}]", [str(number), number]).value == [number, number]
    for number in (RANGES[kind][0] - 1, RANGES[kind][1] + 1):
        with pytest.raises(ValidationError):
            read(kind, str(number))


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize(("text", "number"), [("7", 7.0), ("-0.5", -0.5), ("1e3", 1000.0), ("2.5E-1", 0.25)])
def test_a_number_may_come_as_text(kind: str, text: str, number: float) -> None:
    assert read(kind, text).value == number
    assert read(f"list[{kind}]", [text]).value == [number]


@pytest.mark.parametrize("value", [3.4028236e38, -1e39, 1e300])
def test_a_number_beyond_32_bits_is_refused(value: float) -> None:
    with pytest.raises(ValidationError):
        read("f32", value)


@given(st.binary(max_size=64))
def test_a_blob_is_base64_or_an_array_of_signed_bytes(blob: bytes) -> None:
    signed = [byte - 256 if byte > 127 else byte for byte in blob]
    text = base64.b64encode(blob).decode()
    assert read("blob", text).value == read("blob", signed).value == blob
    assert read("blob", signed).to_wire() == {"type": "blob", "value": text}


@pytest.mark.parametrize("value", ["a", "aGVsbG8", "aGVs bG8=", "-_==", [128], [-129], [1.0], [True], ["a"], 1, None])
def test_what_is_no_blob_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        read("blob", value)


def test_a_u64_is_written_as_text() -> None:
    assert read("u64", 2**64 - 1).to_wire() == {"type": "u64", "value": "18446744073709551615"}
    assert read("list[u64]", ["007", 8]).to_wire() == {"type": "list[u64]", "value": ["7", "8"]}


def test_text_that_utf_8_cannot_write_is_refused() -> None:
    with pytest.raises(ValidationError):
        read("string", "\ud800")


@pytest.mark.parametrize("kind", [scalar for scalar in SCALARS if scalar != "blob"])
def test_a_single_value_is_no_list_and_a_list_no_single_value(kind: str) -> None:
    with pytest.raises(ValidationError):
        read(kind, [])
    if kind != "bool":
        with pytest.raises(ValidationError):
            read(f"list[{kind}]", "1")


@pytest.mark.parametrize("kind", ["number", "secret", "list[bool]", "I8", "", None])
def test_other_types_are_refused(kind: Any) -> None:
    with pytest.raises(ValidationError):
        read(kind, 1)


@pytest.mark.parametrize("kind", TYPES)
def test_no_error_contains_the_value(kind: str) -> None:
    for value in ("hunter2\ud800", ["hunter2\ud800"], {"hunter2": 1}, [["hunter2"]], "hunter2 "):
        try:
            read(kind, value)
        except ValidationError as error:
            reported = [(fault["loc"], fault["msg"]) for fault in error.errors()]
            assert "hunter2" not in str(reported)
