"""Matching a request's values with the options of an agent's definition."""

import importlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain import options
from chalicelib.domain.errors import BadRequest, TooLarge
from tests.unit.options.agents import TYPES, agent, read, resolved, scalar_of, texts, values

EXAMPLES = {"string": "x", "blob": "AA==", "bool": True, "u64": "1", "f32": 0.5, "f64": 0.5}


def example(kind: str) -> object:
    value = EXAMPLES.get(scalar_of(kind), 1)
    return [value] if kind.startswith("list[") else value


def refusal(option: str, *values: object, more: str = "") -> str:
    with pytest.raises(BadRequest) as caught:
        resolved(option, *values, more=more)
    assert "'X'" in str(caught.value)
    assert "'worker'" in str(caught.value)
    return str(caught.value)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(BadRequest, match="'worker' has no option 'Y'"):
        options.resolve(agent('type = "i8"'), "worker", {"Y": read("i8", 1)})


@pytest.mark.parametrize("kind", TYPES)
def test_a_value_of_another_type_is_refused(kind: str) -> None:
    for other in TYPES:
        if other != kind:
            assert f"must be of type {kind}, not {other}" in refusal(f'type = "{kind}"', read(other, example(other)))


@pytest.mark.parametrize("kind", TYPES)
def test_a_required_option_must_have_a_value(kind: str) -> None:
    assert "is required" in refusal(f'type = "{kind}"\nrequired = true')
    assert len(resolved(f'type = "{kind}"\nrequired = true', read(kind, example(kind)))) == 1


@pytest.mark.parametrize("kind", TYPES)
def test_a_default_fills_a_missing_value_and_yields_to_one(kind: str) -> None:
    default = {"true": "true"}.get(str(example(kind)).lower()) or repr(example(kind))
    option = f'type = "{kind}"\nrequired = true\ndefault = {default}'
    assert resolved(option) == resolved(f'type = "{kind}"', read(kind, example(kind)))
    other = [] if kind.startswith("list[") else {"string": "", "blob": "", "bool": False}.get(kind, 0)
    assert resolved(option, read(kind, other)).by_name["X"].value != resolved(option).by_name["X"].value


@pytest.mark.parametrize("kind", TYPES)
def test_without_default_and_value_there_is_nothing_but_a_list_is_empty(kind: str) -> None:
    made = resolved(f'type = "{kind}"')
    assert [option.value for option in made.by_name.values()] == ([[]] if kind.startswith("list[") else [])


@pytest.mark.parametrize("kind", TYPES)
@given(data=st.data())
def test_what_is_stored_is_what_was_sent(kind: str, data: st.DataObject) -> None:
    value = read(
        kind, data.draw(values(kind).filter(lambda value: "\0" not in str(value) and "\\x00" not in str(value)))
    )
    made = resolved(f'type = "{kind}"', value)
    assert made.by_name["X"].value == value.value
    assert made.by_name["X"].type == kind


@given(st.integers(-100, 100))
def test_bounds_are_inclusive(number: int) -> None:
    option = 'type = "i32"\nvalidation = { min = -10, max = 10 }'
    if -10 <= number <= 10:
        assert resolved(option, read("i32", number)).by_name["X"].value == number
    else:
        assert ("be at least -10" if number < 0 else "be at most 10") in refusal(option, read("i32", number))


@given(texts.filter(lambda text: "\0" not in text))
def test_lengths_are_bytes_of_utf_8(text: str) -> None:
    option = 'type = "string"\nvalidation = { min_length = 2, max_length = 6 }'
    if 2 <= len(text.encode()) <= 6:
        assert resolved(option, read("string", text)).by_name["X"].value == text
    else:
        assert "bytes of UTF-8" in refusal(option, read("string", text))


@given(st.binary(max_size=3000))
def test_sizes_of_blobs_have_units(blob: bytes) -> None:
    option = """type = "blob"
        validation.min_size = { size = 1, unit = "kB" }
        validation.max_size = { size = 1.5, unit = "KiB" }"""
    value = read("blob", [byte - 256 if byte > 127 else byte for byte in blob])
    if 1000 <= len(blob) <= 1536:
        assert resolved(option, value).by_name["X"].value == blob
    else:
        rule = "1000 bytes (1 KB)" if len(blob) < 1000 else "1536 bytes (1.5 KiB)"
        assert rule in refusal(option, value)


def test_a_regex_is_for_the_whole_value() -> None:
    option = 'type = "string"\nvalidation.regex = "a+|b"'
    assert resolved(option, read("string", "aaa"))
    for text in ("ab", "xa", "aa\n", ""):
        assert "match 'a+|b'" in refusal(option, read("string", text))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"((a{1,100}){1,100}){1,100}c", "a" * 4000),
        (r"(\\w+\\s?)*$x", "word " * 2000),
        (r"(.*)*(.*)*(.*)*\\1\\2\\3!", "ab" * 2000),
    ],
)
def test_a_regex_that_takes_too_long_is_a_refusal(pattern: str, text: str) -> None:
    started = time.monotonic()
    assert "match" in refusal(f'type = "string"\nvalidation.regex = "{pattern}"', read("string", text))
    assert time.monotonic() - started < 5


def test_many_values_take_no_longer_together() -> None:
    value = read("list[string]", ["a" * 20] * 5_000)
    started = time.monotonic()
    assert "took longer" in refusal('type = "list[string]"\nvalidation.regex = "(a{1,9}){1,9}c|a+"', value)
    assert time.monotonic() - started < 5


def test_an_invalid_regex_is_refused_when_the_agent_is_registered() -> None:
    with pytest.raises(BadRequest, match=r"options\.X\.validation\.regex"):
        agent('type = "string"\nvalidation.regex = "("')


