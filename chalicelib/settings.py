"""Typed settings of one deployment, read from the environment. Resource names follow from the stage."""

import os
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

DAY_S = 24 * 3600


#: No URL of a stage has more characters. A REST API's is ``https://`` (8), an id (10), ``.execute-api.`` (13), a region
#: (15, ``us-isof-south-1``), a dot and a suffix (17, ``.amazonaws.com.cn``), a slash and a stage (17); a Function URL's
#: is shorter (an id of 32, but ``.on.aws`` and no path).
LONGEST_URL = 80


class Urls(NamedTuple):
    """Base URLs of the REST API and of the agents' MCP endpoint, without a slash at the end."""

    api: str
    mcp: str
    #: Where the connections of the WebSocket API are managed; empty on one machine.
    sockets: str = ""
    #: Where agents reach their models.
    models: str = ""


#: Take as much room as any URLs of a stage.
LONGEST_URLS = Urls("u" * LONGEST_URL, "u" * LONGEST_URL, models="u" * LONGEST_URL)


class Settings(BaseModel):
    """One deployment's settings; each field is read from ``ATOLL_<NAME IN CAPITALS>``."""

    model_config = ConfigDict(frozen=True)

    stage: str = "dev"
    #: Where this deployment is; the region is AWS's own variable.
    account: str = "123456789012"
    partition: str = "aws"
    region: str = Field(default_factory=lambda: os.environ.get("AWS_REGION", "us-east-1"))
    #: Base URL of the REST API, handed to agents as ``CORAL_API_URL``; when empty, both URLs are read from the stage's
    #: parameter at run time (`aws.stage_urls`).
    api_url: str = ""
    #: Base URL of the agents' MCP endpoint; the API's own when only that is set.
    mcp_url: str = ""
    #: Longest wait of this endpoint in ms: API Gateway ends a request after 29 s. No wait is longer than 58 s
    #: (`wire.threads.MAX_WAIT_MS`), which a Function URL can wait.
    mcp_wait_limit_ms: int = Field(25_000, ge=0, le=60_000)
    #: How long a wait is held open before its client is asked to come back for it, where that is known to do so
    #: (`mcp.clients`). ``None``, or as long as the longest wait, holds each as long as it lasts.
    mcp_wait_hold_ms: int | None = Field(None, ge=0, le=60_000)
    #: Subnets and security groups of the agents' tasks, comma-separated.
    subnets: str = ""
    security_groups: str = ""
    assign_public_ip: bool = True
    #: CPU units and memory of an agent's task: one of Fargate's combinations.
    agent_cpu: int = Field(256, ge=256, le=16_384)
    agent_memory_mib: int = Field(512, ge=512, le=122_880)
    #: What processors agents run on whose files name none.
    agent_architecture: Literal["x86_64", "arm64"] = "x86_64"
    #: ARNs of the roles of agents' tasks; ``atoll-<stage>-<region>-agent-execution`` and ``-agent-task`` when empty.
    agent_execution_role: str = ""
    agent_task_role: str = ""
    #: Image with ``sh``, ``curl``, ``base64``, ``mktemp`` and ``tar`` that fetches options which travel as files: for
    #: both architectures, by its digest, of a registry without limits for AWS's own networks.
    options_image: str = (
        "public.ecr.aws/docker/library/buildpack-deps:trixie-curl"
        "@sha256:04907bdd423bdac4bdf6b7ce84562eea9f75916b55be1fa279b271879f116802"
    )
    #: Whether webhooks and custom tools may call loopback and private addresses. Only the local stack allows it.
    allow_private_addresses: bool = False
    #: After how many days a session ends that names no TTL, and the longest TTL that one may name.
    session_days: int = Field(7, ge=1, le=365)
    max_session_days: int = Field(365, ge=1, le=365)
    #: How long a session may wait for its execution.
    pending_session_s: int = Field(DAY_S, ge=1)
    #: How long items outlive the longest life of their session: it bounds what a crash leaves behind.
    retention_s: int = Field(2 * DAY_S, ge=0)
    #: How large an extended end report may be; above it the base one is sent, which says where the history is.
    extended_report_bytes: int = Field(50_000_000, ge=0)
    #: How long a webhook delivery is kept.
    delivery_retention_s: int = Field(30 * DAY_S, ge=1)
    #: For how many days the history of a session is kept after its end; 0 keeps none.
    history_days: int = Field(30, ge=0, le=3_650)
    #: Pauses before the second and each further attempt of a webhook, in s; comma-separated in the environment.
    #: The default is the schedule of the Standard Webhooks spec ("Deliverability and reliability").
    webhook_retry_schedule_s: tuple[Annotated[float, Field(ge=0, le=DAY_S)], ...] = (
        5,
        5 * 60,
        30 * 60,
        2 * 3600,
        5 * 3600,
        10 * 3600,
        14 * 3600,
        20 * 3600,
        24 * 3600,
    )
    #: How long an endpoint may take no webhook before it is disabled, in s; 0 disables none.
    webhook_disable_after_s: int = Field(5 * DAY_S, ge=0)
    #: How long a socket can last, in s: API Gateway ends one after two hours (quota "Connection duration").
    longest_socket_s: int = Field(2 * 3600 + 600, ge=1)
    #: Whether the events of sessions are published on the bus, too.
    session_events: bool = False
    #: How many threads a session may have, and how many entries and bytes agents and users may put into its log. An
    #: agent that does nothing but wait makes an entry a minute, 45,000 in 30 days.
    session_threads: int = Field(1_000, ge=1)
    session_log_entries: int = Field(1_000_000, ge=1)
    session_log_bytes: int = Field(500_000_000, ge=1)
    #: How many waits of one agent may be under way.
    agent_waits: int = Field(4, ge=1, le=100)
    #: How many MCP messages a second one agent may send to one process, after a burst of twice as many; 0 is no limit.
    mcp_calls_per_s: int = Field(200, ge=0)
    #: How long a turn of an agent that runs as a function may take, in ms. `run_turn` waits for it, and the queue for
    #: that: both have a minute more than this may be at most.
    turn_limit_ms: int = Field(120_000, ge=1_000, le=240_000)
    #: Whether Coral's debug agents are in the registry, as functions of Atoll's own.
    debug_agents: bool = True
    #: Origins of web pages that may call the API (``https://console.example``), comma-separated; ``*`` is all.
    cors_origins: str = ""
    #: What one Coral is worth in US dollars: without it, agents' claims are in US dollars alone.
    coral_usd_price: Decimal | None = Field(None, ge=Decimal("0.000001"), le=1_000_000, allow_inf_nan=False)
    #: Whether agents may have calls made by ``agent-rpc/x402``: to any public address.
    x402_calls: bool = True
    #: How long a deletion or a create may wait for a namespace to go, in ms (API Gateway's limit is 29 s).
    namespace_deletion_wait_ms: int = Field(20_000, ge=0)

    @field_validator("webhook_retry_schedule_s", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _is_a_size_of_fargate(self) -> Self:
        if not self.model_fields_set & {"agent_cpu", "agent_memory_mib"}:
            return self
        # Most deployments leave both as they are, and need not load this.
        from chalicelib.wire.fargate import fits

        if not fits(self.agent_cpu, self.agent_memory_mib):
            raise ValueError(f"Fargate has no {self.agent_memory_mib} MiB for {self.agent_cpu} CPU units (agent_cpu)")
        return self

    @classmethod
    def from_environment(cls) -> Self:
        """Read the settings of this process; a value of a wrong type is a ``pydantic.ValidationError`` naming it."""
        names = {name: f"ATOLL_{name.upper()}" for name in cls.model_fields}
        return cls.model_validate({name: os.environ[key] for name, key in names.items() if key in os.environ})

    @property
    def prefix(self) -> str:
        """What the name of every resource of this deployment starts with."""
        return f"atoll-{self.stage}"

    @property
    def session_s(self) -> int:
        """After how many seconds a session ends that names no TTL."""
        return min(self.session_days, self.max_session_days) * DAY_S

    @property
    def urls(self) -> Urls | None:
        """The URLs of this stage where the settings name them; on AWS they are known only at run time."""
        endpoint = self.mcp_url or self.api_url
        return Urls(self.api_url, endpoint, models=endpoint) if self.api_url else None

    def table(self, name: str) -> str:
        """Return the full name of a table: ``sessions`` is ``atoll-dev-sessions``."""
        return f"{self.prefix}-{name}"

    @property
    def bodies_bucket(self) -> str:
        """The bucket of what is too large for items (webhook bodies, the history of sessions), and of environments."""
        return f"{self.prefix}-bodies-{self.account}-{self.region}"

    def body_arn(self, key: str) -> str:
        """Return the ARN of an object in that bucket."""
        return f"arn:{self.partition}:s3:::{self.bodies_bucket}/{key}"

    def state_machine_arn(self, name: str) -> str:
        """Return the ARN of a state machine: ``session-lifecycle`` is ``…:atoll-dev-session-lifecycle``."""
        return f"arn:{self.partition}:states:{self.region}:{self.account}:stateMachine:{self.prefix}-{name}"

    @property
    def subnet_ids(self) -> list[str]:
        """The agents' subnets."""
        return self.subnets.split(",") if self.subnets else []

    @property
    def cors_origin_list(self) -> list[str]:
        """The origins of web pages that may call the API."""
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]

    @property
    def security_group_ids(self) -> list[str]:
        """The agents' security groups."""
        return self.security_groups.split(",") if self.security_groups else []
