"""The registry on the wire: its sources, and each agent in full."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr
from pydantic.json_schema import SkipJsonSchema

from .base import Timestamp, WireModel
from .fargate import Fargate
from .identifiers import AgentRegistrySourceIdentifier, LocalSource, RegistryAgentIdentifier, RuntimeId
from .options import AgentOption
from .prototype import PrototypeRuntime

Transport = Literal["sse", "streamable_http"]
AgentCapability = Literal["resources", "tool_refreshing"]

#: What the name of a function of Atoll's own begins with; no name or ARN of a Lambda function has a slash.
OWN_FUNCTION_PREFIX = "atoll/"

#: The function that prototypes are; no agent's file can name it.
PROTOTYPE_FUNCTION = f"{OWN_FUNCTION_PREFIX}prototype"


class RegistryAgentCatalog(WireModel):
    """An agent and the versions of it that there are."""

    name: str
    versions: list[str]


class AgentRegistrySource(WireModel):
    """A registry and what it offers."""

    identifier: AgentRegistrySourceIdentifier
    timestamp: Timestamp
    name: str
    agents: list[RegistryAgentCatalog]


class License(WireModel):
    """Under which terms an agent may be used. ``sdpx``, which older files say, is read as ``spdx``."""

    type: Annotated[Literal["spdx", "text"], BeforeValidator(lambda given: "spdx" if given == "sdpx" else given)]
    expression: str | None = None
    text: str | None = None


class RegistryAgentInfo(WireModel):
    """What an agent says of itself."""

    identifier: RegistryAgentIdentifier
    description: str | None = None
    capabilities: list[AgentCapability] = Field(default_factory=list)
    summary: str | None = None
    readme: str | None = None
    license: License | None = None
    keywords: list[str] = Field(default_factory=list)
    links: dict[str, str] = Field(default_factory=dict)


class DockerRuntime(WireModel):
    """The agent as a container."""

    image: str
    command: list[str] | None = None
    transport: Transport = "streamable_http"


class ExecutableRuntime(WireModel):
    """The agent as a process of this machine."""

    path: str
    arguments: list[str] = Field(default_factory=list)
    transport: Transport = "streamable_http"


class FunctionRuntime(WireModel):
    """The agent as a function that is called once a turn. Clients see the transport alone, as in Coral."""

    transport: Transport = "streamable_http"
    #: A Lambda function by its name or ARN, or one of Atoll's own; where it is stored only.
    function: SkipJsonSchema[str | None] = None
    #: ``module:callable`` of the agent's folder; where it is stored only.
    handler: SkipJsonSchema[str | None] = None


Runtime = DockerRuntime | ExecutableRuntime | FunctionRuntime | PrototypeRuntime


class Runtimes(WireModel):
    """How an agent can be run."""

    executable: ExecutableRuntime | None = None
    docker: DockerRuntime | None = None
    function: FunctionRuntime | None = None
    prototype: PrototypeRuntime | None = None

    def offered(self) -> list[RuntimeId]:
        """Name the runtimes that there are."""
        known: tuple[RuntimeId, ...] = ("executable", "docker", "function", "prototype")
        return [runtime for runtime in known if self.get(runtime)]

    def get(self, runtime: RuntimeId) -> Runtime | None:
        """Return a runtime by its id; ``None`` when the agent does not offer it."""
        offered = {"executable": self.executable, "docker": self.docker, "function": self.function}
        return {**offered, "prototype": self.prototype}.get(runtime)


class LlmProxyFormat(WireModel):
    """Which API a model is spoken to with."""

    type: Literal["OpenAI", "Anthropic"]


class LlmProxy(WireModel):
    """A model that an agent needs."""

    name: str
    format: LlmProxyFormat
    models: list[str] = Field(default_factory=list)


class RegistryAgentLlm(WireModel):
    """The models that an agent needs."""

    proxies: list[LlmProxy] = Field(default_factory=list)


class PricingRecommendations(WireModel):
    """What an agent should cost, by its author."""

    min: float
    max: float


class MarketplacePricing(WireModel):
    """What an agent costs."""

    description: str
    currency: Literal["USD"] = "USD"
    recommendations: PricingRecommendations | None = None


class Erc8004Endpoint(WireModel):
    """Where an agent can be reached."""

    name: str
    endpoint: str


class Erc8004Identity(WireModel):
    """An agent's entry in the registry of ERC-8004."""

    wallet: str
    endpoints: list[Erc8004Endpoint] = Field(default_factory=list)


class MarketplaceIdentities(WireModel):
    """The identities of an agent in other registries."""

    erc8004: Erc8004Identity | None = None


class RegistryAgentMarketplace(WireModel):
    """What an agent says of itself to a marketplace."""

    keywords: list[str] = Field(default_factory=list)
    pricing: MarketplacePricing | None = None
    identities: MarketplaceIdentities | None = None


class NoExport(WireModel):
    """An agent's export settings. Atoll exports no agent."""


class RegistryAgent(WireModel):
    """An agent in full: what ``coral-agent.toml`` says, with its defaults written out."""

    edition: int
    info: RegistryAgentInfo
    runtimes: Runtimes
    options: dict[str, AgentOption] = Field(default_factory=dict)
    export_settings: dict[RuntimeId, NoExport] = Field(default_factory=dict)
    llm: RegistryAgentLlm | None = None
    marketplace: RegistryAgentMarketplace | None = None
    _fargate: Fargate | None = PrivateAttr(default=None)

    @property
    def fargate(self) -> Fargate | None:
        """What its file says of its ECS task: no part of what is written, as Coral has none."""
        return self._fargate

    def on(self, fargate: Fargate | None) -> Self:
        """Return it with what its file says of its ECS task."""
        agent = self.model_copy()
        agent._fargate = fargate
        return agent

    def shown(self) -> Self:
        """Return it as a reader of the registry may see it.

        It is without the defaults of its secret options, and without what Coral's clients do not know of a function.
        """
        shown = {
            name: option.model_copy(update={"default": None}) if getattr(option, "secret", False) else option
            for name, option in self.options.items()
        }
        function = FunctionRuntime(transport=self.runtimes.function.transport) if self.runtimes.function else None
        runtimes = self.runtimes.model_copy(update={"function": function})
        return self.model_copy(update={"options": shown, "runtimes": runtimes})


class RestrictedRegistryAgent(WireModel):
    """An agent and the restrictions on running it: anyone who may create a session here may run it."""

    registry_agent: RegistryAgent
    restrictions: list[LocalSource] = Field(default_factory=list)


class PublicRegistryAgent(WireModel):
    """What is said of an agent for rent."""

    id: RegistryAgentIdentifier
    runtimes: list[RuntimeId]
    options: dict[str, AgentOption] = Field(default_factory=dict)
    export_settings: dict[RuntimeId, NoExport] = Field(default_factory=dict)


class PublicRestrictedRegistryAgent(WireModel):
    """An agent for rent, and who may rent it. Atoll has none."""

    registry_agent: PublicRegistryAgent
    restrictions: list[LocalSource] = Field(default_factory=list)
