"""Custom tools of a graph: HTTP endpoints of the graph's author that agents may call (contract, "MCP tools")."""

import json

from chalicelib.store.agents import AgentRecord
from chalicelib.wire.custom_tools import GraphAgentTool


def of(agent: AgentRecord) -> dict[str, GraphAgentTool]:
    """Return the custom tools that an agent may call, by name."""
    found = json.loads(agent.custom_tools) if agent.custom_tools else {}
    return {name: GraphAgentTool.model_validate(tool) for name, tool in found.items()}
