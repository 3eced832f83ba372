"""Custom tools of a graph on the wire."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, ConfigDict, Field, field_validator

from .base import WireModel
from .urls import CallableUrl

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


#: Headers of a call of a custom tool that say whom it is for, and those that HTTP needs, in lower case.
NEEDED_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-atoll-signature",
        "x-coral-agentname",
        "x-coral-namespace",
        "x-coral-sessionid",
    }
)


class HttpToolTransport(WireModel):
    """A custom tool behind an HTTP endpoint."""

    type: Literal["http"]
    url: CallableUrl
    signature_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")] | None = None

    @field_validator("signature_header")
    @classmethod
    def _takes_no_place(cls, name: str | None) -> str | None:
        if name is not None and name.lower() in NEEDED_HEADERS:
            raise ValueError(f"{name!r} is a header that the call needs: the signature goes into another")
        return name


class ToolSchema(WireModel):
    """The schema of what a custom tool takes or answers, with whatever else JSON Schema knows."""

    model_config = ConfigDict(extra="allow")

    properties: dict[str, Any] | None = None
    required: list[str] | None = None
    type: str = "object"


class CustomToolAnnotations(WireModel):
    """Hints of what a custom tool does, as MCP has them."""

    title: str | None = None
    read_only_hint: bool | None = None
    destructive_hint: bool | None = None
    idempotent_hint: bool | None = None
    open_world_hint: bool | None = None


class GraphAgentTool(WireModel):
    """A custom tool of a graph. Clients older than Coral Server 1.2 say ``schema`` for ``inputSchema``."""

    transport: HttpToolTransport
    input_schema: ToolSchema = Field(
        default_factory=ToolSchema,
        validation_alias=AliasChoices("inputSchema", "schema", "input_schema"),
        serialization_alias="inputSchema",
    )
    output_schema: ToolSchema = Field(default_factory=ToolSchema)
    description: str | None = None
    title: str | None = None
    annotations: CustomToolAnnotations | None = None

    @property
    def promises(self) -> dict[str, Any] | None:
        """The schema of its answers; ``None`` when it names no property, as Coral's clients write it by default."""
        return self.output_schema.to_wire() if self.output_schema.properties else None
