"""The services that reactions may use: the stores and all other AWS services, each built when it is first used."""

from functools import cached_property
from typing import TYPE_CHECKING

from chalicelib.settings import Settings
from chalicelib.stores import Stores, make_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.aws.agent_functions import AgentFunctions
    from chalicelib.aws.agent_keys import AgentKeys
    from chalicelib.aws.agent_lines import AgentLines
    from chalicelib.aws.audit_log import AuditLog
    from chalicelib.aws.bodies import Bodies
    from chalicelib.aws.bus import Bus
    from chalicelib.aws.connections import Connections
    from chalicelib.aws.dead_letters import DeadLetters
    from chalicelib.aws.http import OutgoingHttp
    from chalicelib.aws.llm_proxy_secret import LlmProxySecret
    from chalicelib.aws.machines import Machines
    from chalicelib.aws.option_keys import OptionKeys
    from chalicelib.aws.secrets import Secrets
    from chalicelib.aws.session_logs import SessionLogs
    from chalicelib.aws.stage_urls import StageUrls
    from chalicelib.aws.task_definitions import TaskDefinitions
    from chalicelib.aws.tasks import Tasks
    from chalicelib.aws.turn_queue import TurnQueue
    from chalicelib.domain.masks import Mask
    from chalicelib.models.calls import CallNumbers
    from chalicelib.store.agents import AgentRecord


