"""JSON that callers send: one meaning, and bounded work."""

import json

import pytest

from chalicelib.wire import strict_json
from chalicelib.wire.strict_json import MAX_DEPTH
from tests.memory import tracing


def nested(levels: int, *, mixed: bool = False) -> str:
    opening = ["[", '{"a":'] if mixed else ["["]
    closing = {"[": "]", '{"a":': "}"}
    parts = [opening[level % len(opening)] for level in range(levels)]
    return "".join(parts) + "0" + "".join(closing[part] for part in reversed(parts))


@pytest.mark.parametrize("mixed", [False, True])
def test_what_is_nested_as_deep_as_may_be_is_read(mixed: bool) -> None:
    text = nested(MAX_DEPTH, mixed=mixed)
    assert strict_json.loads(text) == strict_json.loads(text.encode()) == json.loads(text)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 900, 200_000])
def test_what_is_nested_deeper_is_refused_with_the_limit(levels: int, mixed: bool) -> None:
    with pytest.raises(ValueError, match=f"deeper than {MAX_DEPTH} levels"):
        strict_json.loads(nested(levels, mixed=mixed))


def test_brackets_in_texts_are_no_nesting() -> None:
    value = {"a": ["[" * 300, '"{[\\' * 300, "\\", {"]}": "{" * 300}], "b": [[]] * 300}
    assert strict_json.loads(json.dumps(value)) == value


@pytest.mark.parametrize(
    "text",
    ["[" * 2_000_000, '{"a":' * 400_000, '"' + '\\"' * 1_000_000, "[" * 200 + '"' + '\\"' * 900_000, "]" * 2_000_000],
    ids=["arrays", "objects", "a text", "a text in arrays", "ends"],
)
def test_what_is_never_closed_takes_little_more_than_its_size(text: str) -> None:
    with tracing() as peak_bytes, pytest.raises(ValueError, match=r"levels|Unterminated|Expecting"):
        strict_json.loads(text)
    assert peak_bytes() < 20_000_000


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1, "a": 2}', "comes twice"),
        ('{"a": {"b": 1, "b": 1}}', "comes twice"),
        ("NaN", "not a JSON number"),
        ("-Infinity", "not a JSON number"),
        ("1e999", "out of range"),
        ("[-1e999]", "out of range"),
        ("9" * 5_000, "digits"),
    ],
    ids=lambda text: text[:20],
)
def test_what_parsers_disagree_about_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        strict_json.loads(text)


def test_only_utf_8_is_read() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        strict_json.loads("{}".encode("utf-16"))
