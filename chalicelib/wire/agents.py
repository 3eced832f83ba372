"""Agents on the wire: how a graph asks for them, and what their session says of them."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from chalicelib.wire.base import Timestamp, WireModel
from chalicelib.wire.namespaces import Annotations, Name
from chalicelib.wire.options import OptionValue
from chalicelib.wire.registry import RegistryAgentIdentifier, RuntimeId

#: Atoll's limits of a graph.
MAX_AGENTS = 100
MAX_GROUPS = 1_000
MAX_PROMPT_BYTES = 8_192
MAX_DESCRIPTION_BYTES = 1_024


def _at_most(limit: int) -> AfterValidator:
    def check(value: str) -> str:
        size = len(value.encode("utf-8", "surrogatepass"))
        if size > limit:
            raise ValueError(f"at most {limit} bytes of UTF-8 are taken, not {size}")
        return value

    return AfterValidator(check)


class LocalProvider(WireModel):
    """The agent runs here."""

    type: Literal["local"]
    runtime: RuntimeId


class LinkedProvider(WireModel):
    """The agent runs on a linked server."""

    type: Literal["linked"]
    linked_server_name: str
    runtime: RuntimeId


class RemoteProvider(WireModel):
    """The agent runs on a given remote server; what it costs there is none of Atoll's business."""

    type: Literal["remote"]
    runtime: RuntimeId


class RemoteRequestProvider(WireModel):
    """The agent runs on a remote server that is still to be found."""

    type: Literal["remote_request"]
    runtime: RuntimeId


GraphAgentProvider = Annotated[
    LocalProvider | LinkedProvider | RemoteProvider | RemoteRequestProvider, Field(discriminator="type")
]


class CloseSessionTool(WireModel):
    """Gives the agent the tool `coral_close_session`."""

    type: Literal["close_session_tool"]


class X402BudgetedResource(WireModel):
    """A budget for a paid resource."""

    priority: int
    resource: str
    remaining_budget: int


class GraphAgentRequest(WireModel):
    """One agent of a graph."""

    id: RegistryAgentIdentifier
    name: Name
    description: Annotated[str, _at_most(MAX_DESCRIPTION_BYTES)] | None = None
    options: dict[str, OptionValue] = Field(default_factory=dict)
    system_prompt: Annotated[str, _at_most(MAX_PROMPT_BYTES)] | None = None
    blocking: bool | None = None
    custom_tool_access: list[str] = Field(default_factory=list)
    plugins: list[CloseSessionTool] = Field(default_factory=list)
    provider: GraphAgentProvider
    x402_budgets: list[X402BudgetedResource] = Field(default_factory=list, alias="x402Budgets")
    annotations: Annotations = Field(default_factory=dict)


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


class AgentGraphRequest(WireModel):
    """The agents of a session, which of them are linked, and the tools that they are given."""

    agents: Annotated[list[GraphAgentRequest], Field(max_length=MAX_AGENTS)]
    groups: Annotated[list[Annotated[list[str], Field(max_length=MAX_AGENTS)]], Field(max_length=MAX_GROUPS)] = Field(
        default_factory=list
    )
    custom_tools: dict[str, GraphAgentTool] = Field(default_factory=dict)


class Thinking(WireModel):
    """The agent is at work."""

    type: Literal["thinking"] = "thinking"


class WaitingMessage(WireModel):
    """The agent waits for a message."""

    type: Literal["waiting_message"] = "waiting_message"


class NotConnected(WireModel):
    """The agent has not spoken to its MCP endpoint yet."""

    type: Literal["not_connected"] = "not_connected"


class Connected(WireModel):
    """The agent has spoken to its MCP endpoint."""

    type: Literal["connected"] = "connected"
    communication_status: Thinking | WaitingMessage


class Waiting(WireModel):
    """The agent is still to be started."""

    type: Literal["waiting"] = "waiting"


class Running(WireModel):
    """The agent's task was started."""

    type: Literal["running"] = "running"
    connection_status: NotConnected | Connected


class Stopped(WireModel):
    """The agent's task has ended, or could not be started. `reason` is Atoll's own."""

    type: Literal["stopped"] = "stopped"
    reason: str | None = None


class SessionAgentState(WireModel):
    """An agent as its session sees it."""

    name: str
    registry_agent_identifier: RegistryAgentIdentifier
    status: Waiting | Running | Stopped
    description: str | None = None
    links: list[str]
    annotations: dict[str, str]


class SessionAgentUsageReport(WireModel):
    """One run of an agent."""

    name: str
    registry_identifier: RegistryAgentIdentifier
    start_time: Timestamp
    end_time: Timestamp
    annotations: dict[str, str]
