"""What an agent's process finds in its environment and its files."""

import base64
import io
import json
import struct
import tarfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.aws.task_overrides import overrides
from chalicelib.domain import options
from chalicelib.domain.errors import BadRequest
from tests.unit.options.agents import RANGES, TYPES, entries, f32s, read, resolved, scalar_of, values

FORMATS = {"i8": ">b", "i16": ">h", "i32": ">i", "i64": ">q", "u8": ">B", "u16": ">H", "u32": ">I", "u64": ">Q"}
FORMATS |= {"f32": ">f", "f64": ">d", "bool": ">?"}


def parsed(scalar: str, text: str) -> Any:
    """What an agent reads from a variable."""
    if scalar in RANGES:
        return int(text)
    if scalar in ("f32", "f64"):
        return struct.unpack(FORMATS[scalar], struct.pack(FORMATS[scalar], float(text)))[0]
    if scalar == "bool":
        return {"1": True, "0": False}[text]
    return base64.b64decode(text, validate=True) if scalar == "blob" else text


def unpacked(scalar: str, content: bytes) -> Any:
    """What an agent reads from a file."""
    if scalar in FORMATS:
        return struct.unpack(FORMATS[scalar], content)[0]
    return content if scalar == "blob" else content.decode()


def separable(kind: str, value: Any) -> bool:
    text = "".join(map(str, entries(kind, value))) if scalar_of(kind) == "string" else ""
    return "\0" not in text and "," not in text


@pytest.mark.parametrize("kind", TYPES)
@given(data=st.data())
def test_a_variable_has_the_value_as_text(kind: str, data: st.DataObject) -> None:
    value = read(kind, data.draw(values(kind).filter(lambda value: separable(kind, value))))
    text = options.environment(resolved(f'type = "{kind}"', value))["X"]
    if not kind.startswith("list["):
        assert parsed(kind, text) == value.value
    elif value.value:
        assert [parsed(scalar_of(kind), part) for part in text.split(",")] == value.value
    else:
        assert text == ""


@pytest.mark.parametrize("kind", TYPES)
@given(data=st.data())
def test_files_have_the_value_in_binary_and_the_variable_their_paths(kind: str, data: st.DataObject) -> None:
    value = read(kind, data.draw(values(kind)))
    made = resolved(f'type = "{kind}"\ntransport = "fs"', value)
    paths = [path for path in options.environment(made, directory="/d")["X"].split(":") if path]
    files = options.files(made)
    assert paths == [f"/d/{path}" for path in files]
    assert [unpacked(scalar_of(kind), content) for content in files.values()] == entries(kind, value.value)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_strings_with_base64_carry_commas_and_nul(texts: list[str]) -> None:
    made = resolved('type = "list[string]"\nbase64 = true', read("list[string]", texts))
    parts = options.environment(made)["X"].split(",")
    assert [base64.b64decode(part).decode() for part in parts] == texts


def test_base64_is_of_the_environment_only() -> None:
    made = resolved('type = "string"\nbase64 = true\ntransport = "fs"', read("string", "hé"))
    assert list(options.files(made).values()) == ["hé".encode()]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.1, "0.1"), (3.14, "3.14"), (1, "1.0"), (-0.0, "-0.0"), (16777216, "16777216.0"), (3.4028234663852886e38, None)],
)
def test_an_f32_is_as_short_as_32_bits_allow(number: float, text: str | None) -> None:
    found = options.environment(resolved('type = "f32"', read("f32", number)))["X"]
    assert found == text or (text is None and float(found) < 3.403e38)


@given(f32s)
def test_no_shorter_text_reads_as_the_same_f32(number: float) -> None:
    text = options.environment(resolved('type = "f32"', read("f32", number)))["X"]
    digits = len(text.split("e")[0].replace(".", "").replace("-", "").strip("0"))
    assert struct.pack(">f", float(text)) == struct.pack(">f", number)
    for fewer in range(1, digits):
        try:
            assert struct.pack(">f", float(f"{number:.{fewer}g}")) != struct.pack(">f", number)
        except OverflowError:
            continue


def test_options_in_files_are_in_the_archive() -> None:
    made = resolved(
        'type = "list[string]"\ntransport = "fs"',
        read("list[string]", ["a", "", "c"]),
        more='[options.Y]\ntype = "bool"\ndefault = true\ntransport = "fs"',
    )
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(options.archive(made)))) as tar:
        found = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
        assert all(entry.isreg() and entry.mode == 0o444 for entry in tar)
    assert found == {"X/0": b"a", "X/1": b"", "X/2": b"c", "Y/0": b"\x01"}


def size_of(environment: dict[str, str], first: dict[str, str] | None) -> int:
    return len(json.dumps(overrides(environment, first), separators=(",", ":"), ensure_ascii=False).encode())


@pytest.mark.parametrize("first", [None, {"ATOLL_OPTIONS_URL": "https://a/b"}])
def test_8192_bytes_of_overrides_are_taken_and_one_more_is_not(first: dict[str, str] | None) -> None:
    environment = {"A": "", "SMALL": "y", "B": "é" * 50}
    environment["A"] = "x" * (8192 - size_of(environment, first))
    options.check_overrides_size("worker", environment, first)
    environment["A"] += "x"
    with pytest.raises(BadRequest) as caught:
        options.check_overrides_size("worker", environment, first)
    message = str(caught.value)
    assert "'worker' takes 8193 bytes" in message
    assert "ECS allows 8192" in message
    assert f"A ({len(environment['A'])} bytes), B (100 bytes), SMALL (1 bytes)" in message
    assert "xx" not in message
