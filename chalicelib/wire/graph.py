"""How a graph asks for its agents on the wire."""

from typing import Annotated, Literal

from pydantic import Field

from .base import WireModel
from .budgets import BudgetRequest
from .custom_tools import GraphAgentTool
from .identifiers import RegistryAgentIdentifier, RuntimeId
from .limits import WITHOUT_NUL, at_most_bytes, at_most_entries
from .llm_proxy import ModelName
from .namespaces import Annotations, Name
from .options import OptionValue
from .urls import MAX_URL_LENGTH

#: Atoll's limits of a graph.
MAX_AGENTS = 128
MAX_GROUPS = 1_000
MAX_PROMPT_BYTES = 8_192
MAX_DESCRIPTION_BYTES = 1_024
#: Choices of models of one agent, which declares 16 proxies at most.
MAX_PROXIES = 64
#: Budgets of one agent for resources that are paid by x402.
MAX_X402_BUDGETS = 32
#: What MCP recommends; the name is part of a key.
MAX_TOOL_NAME_BYTES = 128


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
    """The agent runs on a named remote server. Atoll does not check its price there."""

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
    """What an agent may spend on a resource that is paid by x402."""

    #: The lowest is taken first.
    priority: Annotated[int, Field(ge=-(2**31), lt=2**31)]
    #: As the one who is paid names it.
    resource: Annotated[str, at_most_bytes(MAX_URL_LENGTH)]
    #: In atomic units of what is paid with.
    remaining_budget: Annotated[int, Field(ge=0, lt=2**64)]


class GraphAgentProxyRequest(WireModel):
    """Which provider's model an agent is to get for one of the proxies that it declares."""

    configuration_name: Annotated[str, at_most_bytes(512)]
    model_name: ModelName


class GraphAgentRequest(WireModel):
    """One agent of a graph."""

    id: RegistryAgentIdentifier
    name: Name
    description: Annotated[str, at_most_bytes(MAX_DESCRIPTION_BYTES)] | None = None
    options: dict[str, OptionValue] = Field(default_factory=dict)
    system_prompt: Annotated[str, at_most_bytes(MAX_PROMPT_BYTES), WITHOUT_NUL] | None = None
    blocking: bool | None = None
    custom_tool_access: list[str] = Field(default_factory=list)
    plugins: list[CloseSessionTool] = Field(default_factory=list)
    provider: GraphAgentProvider
    x402_budgets: Annotated[list[X402BudgetedResource], Field(max_length=MAX_X402_BUDGETS)] = Field(
        default_factory=list, alias="x402Budgets"
    )
    #: By the names of proxies; those that the agent does not declare are read over.
    proxies: Annotated[dict[str, GraphAgentProxyRequest], at_most_entries(MAX_PROXIES)] = Field(default_factory=dict)
    annotations: Annotations = Field(default_factory=dict)
    #: Atoll's own.
    budget: BudgetRequest | None = None


class AgentGraphRequest(WireModel):
    """The agents of a session, which of them are linked, and the tools that they get."""

    agents: Annotated[list[GraphAgentRequest], Field(max_length=MAX_AGENTS)]
    groups: Annotated[list[Annotated[list[str], Field(max_length=MAX_AGENTS)]], Field(max_length=MAX_GROUPS)] = Field(
        default_factory=list
    )
    custom_tools: dict[Annotated[str, at_most_bytes(MAX_TOOL_NAME_BYTES)], GraphAgentTool] = Field(default_factory=dict)
    #: What all of them together may spend; Atoll's own.
    budget: BudgetRequest | None = None
