"""``Mcp-Param-*`` headers of a call against the arguments for which a custom tool's schema asks for one.

Specification 2026-07-28, "Streamable HTTP": a proxy may have routed by the header, so it must say what the body says.
"""

import json
from typing import Any

import pytest

from tests.mcp_world import World

OTHER = "22222222-2222-4333-8444-555555555555"
VERSION = "2026-07-28"
HEADER_MISMATCH = -32020

TOOL = {
    "transport": {"type": "http", "url": "https://tools.example/weather"},
    "schema": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "x-mcp-header": "City"},
            "days": {"type": "number", "x-mcp-header": "Days"},
            "rain": {"type": "boolean", "x-mcp-header": "Rain"},
            "place": {"type": "object", "properties": {"zip": {"type": "string", "x-mcp-header": "Zip"}}},
            "free": {"type": "string"},
        },
    },
}


def call(here: World, arguments: dict[str, Any], sent: dict[str, str]) -> tuple[int, Any]:
    """Call the tool; return the status and the error's code, or the result."""
    here.session("ann", session_id=OTHER, custom_tools=json.dumps({"weather": TOOL}))
    meta = {"io.modelcontextprotocol/protocolVersion": VERSION, "io.modelcontextprotocol/clientCapabilities": {}}
    params = {"name": "weather", "arguments": arguments, "_meta": meta}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {"mcp-protocol-version": VERSION, "mcp-method": "tools/call", "mcp-name": "weather", **sent}
    answer = here.post("ann", message, headers, secret=here.secret("ann", OTHER))
    body = json.loads(answer.body)
    return answer.status, body["error"]["code"] if "error" in body else body["result"]


@pytest.fixture(autouse=True)
def called(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments with which the tool was called."""
    from chalicelib.reactions import custom_tools

    made: list[dict[str, Any]] = []

    def note(_deployment: Any, _actor: Any, _name: str, _tool: Any, arguments: dict[str, Any], **_: Any) -> str:
        made.append(arguments)
        return "sunny"

    monkeypatch.setattr(custom_tools, "call", note)
    return made


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({}, {}),
        ({"free": "x"}, {"mcp-param-free": "anything: the schema asks for none"}),
        ({"city": "Rome"}, {"mcp-param-city": "Rome"}),
        ({"city": "Köln"}, {"mcp-param-city": "=?base64?S8O2bG4=?="}),
        ({"days": 3}, {"mcp-param-days": "3"}),
        ({"days": 2.5}, {"mcp-param-days": "2.50"}),
        ({"rain": True}, {"mcp-param-rain": "true"}),
        ({"rain": False}, {"mcp-param-rain": "false"}),
        ({"place": {"zip": "0815"}}, {"mcp-param-zip": "0815"}),
        ({"place": {}}, {}),
    ],
)
def test_headers_that_say_what_the_arguments_say(
    here: World, called: list[dict[str, Any]], arguments: dict[str, Any], sent: dict[str, str]
) -> None:
    status, result = call(here, arguments, sent)
    assert (status, result["content"][0]["text"]) == (200, "sunny")
    assert called == [arguments]


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({"city": "Rome"}, {}),
        ({}, {"mcp-param-city": "Rome"}),
        ({"city": "Rome"}, {"mcp-param-city": "rome"}),
        ({"city": "Rome"}, {"mcp-param-city": "=?base64?!?="}),
        ({"city": None}, {"mcp-param-city": "None"}),
        ({"city": 3}, {"mcp-param-city": "4"}),
        ({"days": 3}, {"mcp-param-days": "4"}),
        ({"days": 3}, {"mcp-param-days": "three"}),
        ({"rain": True}, {"mcp-param-rain": "True"}),
        ({"rain": True}, {"mcp-param-rain": "1"}),
        ({"place": {"zip": "0815"}}, {}),
        ({"place": {"zip": "0815"}}, {"mcp-param-zip": "815"}),
        ({"place": "0815"}, {"mcp-param-zip": "0815"}),
        ({"city": ["Rome"]}, {"mcp-param-city": "Rome"}),
    ],
)
def test_headers_that_say_anything_else_are_refused_before_the_call(
    here: World, called: list[dict[str, Any]], arguments: dict[str, Any], sent: dict[str, str]
) -> None:
    assert call(here, arguments, sent) == (400, HEADER_MISMATCH)
    assert called == []