@pytest.mark.parametrize(
    "pattern",
    [
        "a{100000000}",
        "((a{1000}){1000}){1000}",
        "([a-z]{1000}[(]){1000}",
        "((?=a{1000}){1000}){1000}",
        "(?x)(a{1000}) # b\n {1000}",
        "((a{1000,}){1000,}){1000,}",
    ],
)
def test_a_regex_that_grows_beyond_measure_is_refused_when_the_agent_is_registered(pattern: str) -> None:
    started = time.monotonic()
    with pytest.raises(BadRequest, match="unroll to more than 20000 steps"):
        agent(f"type = 'string'\nvalidation.regex = {json.dumps(pattern)}")
    assert time.monotonic() - started < 5


def test_regexes_that_grow_beyond_measure_together_are_refused_when_the_agent_is_registered() -> None:
    more = "\n".join(f"[options.X{n}]\ntype = 'string'\nvalidation.regex = 'x{{{19_000 + n}}}'" for n in range(6))
    with pytest.raises(BadRequest, match=r"options\.X5\.validation\.regex: all .* more than 100000 steps"):
        agent("type = 'bool'", more)


@pytest.mark.parametrize("pattern", ["(?V0)a", "(?a)(?u)a"])
def test_a_regex_of_flags_that_exclude_each_other_is_refused_when_the_agent_is_registered(pattern: str) -> None:
    with pytest.raises(BadRequest, match=r"is no regular expression: .* mutually incompatible"):
        agent(f"type = 'string'\nvalidation.regex = '{pattern}'")


def test_no_regex_is_kept_once_its_values_are_matched() -> None:
    module = importlib.import_module("regex._main")
    module.purge()
    assert resolved("type = 'string'\nvalidation.regex = 'x{2}'", read("string", "xx"))
    assert not module._cache


@pytest.mark.parametrize("pattern", ["(?R)a", "(a(?1))", "(?<n>a(?&n))", "(?P<n>a(?P>n))", "(a)(?-1)"])
def test_a_regex_that_calls_itself_is_refused_when_the_agent_is_registered(pattern: str) -> None:
    with pytest.raises(BadRequest, match="it calls itself"):
        agent(f"type = 'string'\nvalidation.regex = '{pattern}'")


@pytest.mark.parametrize(
    "pattern",
    [
        "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        r"((25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})",
        "([0-9A-F]{2}:){5}[0-9A-F]{2}",
        "sk-[A-Za-z0-9]{20,2000}",
        r"\p{Lu}\p{L}*+(?<tail>[\w&&[^_]]{0,99})",
    ],
)
def test_expressions_as_people_write_them_are_taken(pattern: str) -> None:
    assert agent(f"type = 'string'\nvalidation.regex = '{pattern}'")


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind not in ("bool", "blob", "list[blob]")])
def test_variants_are_all_there_is_and_no_variants_restrict_nothing(kind: str) -> None:
    scalar = scalar_of(kind)
    first, second, third = ("a", "b", "c") if scalar == "string" else (1, 2, 3)
    wrap = (lambda value: [value]) if kind.startswith("list[") else (lambda value: value)
    option = f'type = "{kind}"\nvalidation.variants = [{first!r}, {second!r}]'
    assert resolved(option, read(kind, wrap(second)))
    assert "be one of" in refusal(option, read(kind, wrap(third)))
    assert resolved(f'type = "{kind}"\nvalidation.variants = []', read(kind, wrap(third)))


def test_an_f32_is_compared_as_32_bits() -> None:
    option = 'type = "f32"\nvalidation = { min = 0.1, max = 0.1, variants = [0.1] }'
    assert resolved(option, read("f32", 0.1))


def test_every_entry_of_a_list_is_validated() -> None:
    option = 'type = "list[u64]"\nvalidation.max = 5'
    assert "in its entry 2, be at most 5" in refusal(option, read("list[u64]", [1, 5, 6]))


def test_a_default_is_validated_when_it_is_registered_and_one_that_was_before_when_it_is_used() -> None:
    option = 'type = "u8"\nvalidation.max = 5'
    with pytest.raises(BadRequest, match=r"options.X.default must be at most 5"):
        agent(f"{option}\ndefault = 9")
    before = agent(option)
    before.options["X"] = before.options["X"].model_copy(update={"default": 9})
    with pytest.raises(BadRequest, match="'X' of the agent 'worker' must be at most 5"):
        options.resolve(before, "worker", {})
    assert options.resolve(before, "worker", {"X": read("u8", 5)})


def test_the_environment_cannot_carry_nul_but_base64_and_files_can() -> None:
    value = read("string", "a\0b")
    assert "NUL" in refusal('type = "string"', value)
    assert "NUL" in refusal('type = "list[string]"', read("list[string]", ["", "\0"]))
    assert resolved('type = "string"\nbase64 = true', value)
    assert resolved('type = "string"\ntransport = "fs"', value)


@pytest.mark.parametrize(
    "rule",
    [
        "validation.max_length = 3",
        "validation.min_length = 90",
        'validation.regex = "x"',
        'validation.variants = ["swordfish"]',
        "",
    ],
)
@pytest.mark.parametrize("kind", ["string", "list[string]"])
def test_a_secret_is_never_message(kind: str, rule: str) -> None:
    secret = "hunter2\0" if not rule else "hunter2"
    value = read(kind, [secret] if kind.startswith("list[") else secret)
    message = refusal(f'type = "{kind}"\nsecret = true\n{rule}', value)
    assert "hunter2" not in message
    assert "swordfish" not in message
    assert "hunter2" not in repr(options.ResolvedOption(kind, value.value))


def test_more_than_an_item_can_hold_is_refused() -> None:
    with pytest.raises(TooLarge, match="380000"):
        resolved('type = "string"\ntransport = "fs"', read("string", "x" * 380_000))
