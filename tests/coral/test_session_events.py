"""Coral's SessionEventsTest, McpSessionEventsTest and WebSocketEventTest: what a session tells who follows it.

Each event that is pushed has Coral's shape, to the key.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.client import connect

from chalicelib.domain import agent_secrets
from infra.local.stack import LocalStack
from tests.agents import MISSING
from tests.client import Client, agent, session, sleeper
from tests.contract.coral import Coral
from tests.integration.live.conftest import Socket, session_of, url_of
from tests.mcp_world import Later

pytestmark = pytest.mark.xdist_group("coral")

Event = dict[str, Any]

#: What a session does that is still to be executed, once it is.
HOLD = {"persistenceMode": {"mode": "hold_after_exit", "duration": 60_000}}


class Following:
    """A session that was executed once somebody followed it, and what that one has been told."""

    def __init__(self, path: str, socket: Socket) -> None:
        self.path = path
        self.events: list[Event] = []
        self._socket = socket

    def until(self, kind: str, count: int = 1) -> None:
        """Read on until so many events of a kind have come: a client of Coral's can read each event."""
        while sum(event["type"] == kind for event in self.events) < count:
            event = self._socket.next(30)
            assert list(Coral().faults("SessionEvent", event)) == []
            self.events.append(event)

    def of(self, name: str) -> list[str]:
        """Return the kinds of the events that are about an agent."""
        return [event["type"] for event in self.events if event.get("name") == name]


@contextmanager
def followed(stack: LocalStack, namespace: str, *agents: dict[str, Any]) -> Iterator[Following]:
    """Follow a session of agents from its execution on."""
    client = Client(stack.url, stack.key)
    path = client.create(session(*agents, namespace=namespace, defer=True))
    with connect(url_of(stack, session_of(path), stack.key)) as connection:
        assert client.call("POST", path, HOLD).status == 200
        yield Following(path, Socket(connection))


@pytest.mark.coral("WebSocketEventTest.testSessionEvents")
def test_web_socket_session_events(stack: LocalStack, namespace: str) -> None:
    """An agent makes ten threads of ten messages each and stops, all of which is pushed."""
    options = {"START_DELAY": 100, "OPERATION_DELAY": 1, "SEED_THREAD_COUNT": 10, "SEED_MESSAGE_COUNT": 10}
    seed = agent("seed", "seed", **{name: ("u32", value) for name, value in options.items()})
    with followed(stack, namespace, seed) as following:
        following.until("runtime_stopped")
    kinds = [event["type"] for event in following.events]
    assert kinds.count("thread_created") == 10
    assert kinds.count("thread_message_sent") == 100
    assert kinds[-1] == "runtime_stopped"


@pytest.mark.coral("SessionEventsTest.testStreamableHttpSessionEvents")
def test_session_events(stack: LocalStack, namespace: str) -> None:
    """An agent starts, connects and stops; one whose program is not there starts and stops all the same."""
    stack.register(MISSING)
    with followed(stack, namespace, agent("agent1", "seed"), agent("agent2", "missing")) as following:
        following.until("runtime_stopped", 2)
    assert following.of("agent1") == ["runtime_started", "agent_connected", "runtime_stopped"]
    assert following.of("agent2") == ["runtime_started", "runtime_stopped"]


@pytest.mark.coral("McpSessionEventsTest.testStreamableHttpMcpSessionEvents")
def test_mcp_session_events(stack: LocalStack, client: Client, namespace: str) -> None:
    """Whatever an agent does with its tools is told, and that another waited for it."""
    agents = [sleeper(f"agent{number}") for number in (1, 2, 3)]
    with followed(stack, namespace, *agents) as following:
        following.until("runtime_started", 3)

        def tool(name: str, tool: str, **arguments: Any) -> Any:
            session_id = following.path.rsplit("/", 1)[1]
            secret = agent_secrets.mint(stack.services.secrets.get("agent-key"), namespace, session_id, name)
            call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
            answer = client.call("POST", f"/mcp/v1/{secret}/mcp", call, {"Accept": "application/json"})
            assert not answer.body["result"]["isError"], answer
            return json.loads(answer.body["result"]["content"][0]["text"])

        made = tool("agent2", "coral_create_thread", threadName="test thread", participantNames=["agent1"])
        thread = {"threadId": made["thread"]["id"]}
        wait = Later(lambda: tool("agent1", "coral_wait_for_message", currentUnixTime=0, maxWaitMs=10_000))
        following.until("agent_wait_start")
        tool("agent2", "coral_send_message", **thread, content="test message", mentions=[])
        assert wait.result()["message"]["text"] == "test message"
        tool("agent2", "coral_add_participant", **thread, participantName="agent3")
        tool("agent2", "coral_remove_participant", **thread, participantName="agent1")
        tool("agent2", "coral_close_thread", **thread, summary="test thread closed")
        following.until("thread_closed")

    events = following.events
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
