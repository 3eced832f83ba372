"""Coral's SessionTest: links, threads and messages, as a client sees them."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tests.client import Answer, Client, session, sleeper

pytestmark = pytest.mark.xdist_group("coral")


def links(client: Client, namespace: str, groups: list[list[str]]) -> dict[str, set[str]]:
    """Return the links of each agent that some group names."""
    agents = [sleeper(name) for name in sorted({name for group in groups for name in group})]
    request = session(*agents, namespace=namespace, defer=True)
    request["agentGraphRequest"]["groups"] = groups
    state = client.call("GET", f"{client.create(request)}/extended").body
    return {agent["name"]: set(agent["links"]) for agent in state["agents"]}


@pytest.mark.coral("SessionTest.testLinks")
def test_links(client: Client, namespace: str) -> None:
    """Agents are linked that share a group, each once, however often groups say so."""
    chain = links(client, namespace, [["agent1", "agent2"], ["agent3", "agent2"]])
    assert chain == {"agent1": {"agent2"}, "agent2": {"agent1", "agent3"}, "agent3": {"agent2"}}
    all_orders = [list(order) for size in (1, 2, 3) for order in itertools.permutations("ABC", size)]
    assert links(client, namespace, all_orders) == {name: set("ABC") - {name} for name in "ABC"}


@pytest.fixture
def path(client: Client, namespace: str) -> str:
    """A session of three agents that are there and do nothing."""
    return client.create(session(sleeper("agent1"), sleeper("agent2"), sleeper("agent3"), namespace=namespace))


Act = Callable[..., Answer]


@pytest.fixture
def act(client: Client, path: str) -> Act:
    """What an agent does: ``act("agent1", "POST", "/thread", …)``."""
    puppets = path.replace("/local/session/", "/puppet/")
    return lambda name, method, below, **body: client.call(method, f"{puppets}/{name}{below}", body)


def threads(client: Client, path: str) -> dict[str, Any]:
    return {thread["id"]: thread for thread in client.call("GET", f"{path}/extended").body["threads"]}


@pytest.mark.coral("SessionTest.testThreads")
def test_threads(client: Client, path: str, act: Act) -> None:
    """A thread has its creator and those it is made for, all of whom must be there."""
    alone = act("agent1", "POST", "/thread", threadName="Test thread")
    both = act("agent1", "POST", "/thread", threadName="Test thread", participantNames=["agent2"])
    assert (alone.status, both.status) == (200, 200)
    assert sorted(both.body["thread"]["participants"]) == ["agent1", "agent2"]
    assert act("agent100", "POST", "/thread", threadName="Test thread").status == 404
    strangers = act("agent1", "POST", "/thread", threadName="Test thread", participantNames=["agent1", "agent100"])
    assert strangers.status == 404
    assert set(threads(client, path)) == {alone.body["thread"]["id"], both.body["thread"]["id"]}


@pytest.mark.coral("SessionTest.testMessages")
def test_messages(client: Client, path: str, act: Act) -> None:
    """Closing a thread deletes its messages and ends it for all; another thread goes on."""
    first = act("agent1", "POST", "/thread", threadName="t", participantNames=["agent2"]).body["thread"]["id"]
    second = act("agent1", "POST", "/thread", threadName="t", participantNames=["agent2", "agent3"]).body["thread"][
        "id"
    ]
    for name in ("agent1", "agent2"):
        assert act(name, "POST", "/thread/message", threadId=first, content=f"Hello from {name}").status == 200
    assert len(threads(client, path)[first]["messages"]) == 2
    assert "agent3" not in threads(client, path)[first]["participants"]
    assert act("agent1", "DELETE", "/thread", threadId=first, summary="Nothing to see here...").status == 200
    assert act("agent1", "POST", "/thread/message", threadId=first, content="too late").status == 400
    assert threads(client, path)[first]["messages"] == []
    assert act("agent1", "POST", "/thread/message", threadId=second, content="Hello").status == 200
