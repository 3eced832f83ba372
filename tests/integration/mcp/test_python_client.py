"""A whole conversation of two agents, each on the official Python client, in either era of the protocol."""

import asyncio
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from mcp import Client, MCPError

from chalicelib.clock import Clock
from tests.mcp_http import serving
from tests.mcp_world import SESSION, World


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    assert json.loads(result.content[0].text) == result.structured_content  # type: ignore[union-attr]
    return result.structured_content


async def ask(url: str, mode: str) -> str:
    async with Client(url, mode=mode) as client:
        thread = (await call(client, "coral_create_thread", threadName="sums", participantNames=["bob"]))["thread"][
            "id"
        ]
        asked = await call(client, "coral_send_message", threadId=thread, content="2 + 2?", mentions=["bob"])
        answer = await call(client, "coral_wait_for_mention", currentUnixTime=0, maxWaitMs=5000)
        assert asked["message"]["threadId"] == answer["message"]["threadId"]
        state = await client.read_resource("coral://state")
        assert "2 + 2?" in state.contents[0].text  # type: ignore[union-attr]
        await call(client, "coral_close_thread", threadId=thread, summary="it is 4")
        return str(answer["message"]["text"])


async def reply(url: str, mode: str) -> list[str]:
    async with Client(url, mode=mode) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        instruction = await client.read_resource("coral://instruction")
        assert "coral_send_message" in instruction.contents[0].text  # type: ignore[union-attr]
        asked = await call(client, "coral_wait_for_agent", agentName="ann", currentUnixTime=0, maxWaitMs=5000)
        assert asked["message"]["text"] == "2 + 2?"
        await call(client, "coral_send_message", threadId=asked["message"]["threadId"], content="4", mentions=["ann"])
        refused = await client.call_tool("coral_send_message", {"threadId": "nope", "content": "x", "mentions": []})
        assert refused.is_error
        assert (await client.list_prompts()).prompts == []
        assert (await client.list_resource_templates()).resource_templates == []
        assert len((await client.list_resources()).resources) == 2
        return names


@pytest.mark.parametrize(("ann", "bob"), [("legacy", "legacy"), ("auto", "auto"), ("2026-07-28", "legacy")])
def test_two_agents_talk(here: World, ann: str, bob: str) -> None:
    async def both(url: str) -> tuple[str, list[str]]:
        urls = [f"{url}/mcp/v1/{here.secret(name)}/mcp" for name in ("ann", "bob")]
        return await asyncio.gather(ask(urls[0], ann), reply(urls[1], bob))

    with serving(here) as url:
        answer, tools = asyncio.run(both(url))
    assert answer == "4"
    assert len(tools) == 8
    told = [entry.event for entry in here.services.log.read(SESSION) if entry.event["type"] == "agent_connected"]
    assert sorted(event["name"] for event in told) == ["ann", "bob"]


def test_a_client_comes_back_for_its_waits(here: World, comebacks: list[str]) -> None:
    """Every wait is paused at once; the client notices nothing."""
    with here.on(Clock(), mcp_wait_hold_ms=0):
        test_two_agents_talk(here, "legacy", "legacy")
    assert comebacks


def test_a_client_that_may_choose_takes_the_newest_version(here: World) -> None:
    async def version(url: str, mode: str) -> str:
        async with Client(f"{url}/mcp/v1/{here.secret('ann')}/mcp", mode=mode) as client:
            return client.protocol_version

    with serving(here) as url:
        assert asyncio.run(version(url, "auto")) == "2026-07-28"
        assert asyncio.run(version(url, "legacy")) == "2025-11-25"


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_a_client_that_closed_the_session_is_told_so_by_its_next_call(here: World, mode: str) -> None:
    other = "22222222-2222-4333-8444-555555555555"
    here.session("ann", session_id=other, plugins=["close_session_tool"])

    async def end(url: str) -> tuple[int, str]:
        async with Client(f"{url}/mcp/v1/{here.secret('ann', other)}/mcp", mode=mode) as client:
            await call(client, "coral_close_session", reason="done")
            tools = (await client.list_tools(cache_mode="bypass")).tools
            with pytest.raises(MCPError) as refused:
                await client.call_tool("coral_create_thread", {"threadName": "late", "participantNames": []})
            return len(tools), str(refused.value)

    with serving(here) as url:
        assert asyncio.run(end(url)) == (9, "Session terminated: it is over, or this agent was stopped")


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_a_client_outlives_a_moment_in_which_its_calls_cannot_be_served(here: World, mode: str) -> None:
    def refuse(name: str, params: dict[str, Any]) -> None:
        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, name)

    async def try_again(url: str) -> str:
        async with Client(f"{url}/mcp/v1/{here.secret('ann')}/mcp", mode=mode) as client:
            usual, here.before_call = here.before_call, refuse
            try:
                result = await client.call_tool("coral_create_thread", {"threadName": "t", "participantNames": []})
                said = str(result.structured_content)
            except MCPError as error:
                said = str(error)
            here.before_call = usual
            await call(client, "coral_create_thread", threadName="t", participantNames=[])
            return said

    with serving(here) as url:
        assert "try again in 1 s" in asyncio.run(try_again(url))
