"""What a session says of the tokens that its agents took: sums of its log, however far somebody has counted."""

import json
from typing import Any

import pytest

from chalicelib.domain import agents as agent_states
from chalicelib.domain import tokens
from chalicelib.domain.errors import TryLater
from chalicelib.store.sessions import SessionRecord
from tests.integration.models.conftest import Agents
from tests.mcp_world import NAMESPACE, SESSION
from tests.offline_models import Answers, Says

pytestmark = pytest.mark.xdist_group("models")

CHAT, MESSAGES = "MAIN/v1/chat/completions", "CLAUDE/v1/messages"
NEVER_MS = 1 << 50


def session_of(agents: Agents) -> SessionRecord:
    found = agents.world.services.sessions.find(NAMESPACE, SESSION)
    assert found is not None
    return found


def seen(agents: Agents) -> dict[str, Any]:
    """Return what clients see of each agent's tokens."""
    services = agents.world.services
    of = tokens.reader(services, session_of(agents), NEVER_MS)
    states = [agent_states.state_of(agent, 0, of(agent)) for agent in services.agents.of_session(SESSION)]
    return {state.name: state.to_wire()["tokensByModel"] for state in states}


def test_tokens_are_summed_by_agent_and_model(agents: Agents) -> None:
    for name, target, tokens_in in (("ann", CHAT, 1), ("ann", CHAT, 20), ("ann", MESSAGES, 300), ("bob", CHAT, 4_000)):
        agents.provider.next(Says(input_tokens=tokens_in, output_tokens=5))
        agents.ask(target, json.dumps({"stream": tokens_in == 20}).encode(), name=name).read()
    agents.provider.next(Answers(500))
    agents.ask(CHAT, b"{}").read()
    assert seen(agents) == {
        "ann": {
            "one/large": {"inputTokens": 21, "outputTokens": 10},
            "two/claude": {"inputTokens": 300, "outputTokens": 5},
        },
        "bob": {"one/large": {"inputTokens": 4_000, "outputTokens": 5}},
    }


def test_who_counts_goes_on_from_where_somebody_counted(agents: Agents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "COUNTED_ANEW", 2)
    for count in range(1, 6):
        agents.ask(CHAT, b"{}")
        assert seen(agents)["ann"] == {"one/large": {"inputTokens": 15 * count, "outputTokens": 5 * count}}
    assert agents.world.services.token_counts.find(SESSION).position == 3
    with agents.world.counting() as calls:
        seen(agents)
    assert calls.count("Query") == 2  # the agents, and the entries since


def test_counting_that_takes_too_long_is_gone_on_with_by_the_next(agents: Agents) -> None:
    for _ in range(3):
        agents.ask(CHAT, b"{}")
    services, ann = agents.world.services, agents.world.actor("ann").agent
    for _ in range(2):
        with pytest.raises(TryLater):
            tokens.reader(services, session_of(agents), 0)(ann)
    assert tokens.reader(services, session_of(agents), NEVER_MS)(ann)["one/large"].input_tokens == 45


def test_without_a_model_nothing_is_read(agents: Agents) -> None:
    agents.world.clear()
    agents.world.session("carl")
    session, carl = session_of(agents), agents.world.actor("carl").agent
    with agents.world.counting() as calls:
        assert tokens.reader(agents.world.services, session, 0)(carl) == {}
        assert tokens.at_the_end(agents.world.services, session)(carl) == {}
    assert calls == []


def test_the_end_has_the_sums_too(agents: Agents) -> None:
    agents.ask(CHAT, b"{}")
    ann = agents.world.actor("ann").agent
    agents.world.services.sessions.close(NAMESPACE, SESSION, now_ms=1, reason="closed_by_user")
    found = tokens.at_the_end(agents.world.services, session_of(agents))(ann)
    assert found["one/large"].to_wire() == {"inputTokens": 15, "outputTokens": 5}
