"""Texts and numbers of prototype agents: how a file writes them, and what they come to."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from chalicelib.domain import agent_files, prototypes
from chalicelib.domain.errors import BadRequest
from chalicelib.wire.prototype import PrototypeInteger, PrototypeRuntime, PrototypeString

STRING: TypeAdapter[Any] = TypeAdapter(PrototypeString)
INTEGER: TypeAdapter[Any] = TypeAdapter(PrototypeInteger)

#: One more than there may be.
SERVERS = ", ".join(['{ type = "mcp_sse", url = "a" }'] * 17)

HEAD = 'edition = 4\n[agent]\nname = "a"\nversion = "1.0.0"\n[runtimes.docker]\nimage = "a"\n'


def prototype(*lines: str) -> PrototypeRuntime:
    """Read a file with these lines in its table."""
    found = agent_files.parse("\n".join([HEAD, "[runtimes.prototype]", *lines])).runtimes.prototype
    assert found is not None
    return found


def refusal(*lines: str) -> str:
    with pytest.raises(BadRequest) as caught:
        prototype(*lines)
    return str(caught.value)


def text_of(value: Any, **options: Any) -> str:
    return prototypes.text_of(STRING.validate_python(value), options)


def url(base: str, *parts: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "composed_url",
        "base": base,
        "parts": [
            {"type": "path_segment", "value": {"type": "inline", "value": part[0]}}
            if len(part) == 1
            else {"type": "query_parameter", "name": part[0], "value": {"type": "inline", "value": part[1]}}
            for part in parts
        ],
    }


def test_all_that_is_left_out_is_written_out() -> None:
    assert prototype('proxy = "MAIN"').to_wire() == {
        "volatile": False,
        "proxy": {"type": "inline", "value": "MAIN"},
        "iterations": {"type": "inline", "value": 20},
        "delay": {"type": "inline", "value": 0},
        "prompts": {
            "system": {"base": {"type": "inline", "value": agent_files.CONSTANTS["PROTOTYPE_DEFAULT_SYSTEM_PROMPT"]}},
            "loop": {
                "initial": {
                    "base": {
                        "type": "inline",
                        "value": agent_files.CONSTANTS["PROTOTYPE_DEFAULT_LOOP_INITIAL_BASE_PROMPT"],
                    }
                },
                "followup": {
                    "type": "inline",
                    "value": agent_files.CONSTANTS["PROTOTYPE_DEFAULT_LOOP_FOLLOWUP_PROMPT"],
                },
            },
        },
        "tools": [],
    }


def test_references_are_read_wherever_a_text_may_be() -> None:
    state = '{ type = "constant", name = "CORAL_STATE_RESOURCE_URI" }'
    part = f'{{ type = "path_segment", value = {state} }}'
    found = prototype(
        'proxy = { type = "string", value = "MAIN" }',
        f'prompts.system.base = {{ type = "composed_string", parts = ["a", {state}], separator = "," }}',
        f'tools = [{{ type = "mcp_sse", url = {{ type = "composed_url", base = "https://a.b", parts = [{part}] }}, '
        f'auth = {{ type = "bearer", token = {state} }} }}]',
    )
    [server] = found.tools
    texts = [found.proxy, found.prompts.system.base, server.url, server.auth.token]  # type: ignore[union-attr]
    said = [prototypes.text_of(text, {}) for text in texts]
    assert said == ["MAIN", "a,coral://state", "https://a.b/coral%3A//state", "coral://state"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["iterations = 20"], "runtimes.prototype.proxy"),
        (['proxy = "M"', "iterations = true"], "iterations"),
        (['proxy = "M"', "iterations = 99999999999999999999"], "iterations"),
        (["proxy = 1"], "proxy"),
        (['proxy = { type = "pigeon" }'], "proxy"),
        (['proxy = { type = "composed_string" }'], "proxy"),
        (['proxy = { type = "composed_url", base = "b", parts = ["a"] }'], "proxy"),
        (['proxy = { type = "file", path = "a" }'], "runtimes.prototype.proxy names a file"),
        (['proxy = { type = "url", url = "https://a.b" }'], "runtimes.prototype.proxy names a URL"),
        (['proxy = { type = "composed_string", parts = [] }'], "proxy has 0 characters: 1 to 32"),
        (['proxy = "M"', 'delay = { type = "option", name = "D" }'], "delay names the option 'D', which is not"),
        (['proxy = "M"', "prompts = 1"], "prompts"),
        (['proxy = "M"', "tools = [1]"], "tools"),
        (['proxy = "M"', 'tools = [{ type = "mcp_sse", url = "a", auth = 1 }]'], "auth"),
        (['proxy = "M"', f"tools = [{SERVERS}]"], "at most 16"),
        (
            [
                'proxy = "M"',
                'tools = [{ type = "mcp_sse", url = { type = "composed_url", base = "//[", parts = [] } }]',
            ],
            "base",
        ),
    ],
)
def test_what_makes_no_sense_is_named(lines: list[str], said: str) -> None:
    assert said in refusal(*lines)


def test_a_url_is_composed_and_encoded() -> None:
    assert text_of(url("https://a.b")) == "https://a.b"
    assert text_of(url("https://a.b/x/?q=1#f", ("y z",), ("k&", "v=/ü"))) == (
        "https://a.b/x/y%20z?q=1&k%26=v%3D%2F%C3%BC#f"
    )
    assert text_of(url("https://a.b", ("x/y",), ("z",))) == "https://a.b/x/y/z"
    assert text_of(url("https://a.b", ("k", "1"), ("k", "2"))) == "https://a.b?k=1&k=2"


@pytest.mark.parametrize("segment", [".", "..", "x/../y"])
def test_a_segment_leads_nowhere_else(segment: str) -> None:
    with pytest.raises(prototypes.BadPrototype, match="path_segment"):
        text_of(url("https://a.b/mcp", (segment,)))


def test_options_stand_for_their_values() -> None:
    composed = {
        "type": "composed_string",
        "separator": "-",
        "parts": [{"type": "inline", "value": "a"}, {"type": "option", "name": "B"}],
    }
    assert text_of(composed, B="b") == "a-b"
    with pytest.raises(prototypes.BadPrototype, match="the option 'B' has no value"):
        text_of(composed)
    number = INTEGER.validate_python({"type": "option", "name": "N"})
    assert prototypes.integer_of(number, {"N": "7"}, low=1) == 7
    for options, said in (({"N": 0}, "'N' is below 1"), ({}, "'N' has no value")):
        with pytest.raises(prototypes.BadPrototype, match=said):
            prototypes.integer_of(number, options, low=1)
