"""Custom tools of a graph: HTTP endpoints of the graph's author that agents may call (contract, "MCP tools")."""

import json
import math
from typing import Any

from chalicelib.domain.errors import BadRequest
from chalicelib.store.agents import AgentRecord
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
        content = json.loads(answer, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise BadRequest("the tool did not answer a JSON object, as its outputSchema promises")
    return content


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is out of range")
    return number
