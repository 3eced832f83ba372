"""Coral's McpToolsTest, McpAgentPluginTest and McpResourceTest: agents over Streamable HTTP, by the official client."""

import asyncio
import dataclasses
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mcp import Client, types

from tests.mcp_http import serving
from tests.mcp_world import SESSION, TestClock, World

pytestmark = pytest.mark.xdist_group("coral")

#: Long.MAX_VALUE of Coral's language: no message is from so late, so what is sent from now on counts.
NEVER_MS = 2**63 - 1

Agent = Callable[[Client], Awaitable[None]]


async def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"it does not happen: {what}"
        await asyncio.sleep(0.01)


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    """Call a tool that must succeed."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    return result.structured_content


async def read(client: Client, uri: str) -> str:
    """Read a resource that is a text."""
    [content] = (await client.read_resource(uri)).contents
    assert isinstance(content, types.TextResourceContents)
    return content.text


def run(here: World, **agents: Agent) -> None:
    """Let agents act at once, each with a client of its own, until all are done."""

    async def one(url: str, name: str, agent: Agent) -> None:
        async with Client(f"{url}/mcp/v1/{here.secret(name)}/mcp", mode="legacy") as client:
            await agent(client)

    async def everybody(url: str) -> None:
        async with asyncio.timeout(30):
            await asyncio.gather(*(one(url, name, agent) for name, agent in agents.items()))

    with serving(here) as url:
        asyncio.run(everybody(url))


@pytest.mark.coral("McpToolsTest.testStreamableHttpCommonTools")
def test_common_tools(here: World) -> None:
    """Three agents wait for whatever comes, for one agent, for a mention, and for being added to the thread."""
    here.session("agent1", "agent2", "agent3")
    heard: dict[str, list[str]] = {"agent2": [], "agent3": []}

    async def agent1(client: Client) -> None:
        made = (await call(client, "coral_create_thread", threadName="test thread", participantNames=["agent2"]))[
            "thread"
        ]
        assert (made["name"], made["creatorName"]) == ("test thread", "agent1")
        assert "agent2" in made["participants"]

        async def send(text: str, *mentions: str) -> None:
            sent = await call(client, "coral_send_message", threadId=made["id"], content=text, mentions=list(mentions))
            assert (sent["message"]["text"], sent["message"]["threadId"]) == (text, made["id"])

        async def while_waiting(name: str, count: int) -> None:
            await until(
                lambda: len(heard[name]) == count and here.communication(name) == "waiting_message",
                f"{name} waits for its message {count + 1}",
            )

        await while_waiting("agent2", 0)
        await send("whatever")
        await while_waiting("agent2", 1)
        await send("of agent1")
        await while_waiting("agent2", 2)
        for _ in range(20):
            await send("spam")
        await send("for agent2", "agent2")
        await while_waiting("agent3", 0)
        await call(client, "coral_add_participant", threadId=made["id"], participantName="agent3")
        await send("for agent3", "agent3")

    async def agent2(client: Client) -> None:
        for tool, more in (("message", {}), ("agent", {"agentName": "agent1"}), ("mention", {})):
            answer = await call(client, f"coral_wait_for_{tool}", currentUnixTime=NEVER_MS, **more)
            heard["agent2"].append(answer["message"]["text"])

    async def agent3(client: Client) -> None:
        message = (await call(client, "coral_wait_for_mention", currentUnixTime=NEVER_MS))["message"]
        heard["agent3"].append(message["text"])
        in_thread = {"threadId": message["threadId"]}
        await call(client, "coral_close_thread", **in_thread, summary="Test thread closed")
        state = await read(client, "coral://state")
        assert message["threadId"] in state
        assert "for agent3" not in state
        await call(client, "coral_remove_participant", **in_thread, participantName="agent3")
        assert message["threadId"] not in await read(client, "coral://state")

    run(here, agent1=agent1, agent2=agent2, agent3=agent3)
    assert heard == {"agent2": ["whatever", "of agent1", "for agent2"], "agent3": ["for agent3"]}


@pytest.mark.coral("McpAgentPluginTest.testStreamableHttpCloseSessionTool")
def test_close_session_tool(here: World) -> None:
    """An agent without the plugin is refused, in the way of a tool; one with it closes the session."""
    here.session("agent1", "agent2", plugins=["close_session_tool"])
    without = here.services.agents.find(SESSION, "agent2")
    assert without is not None
    here.services.agents.create_all([dataclasses.replace(without, plugins=[])], {})
    refused = asyncio.Event()

    async def agent1(client: Client) -> None:
        assert "coral_close_session" in [tool.name for tool in (await client.list_tools()).tools]
        await refused.wait()
        await call(client, "coral_close_session", reason="Test closure")

    async def agent2(client: Client) -> None:
        assert (await client.call_tool("coral_close_session", {"reason": "Test closure"})).is_error
        refused.set()

    run(here, agent1=agent1, agent2=agent2)
    record = here.services.sessions.find("ns", SESSION)
    assert record is not None
    assert record.status == "closing"


@pytest.mark.coral("McpResourceTest.testStreamableHttpStateAndInstructions")
def test_state_and_instructions(here: World) -> None:
    """The state has the threads that there are, under Coral's keys; the instruction names the tools."""
    names = ["agent1", "agent2", "agent3"]
    here.session(*names)
    made: list[str] = []

    def agent(name: str) -> Agent:
        async def act(client: Client) -> None:
            await until(lambda: len(made) == names.index(name), f"it is the turn of {name}")
            others = [other for other in names if other != name]
            created = await call(client, "coral_create_thread", threadName=f"{name} thread", participantNames=others)
            said = {"threadId": created["thread"]["id"], "content": "test message", "mentions": []}
            await call(client, "coral_send_message", **said)
            state = await read(client, "coral://state")
            shown = [each for each in names if f'"threadName":{json.dumps(f"{each} thread")}' in state]
            assert shown == names[: names.index(name) + 1]
            instruction = await read(client, "coral://instruction")
            assert {"coral_wait_for_mention", "coral_send_message"} <= set(instruction.replace("`", " ").split())
            made.append(name)
            await until(lambda: len(made) == 3, "all have made their thread")

        return act

    run(here, **{name: agent(name) for name in names})


@pytest.mark.coral("SessionTest.testSseNonBlocking")
def test_non_blocking(here: World) -> None:
    """Linked agents that do not block connect at once, whoever else has not."""
    here.session("agent1", "agent2", blocking=False)
    clock = TestClock()
    with here.on(clock):
        for name in ("agent1", "agent2"):
            assert here.rpc(name, "ping")["result"] == {}
    assert clock.now_ms() == clock.start_ms
