"""Secrets that an agent prints are hidden, whatever stands around them and wherever the line is cut."""

import base64
import time

import pytest

from chalicelib.domain import agent_secrets, masks
from chalicelib.wire.logs import CUT, MAX_TEXT_CHARS
from tests.unit.options.agents import read, resolved

SECRET = "secret = true"


def mask_of(option: str, value: object, more: str = SECRET) -> masks.Mask:
    kind = option.split('"')[1]
    return masks.of(resolved(option, read(kind, value), more=more).to_json())


def test_a_secret_value_is_hidden_wherever_it_stands() -> None:
    mask = mask_of('type = "string"', "hunter22")
    assert mask.applied("hunter22: is it xhunter22x?") == "***: is it x***x?"


def test_a_value_that_is_no_secret_is_shown() -> None:
    assert mask_of('type = "string"', "hunter22", more="").applied("hunter22") == "hunter22"


def test_an_agent_without_options_has_nothing_to_hide() -> None:
    assert masks.of(None).applied("hunter22") == "hunter22"


def test_options_stored_before_that_was_noted_are_secret() -> None:
    stored = resolved('type = "string"', read("string", "hunter22")).to_json().replace(',"secret":false', "")
    assert masks.of(stored).applied("hunter22") == "***"


@pytest.mark.parametrize("value", ["abc", "1"])
def test_a_value_that_is_too_short_is_left(value: str) -> None:
    assert mask_of('type = "string"', value).applied(f"a {value} b") == f"a {value} b"


def test_each_line_of_a_value_is_hidden_by_itself() -> None:
    mask = mask_of('type = "string"', "-----BEGIN KEY-----\nMIIEvQIBADAN\n-----END KEY-----\n")
    assert mask.applied("key: MIIEvQIBADAN") == "key: ***"


@pytest.mark.parametrize(
    ("option", "value", "printed", "shown"),
    [
        ('type = "list[string]"', ["first-key", "second-key"], "first-key,second-key", "***"),
        ('type = "list[string]"', ["first-key", "second-key"], "second-key", "***"),
        ('type = "list[string]"', ["a", "b", "c"], "a,b,c", "***"),
        ('type = "string"\nbase64 = true', "hunter22", base64.b64encode(b"hunter22").decode(), "***"),
        ('type = "string"\nbase64 = true', "hunter22", "hunter22", "***"),
        ('type = "string"\ntransport = "fs"', "hunter22", "hunter22", "***"),
    ],
)
def test_a_value_is_hidden_in_every_form_that_the_agent_is_given(
    option: str, value: object, printed: str, shown: str
) -> None:
    assert mask_of(option, value).applied(printed) == shown


def test_values_that_overlap_are_hidden_together() -> None:
    mask = mask_of('type = "list[string]"', ["abcdef", "defghi", "abcdefgh"])
    assert mask.applied("-abcdefghi-") == "-***-"


def test_an_agents_own_secret_is_hidden_with_or_without_its_url() -> None:
    secret = agent_secrets.mint("key", "namespace", "session", "agent")
    assert masks.of(None).applied(f"at http://x/mcp/v1/{secret}/mcp") == "at http://x/mcp/v1/***/mcp"
    assert masks.of(None).applied(secret) == "***"


@pytest.mark.parametrize("identity", [("a", "b", "c"), ("~", "~", "~"), ("é", "s", "研究员"), ("\x7f" * 100, "s", "a")])
def test_every_agents_secret_is_recognized(identity: tuple[str, str, str]) -> None:
    assert masks.of(None).applied(f"x={agent_secrets.mint('key', *identity)};") == "x=***;"


def test_a_long_line_is_cut_and_marked() -> None:
    assert masks.of(None).applied("x" * MAX_TEXT_CHARS) == "x" * MAX_TEXT_CHARS
    assert masks.of(None).applied("x" * (MAX_TEXT_CHARS + 1)) == "x" * MAX_TEXT_CHARS + CUT


def test_a_secret_across_the_cut_does_not_begin_to_show() -> None:
    mask = mask_of('type = "string"', "hunter22")
    assert mask.applied("x" * (MAX_TEXT_CHARS - 3) + "hunter22") == "x" * (MAX_TEXT_CHARS - 3) + "***" + CUT


def test_hiding_does_not_bring_up_what_was_behind_the_cut() -> None:
    mask = mask_of('type = "string"', "hunter22")
    line = "hunter22" * (MAX_TEXT_CHARS // 8) + "hunter2"
    assert mask.applied(line) == "***" * (MAX_TEXT_CHARS // 8) + CUT


def test_a_value_longer_than_a_line_is_known_by_its_beginning() -> None:
    mask = mask_of('type = "string"', "k" + "x" * 100_000)
    assert mask.applied("it is k" + "x" * 50_000) == "it is ***" + CUT


def test_many_secrets_do_not_make_a_line_slow() -> None:
    mask = mask_of('type = "list[string]"', [f"{number:05x}-secret" for number in range(10_000)])
    began_s = time.process_time()
    for _ in range(100):
        mask.applied("nothing to be hidden in this line, which is as long as lines are, " * 2)
    assert time.process_time() - began_s < 0.5