class Services(Stores):
    """The stores and the services of one stage."""

    @cached_property
    def tasks(self) -> "Tasks":
        """ECS, where agents run."""
        from chalicelib.aws.tasks import Tasks

        return Tasks(self.client("ecs"), self.settings)

    @cached_property
    def task_definitions(self) -> "TaskDefinitions":
        """ECS task definitions, from which agents' tasks are made."""
        from chalicelib.aws.task_definitions import TaskDefinitions

        return TaskDefinitions(self.client("ecs"), self.settings)

    @cached_property
    def machines(self) -> "Machines":
        """Step Functions, which runs the lifecycles of sessions."""
        from chalicelib.aws.machines import Machines

        return Machines(self.client("stepfunctions"), self.settings)

    @cached_property
    def bus(self) -> "Bus":
        """EventBridge, on which Atoll publishes what happened."""
        from chalicelib.aws.bus import Bus

        return Bus(self.client("events"), self.settings)

    @cached_property
    def dead_letters(self) -> "DeadLetters":
        """The dead-letter queue (SQS), where records that cannot be processed wait for an operator."""
        from chalicelib.aws.dead_letters import DeadLetters

        return DeadLetters(self.client("sqs"), self.settings)

    @cached_property
    def turn_queue(self) -> "TurnQueue":
        """The queues (SQS) by which agents that run as functions are told that there may be something to do."""
        from chalicelib.aws.turn_queue import TurnQueue

        return TurnQueue(self.client("sqs"), self.settings, self.clock)

    @cached_property
    def agent_functions(self) -> "AgentFunctions":
        """Lambda, where the functions are that agents are."""
        from chalicelib.aws.agent_functions import CONNECT_TIMEOUT_S, LambdaFunctions

        # A client of its own, which waits as long as a turn may take, and does not ask again: that is another try.
        limit_ms = self.settings.turn_limit_ms
        client = make_client("lambda", tries=1, connect_timeout=CONNECT_TIMEOUT_S, read_timeout=limit_ms / 1000)
        return LambdaFunctions(client, limit_ms)

    @cached_property
    def agent_lines(self) -> "AgentLines":
        """CloudWatch Logs, where what is to be said of agents' turns goes."""
        from chalicelib.aws.agent_lines import CloudWatchLines

        return CloudWatchLines(self.client("logs"), self.settings, self.clock)

    @cached_property
    def audit_log(self) -> "AuditLog":
        """CloudWatch Logs, where the audit log is."""
        from chalicelib.aws.audit_log import AuditLog

        return AuditLog(self.client("logs"), self.settings)

    @cached_property
    def secrets(self) -> "Secrets":
        """Secrets Manager."""
        from chalicelib.aws.secrets import Secrets

        return Secrets(self.client("secretsmanager"), self.settings, self.clock)

    @cached_property
    def agent_keys(self) -> "AgentKeys":
        """The keys that agents' secrets are derived from, in Secrets Manager."""
        from chalicelib.aws.agent_keys import AgentKeys

        return AgentKeys(self.client("secretsmanager"), self.settings, self.clock)

    def minted(self, secret: str) -> bool:
        """Return whether an agent's secret was derived from the deployment's key, or from the one before it."""
        from chalicelib.domain import agent_secrets

        return any(agent_secrets.is_minted(secret, key) for key in self.agent_keys.candidates())

    @cached_property
    def option_keys(self) -> "OptionKeys":
        """The keys that secret option values are encrypted by, in Secrets Manager."""
        from chalicelib.aws.option_keys import OptionKeys

        return OptionKeys(self.client("secretsmanager"), self.settings, self.clock)

    def seal(self, text: str, *, session_id: str, agent: str) -> bytes:
        """Encrypt the option values of an agent by the deployment's current key."""
        from chalicelib.domain import sealing

        return sealing.seal(self.option_keys.current(), text, session_id=session_id, agent=agent)

    def opened(self, sealed: bytes, *, session_id: str, agent: str) -> str:
        """Return what `seal` encrypted for an agent by any of the deployment's keys; raise `Unreadable` otherwise."""
        from chalicelib.domain import sealing

        return sealing.opened(self.option_keys.candidates(), sealed, session_id=session_id, agent=agent)

    @cached_property
    def llm_proxy(self) -> "LlmProxySecret":
        """The configuration of the LLM proxy, providers' keys and all, in Secrets Manager."""
        from chalicelib.aws.llm_proxy_secret import LlmProxySecret

        return LlmProxySecret(self.client("secretsmanager"), self.settings, self.clock)

    @cached_property
    def model_calls(self) -> "CallNumbers":
        """How many calls of models this process has made for each agent."""
        from chalicelib.models.calls import CallNumbers

        return CallNumbers()

    @cached_property
    def stage_urls(self) -> "StageUrls":
        """Systems Manager, which keeps the stage's URLs."""
        from chalicelib.aws.stage_urls import StageUrls

        return StageUrls(self.client("ssm"), self.settings, self.clock)

    @cached_property
    def bodies(self) -> "Bodies":
        """S3, where large webhook bodies and the history of sessions are."""
        from chalicelib.aws.bodies import Bodies

        return Bodies(self.client("s3"), self.settings.bodies_bucket)

    @cached_property
    def session_logs(self) -> "SessionLogs":
        """CloudWatch Logs, where agents' output is."""
        from chalicelib.aws.session_logs import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, TRIES, CloudWatchLogs
        from chalicelib.domain import masks

        def hide(session_id: str, agent: str) -> "Callable[[str], str] | None":
            mask = masks.of_agent(self, session_id, agent)
            return mask.applied if mask else None

        # A client of its own: botocore's usual one waits for minutes, and archiving a session waits for this one.
        client = make_client("logs", tries=TRIES, connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S)
        return CloudWatchLogs(client, self.settings, self.clock, self.agents, hide)

    @cached_property
    def printing(self) -> "dict[str, tuple[AgentRecord, Mask | None]]":
        """Agents of which this process has pushed lines, by their log streams, and what hides their secrets."""
        return {}

    @cached_property
    def connections(self) -> "Connections":
        """The WebSocket connections, to which events are pushed."""
        from chalicelib.aws.connections import TIMEOUT_S, ManagedConnections

        limits = {"tries": 2, "connect_timeout": TIMEOUT_S, "read_timeout": TIMEOUT_S}
        endpoint_url = self.stage_urls.get().sockets
        client = make_client("apigatewaymanagementapi", endpoint_url=endpoint_url, **limits)
        return ManagedConnections(client, self.clock)

    @cached_property
    def http(self) -> "OutgoingHttp":
        """HTTP calls to URLs that callers named."""
        from chalicelib.aws.http import OutgoingHttp

        return OutgoingHttp(allow_private=self.settings.allow_private_addresses)


class _Process:
    """What this process serves."""

    services: Services | None = None


def current() -> Services:
    """Return the services of this process, built from its environment on first use."""
    if _Process.services is None:
        _Process.services = Services(Settings.from_environment())
    return _Process.services


def use(services: Services | None) -> None:
    """Serve others from here on; ``None`` builds new ones from the environment at the next use."""
    _Process.services = services
