"""Custom tools of a graph on the wire."""

from typing import Annotated, Any, Literal

from pydantic import Field

from chalicelib.wire.base import WireModel


class HttpToolTransport(WireModel):
    """A custom tool behind an HTTP endpoint."""

    type: Literal["http"]
    url: Annotated[str, Field(min_length=1, max_length=2_048)]
    signature_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")] | None = None


class ToolSchema(WireModel):
    """The input schema of a custom tool."""

    properties: dict[str, Any] | None = None
    required: list[str] | None = None
    type: str = "object"


class GraphAgentTool(WireModel):
    """A custom tool of a graph."""

    transport: HttpToolTransport
    tool_schema: ToolSchema = Field(alias="schema")
