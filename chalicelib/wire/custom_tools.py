"""Custom tools of a graph on the wire."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from chalicelib.wire.base import WireModel
from chalicelib.wire.urls import CallableUrl

#: Names of Coral's own tools, which a custom tool cannot have.
CORAL_TOOL_NAMES = frozenset(
    {
        "coral_create_thread",
        "coral_close_thread",
        "coral_add_participant",
        "coral_remove_participant",
        "coral_send_message",
        "coral_wait_for_message",
        "coral_wait_for_mention",
        "coral_wait_for_agent",
        "coral_close_session",
    }
)


class HttpToolTransport(WireModel):
    """A custom tool behind an HTTP endpoint."""

    type: Literal["http"]
    url: CallableUrl
    signature_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")] | None = None


class ToolSchema(WireModel):
    """The input schema of a custom tool, with whatever else JSON Schema knows."""

    model_config = ConfigDict(extra="allow")

    properties: dict[str, Any] | None = None
    required: list[str] | None = None
    type: str = "object"


class GraphAgentTool(WireModel):
    """A custom tool of a graph."""

    transport: HttpToolTransport
    tool_schema: ToolSchema = Field(alias="schema")
