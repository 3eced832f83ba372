"""An agent's first request, and blocking agents that wait for one another."""

import dataclasses

import pytest

from chalicelib.store.agents import AgentRecord
from tests.mcp_world import SESSION, Later, TestClock, World

OTHER = "22222222-2222-4333-8444-555555555555"


def agent(here: World, name: str, session: str = SESSION) -> AgentRecord:
    found = here.services.agents.find(session, name)
    assert found is not None
    return found


def ping(here: World, name: str) -> int:
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    return here.post(name, message, secret=here.secret(name, OTHER)).status


def test_the_first_request_connects_an_agent_once(here: World) -> None:
    assert agent(here, "ann").connected_at_ms is None
    here.rpc("ann", "ping")
    here.rpc("ann", "ping")
    assert agent(here, "ann").connected_at_ms is not None
    told = [entry.event for entry in here.services.log.read(SESSION)]
    assert [(event["type"], event["name"]) for event in told] == [("agent_connected", "ann")]


@pytest.mark.parametrize(
    ("method", "listed"), [("prompts/list", "prompts"), ("resources/templates/list", "resourceTemplates")]
)
def test_what_there_is_none_of_can_be_listed(here: World, method: str, listed: str) -> None:
    """Clients list all that there may be, as they connect."""
    assert here.rpc("ann", method)["result"][listed] == []


def test_an_invalid_message_connects_no_agent(here: World) -> None:
    here.post("ann", b"{")
    assert agent(here, "ann").connected_at_ms is None


def test_blocking_agents_connect_together_over_links_of_links(here: World) -> None:
    here.session("ann", "bob", "cem", groups=[["ann", "bob"], ["bob", "cem"]], session_id=OTHER, blocking=True)
    first, second = Later(lambda: ping(here, "ann")), Later(lambda: ping(here, "bob"))
    while not (agent(here, "ann", OTHER).connected_at_ms and agent(here, "bob", OTHER).connected_at_ms):
        pass
    assert first.running
    assert second.running
    assert ping(here, "cem") == 200
    assert (first.result(), second.result()) == (200, 200)


def test_a_chain_of_blocking_agents_is_broken_by_one_that_is_not(here: World) -> None:
    here.session("ann", "bob", "cem", groups=[["ann", "bob"], ["bob", "cem"]], session_id=OTHER, blocking=True)
    here.services.agents.create_all([dataclasses.replace(agent(here, "bob", OTHER), blocking=False)], {})
    clock = TestClock()
    with here.on(clock):
        assert ping(here, "ann") == 200
        assert clock.now_ms() == clock.start_ms, "cem is behind bob, who waits for nobody"


def test_a_blocking_agent_waits_no_longer_than_the_door_is_open(here: World) -> None:
    here.session("ann", "bob", session_id=OTHER, blocking=True)
    clock = TestClock()
    with here.on(clock, mcp_wait_limit_ms=25_000):
        assert ping(here, "ann") == 200
    assert clock.now_ms() - clock.start_ms == 25_000


def test_a_stopped_agent_or_one_out_of_reach_keeps_nobody_waiting(here: World) -> None:
    here.session("ann", "bob", "cem", groups=[["ann", "bob"]], session_id=OTHER, blocking=True)
    here.services.agents.stop(OTHER, "bob", now_ms=1, reason="crashed")
    clock = TestClock()
    with here.on(clock):
        assert ping(here, "ann") == 200
    assert clock.now_ms() == clock.start_ms
