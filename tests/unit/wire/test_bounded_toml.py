"""TOML that callers send: what would take gigabytes is refused before it is parsed."""

import tomllib

import pytest

from chalicelib.wire import bounded_toml
from chalicelib.wire.bounded_toml import MAX_DEPTH, MAX_KEYS
from tests.memory import tracing


def dotted(parts: int) -> str:
    return ".".join("a" * parts)


@pytest.mark.parametrize(
    "text",
    [
        f"{dotted(MAX_DEPTH)} = 1",
        f"[{dotted(MAX_DEPTH - 1)}]\na = 1",
        f"x = {'[' * (MAX_DEPTH - 1)}{']' * (MAX_DEPTH - 1)}",
        f'x = "{"." * 5_000}{"[" * 5_000}"  # {"." * 5_000}',
        f"x = '''\n{'=' * MAX_KEYS}\n'''\ny = 1.5",
        f'x = """\n{"a.b=[" * MAX_KEYS}\n"""\ny = 1979-05-27T07:32:00.5Z',
        "\n".join(f"a{number} = 1" for number in range(MAX_KEYS)),
        f"x = [{'[],' * 50_000}]",
    ],
    ids=lambda text: text[:20],
)
def test_what_a_file_may_have_is_read(text: str) -> None:
    assert bounded_toml.loads(text) == tomllib.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        f"{dotted(MAX_DEPTH + 1)} = 1",
        f"{dotted(4_000)} = 1",
        f"[{dotted(4_000)}]",
        f"[[{dotted(4_000)}]]",
        f'"a" . {" . ".join(["b"] * 4_000)} = 1',
        f"x = {{ {dotted(4_000)} = 1 }}",
        f'x = {{ y = """a"""", {dotted(4_000)} = 1 }}',
        f'x = {{ y = """a""""", {dotted(4_000)} = 1 }}',
        f"x = {{ y = '''a'''', {dotted(4_000)} = 1 }}",
        f'x = {{ y = "\\"", {dotted(4_000)} = 1 }}',
        f"x = {{ y = '\\', {dotted(4_000)} = 1 }}",
        f'x = {{ y = """\\""", {dotted(9)} = """, {dotted(4_000)} = 1 }}',
        f"x = [ # ']\n[1], {{ {dotted(4_000)} = 1 }} ]",
        "x = " + "[" * 100_000,
        "x = " + "{a=" * 80_000,
        "x = " + "[" * MAX_DEPTH + "]" * MAX_DEPTH,
    ],
    ids=lambda text: text[:24],
)
def test_what_is_nested_deeper_is_refused_with_the_limit(text: str) -> None:
    with tracing() as peak_bytes, pytest.raises(ValueError, match=f"line [0-9]+ .*deeper than {MAX_DEPTH} levels"):
        bounded_toml.loads(text)
    assert peak_bytes() < 10_000_000


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(f"a{number} = 1" for number in range(MAX_KEYS + 1)),
        "\n".join(f"[a{number}]" for number in range(MAX_KEYS + 1)),
        "[[a]]\n" * (MAX_KEYS + 1),
        "\n".join(f"[a{number}.b.c.d]" for number in range(MAX_KEYS // 4 + 1)),
        f"x = [{'{a=1},' * (MAX_KEYS + 1)}]",
    ],
    ids=lambda text: text[:12],
)
def test_more_keys_are_refused_with_the_limit(text: str) -> None:
    with pytest.raises(ValueError, match=f"more than {MAX_KEYS} keys"):
        bounded_toml.loads(text)


@pytest.mark.parametrize(
    "text", ['x = """\n' + '\\"""\n' * 50_000, "x = '''" * 9_999, 'x = "' * 9_999, "x = {" * 4], ids="abcd"
)
def test_what_is_no_toml_says_so(text: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError):
        bounded_toml.loads(text)
