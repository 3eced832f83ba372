"""What of a graph is stored, and how often."""

from typing import Any

import pytest
from pydantic import ValidationError

from chalicelib.domain.errors import TooLarge
from chalicelib.domain.graph import MAX_AGENT_BYTES, Plan
from chalicelib.domain.options import ResolvedOptions
from chalicelib.wire.graph import MAX_AGENTS, AgentGraphRequest


def tool(description: str = "") -> dict[str, Any]:
    transport = {"type": "http", "url": "https://tools.example/weather"}
    return {"transport": transport, "description": description, "inputSchema": {"properties": {"city": {}}}}


def plan(tools: dict[str, Any], agents: int, *access: str) -> Plan:
    identifier = {"name": "a", "version": "1.0.0", "registrySourceId": {"type": "local"}}
    provider = {"type": "local", "runtime": "docker"}
    names = [f"agent-{number}" for number in range(agents)]
    graph = AgentGraphRequest.model_validate(
        {
            "agents": [
                {"id": identifier, "name": name, "provider": provider, "customToolAccess": [*access, *access]}
                for name in names
            ],
            "customTools": tools,
        }
    )
    return Plan(
        graph, {name: [] for name in names}, {name: ResolvedOptions({}) for name in names}, dict.fromkeys(names)
    )


def test_a_custom_tool_is_stored_once_whoever_may_use_it() -> None:
    made = plan(
        {"big": tool("x" * 300_000), "small": tool(), "unused": tool("x" * 400_000)}, MAX_AGENTS, "big", "small"
    )
    records, _ = made.records("ns", "s", created_at_ms=0, expires_at=0)
    assert {name: len(text) // 100_000 for name, text in made.tools.items()} == {"big": 3, "small": 0}
    assert {tuple(record.custom_tool_names) for record in records} == {("big", "small")}
    assert sum(record.item_bytes for record in records) < MAX_AGENTS * 1_000


def test_a_custom_tool_that_no_item_can_hold_is_refused() -> None:
    made = plan({"big": tool("x" * MAX_AGENT_BYTES)}, 1, "big")
    with pytest.raises(TooLarge, match=r"the custom tool 'big' has .* at most 380000"):
        _ = made.tools


@pytest.mark.parametrize("name", ["t" * 129, "é" * 65, "\ud800"])
def test_a_custom_tool_has_a_name_that_a_key_can_have(name: str) -> None:
    with pytest.raises(ValidationError, match=r"at most 128 bytes|lone surrogate"):
        plan({name: tool()}, 1)
