"""MCP 2024-11-05, which some clients have not gone beyond: whole conversations in it, over Streamable HTTP."""

import json
from typing import Any

import pytest

from tests.mcp_world import World

VERSION = "2024-11-05"


class Agent:
    """A client as it was then: it may name the version in a header, or know of no such header."""

    def __init__(self, here: World, name: str, headers: dict[str, str]) -> None:
        self._here, self._name = here, name
        self._headers = {"accept": "application/json, text/event-stream", **headers}
        self._id = 0
        client = {"name": "mcp-ktor", "version": "0.1"}
        hello = self.ask("initialize", protocolVersion=VERSION, capabilities={}, clientInfo=client)
        assert hello["protocolVersion"] == VERSION
        assert here.post(name, {"jsonrpc": "2.0", "method": "notifications/initialized"}, self._headers).status == 202

    def ask(self, method: str, **params: Any) -> Any:
        self._id += 1
        message = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}
        answer = self._here.post(self._name, message, self._headers)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json"), answer
        return json.loads(answer.body)["result"]

    def call(self, tool: str, **arguments: Any) -> Any:
        """Call a tool and read its text: there is no structured content in this version."""
        content, *_ = self.ask("tools/call", name=tool, arguments=arguments)["content"]
        assert content["type"] == "text"
        return json.loads(content["text"])


@pytest.mark.parametrize("headers", [{}, {"mcp-protocol-version": VERSION}], ids=["no header", "header"])
def test_two_agents_talk(here: World, headers: dict[str, str]) -> None:
    ann, bob = Agent(here, "ann", headers), Agent(here, "bob", headers)
    assert len(ann.ask("tools/list")["tools"]) == 8
    assert ann.ask("ping") == {}
    thread = ann.call("coral_create_thread", threadName="sums", participantNames=["bob"])["thread"]["id"]
    ann.call("coral_send_message", threadId=thread, content="2 + 2?", mentions=["bob"])
    asked = bob.call("coral_wait_for_mention", currentUnixTime=0, maxWaitMs=0)["message"]
    bob.call("coral_send_message", threadId=thread, content="4", mentions=["ann"])
    assert asked["text"] == "2 + 2?"
    assert ann.call("coral_wait_for_agent", agentName="bob", currentUnixTime=0, maxWaitMs=0)["message"]["text"] == "4"
    assert "nope" in ann.call("coral_close_thread", threadId="nope", summary="")["error"]
    (state,) = bob.ask("resources/read", uri="coral://state")["contents"]
    assert "2 + 2?" in state["text"]


def test_the_version_has_no_batches(here: World) -> None:
    batch = [{"jsonrpc": "2.0", "id": 1, "method": "ping"}]
    answer = here.post("ann", batch, {"mcp-protocol-version": VERSION})
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (400, -32600)
