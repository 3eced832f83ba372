"""Custom tools of a graph: HTTP endpoints of the graph's author that agents may call (contract, "MCP tools")."""

import json
from typing import Any

from chalicelib.domain.errors import BadRequest
from chalicelib.store.agents import AgentRecord
from chalicelib.wire import strict_json
from chalicelib.wire.custom_tools import GraphAgentTool


def of(agent: AgentRecord) -> dict[str, GraphAgentTool]:
    """Return the custom tools that an agent may call, by name."""
    found = json.loads(agent.custom_tools) if agent.custom_tools else {}
    return {name: GraphAgentTool.model_validate(tool) for name, tool in found.items()}


def structured(tool: GraphAgentTool, answer: str) -> dict[str, Any] | None:
    """Return the answer of a tool that promises a structured one; ``None`` of a tool that does not.

    Raises `BadRequest` when it is not a JSON object: MCP's clients refuse a result that lacks what its tool promises.
    """
    if tool.promises is None:
        return None
    try:
        content = strict_json.loads(answer)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise BadRequest("the tool did not answer a JSON object, as its outputSchema promises")
    return content
