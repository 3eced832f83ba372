"""Coral's SessionEventsTest and McpSessionEventsTest: what a session tells, each event in Coral's shape to the key.

Coral's tests follow a session as it goes on; here its events are read from the listing.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.domain import agent_secrets
from infra.local.stack import LocalStack
from tests.agents import MISSING
from tests.client import Client, agent, eventually, session, sleeper
from tests.contract.coral import Coral
from tests.mcp_world import Later

pytestmark = pytest.mark.xdist_group("coral")

Tool = Callable[..., Any]


def told(client: Client, path: str) -> list[dict[str, Any]]:
    """Return all events of a session, each of which a client of Coral's can read."""
    events: list[dict[str, Any]] = client.call("GET", f"{path}/events").body
    assert [fault for event in events for fault in Coral().faults("SessionEvent", event)] == []
    return events


@pytest.mark.coral("SessionEventsTest.testStreamableHttpSessionEvents")
def test_session_events(stack: LocalStack, client: Client, namespace: str) -> None:
    """An agent starts, connects and stops; one whose program is not there starts and stops all the same."""
    stack.register(MISSING)
    hold = {"mode": "hold_after_exit", "duration": 60_000}
    agents = [agent("agent1", "seed"), agent("agent2", "missing")]
    path = client.create(session(*agents, namespace=namespace, persistenceMode=hold))
    client.wait_for_status(path, "closing", within_s=30)

    def of(name: str) -> list[str]:
        return [event["type"] for event in told(client, path) if event.get("name") == name]

    eventually(lambda: of("agent1") == ["runtime_started", "agent_connected", "runtime_stopped"])
    assert of("agent2") == ["runtime_started", "runtime_stopped"]


@pytest.mark.coral("McpSessionEventsTest.testStreamableHttpMcpSessionEvents")
def test_mcp_session_events(stack: LocalStack, client: Client, namespace: str) -> None:
    """Whatever an agent does with its tools is told, and that another waited for it."""
    path = client.create(session(*(sleeper(f"agent{number}") for number in (1, 2, 3)), namespace=namespace))
    eventually(lambda: [event["type"] for event in told(client, path)].count("runtime_started") == 3)

    def tool(name: str, tool: str, **arguments: Any) -> Any:
        session_id = path.rsplit("/", 1)[1]
        secret = agent_secrets.mint(stack.services.secrets.get("agent-key"), namespace, session_id, name)
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        answer = client.call("POST", f"/mcp/v1/{secret}/mcp", call, {"Accept": "application/json"})
        assert not answer.body["result"]["isError"], answer
        return json.loads(answer.body["result"]["content"][0]["text"])

    made = tool("agent2", "coral_create_thread", threadName="test thread", participantNames=["agent1"])
    thread = {"threadId": made["thread"]["id"]}
    wait = Later(lambda: tool("agent1", "coral_wait_for_message", currentUnixTime=0, maxWaitMs=10_000))
    eventually(lambda: told(client, path)[-1]["type"] == "agent_wait_start")
    tool("agent2", "coral_send_message", **thread, content="test message", mentions=[])
    assert wait.result()["message"]["text"] == "test message"
    tool("agent2", "coral_add_participant", **thread, participantName="agent3")
    tool("agent2", "coral_remove_participant", **thread, participantName="agent1")
    tool("agent2", "coral_close_thread", **thread, summary="test thread closed")

    events = told(client, path)
    assert [event["type"] for event in events if event["type"] not in ("runtime_started", "agent_connected")] == [
        *("thread_created", "agent_wait_start", "thread_message_sent", "agent_wait_stop"),
        *("thread_participant_added", "thread_participant_removed", "thread_closed"),
    ]
    by_type = {event["type"]: event for event in events}
    assert by_type["thread_created"]["thread"]["name"] == "test thread"
    assert by_type["agent_wait_stop"]["message"] == by_type["thread_message_sent"]["message"]
    assert by_type["thread_participant_added"]["name"] == "agent3"
    assert by_type["thread_participant_removed"]["name"] == "agent1"
    assert by_type["thread_closed"]["summary"] == "test thread closed"
