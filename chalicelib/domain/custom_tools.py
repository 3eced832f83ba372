"""Custom tools of a graph: HTTP endpoints of the graph's author that agents may call (contract, "MCP tools")."""

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from chalicelib.domain.errors import BadRequest
from chalicelib.store.agents import AgentRecord
from chalicelib.wire import strict_json
from chalicelib.wire.custom_tools import GraphAgentTool

if TYPE_CHECKING:
    from chalicelib.stores import Stores


def of(stores: "Stores", agent: AgentRecord, wanted: Collection[str] | None = None) -> dict[str, GraphAgentTool]:
    """Return the custom tools that an agent may call, by name: all, or those that are ``wanted``.

    They are read in one call for 100 of them; nothing is read when there is none.
    """
    found = json.loads(agent.custom_tools) if agent.custom_tools else {}
    names = [name for name in agent.custom_tool_names if wanted is None or name in wanted]
    texts = stores.reads.custom_tools(agent.session_id, names) if names else []
    found |= {name: json.loads(text) for name, text in zip(names, texts, strict=True) if text is not None}
    return {
        name: GraphAgentTool.model_validate(tool) for name, tool in found.items() if wanted is None or name in wanted
    }


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
