"""One running Atoll: its settings, its clock, and everything it talks to, each built when it is first used."""

from collections.abc import Callable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Protocol

from chalicelib.clock import Clock
from chalicelib.settings import Settings
from chalicelib.store.agents import Agents
from chalicelib.store.api_keys import ApiKeyRecord, ApiKeys
from chalicelib.store.log import Log
from chalicelib.store.namespaces import Namespaces
from chalicelib.store.session_items import SessionItems
from chalicelib.store.sessions import Sessions

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_dynamodb import DynamoDBClient

    from chalicelib.aws.bodies import Bodies
    from chalicelib.aws.bus import Bus
    from chalicelib.aws.dead_letters import DeadLetters
    from chalicelib.aws.http import OutgoingHttp
    from chalicelib.aws.machines import Machines
    from chalicelib.aws.secrets import Secrets
    from chalicelib.aws.stage_urls import StageUrls
    from chalicelib.aws.task_definitions import TaskDefinitions
    from chalicelib.aws.tasks import Tasks
    from chalicelib.store.claims import Claims
    from chalicelib.store.deliveries import Deliveries
    from chalicelib.store.registry import Registry
    from chalicelib.store.threads import Threads


class Watch(Protocol):
    """The pause between two polls of one session: the seam where a local stack wakes whoever waits."""

    def arm(self) -> None:
        """Say that a poll follows: what is written from here on ends the next ``wait``."""

    def wait(self, delay_s: float, remaining_s: float) -> None:
        """Pause until the next poll is worth it: ``delay_s`` where only time tells, at most ``remaining_s``."""


class TimedWatch:
    """A watch that knows only time: what AWS offers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def arm(self) -> None:
        """Nothing to do: the next poll sees whatever was written."""

    def wait(self, delay_s: float, remaining_s: float) -> None:
        """Sleep until the next poll."""
        self._clock.sleep(max(0.0, min(delay_s, remaining_s)))


class Deployment:
    """What a domain function is given to act on."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or Clock()
        #: API keys that this process has read: hash to (time read in ms, record).
        self.known_keys: dict[str, tuple[int, ApiKeyRecord]] = {}

    def client(self, service: str) -> Any:
        """Build botocore's client; a throttled call is tried again with growing pauses before it is an error.

        What botocore would do anew for each call takes a third of the call's CPU and is left out: composing its user
        agent, and checking parameters that AWS checks anyway (tests check them here too).
        """
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "total_max_attempts": 5}, user_agent="Atoll", parameter_validation=False
        )
        return _session(known=service in SERVICES).create_client(service, config=config)

    def watch(self, session_id: str, cares: Callable[[dict[str, Any]], bool] | None = None) -> Watch:
        """Return the pause between two polls of a session.

        Who polls the log alone may say which of its events are worth a poll; the pause may end for others too.
        """
        return TimedWatch(self.clock)

    @cached_property
    def dynamodb(self) -> "DynamoDBClient":
        """DynamoDB, of which the stores are made."""
        return self.client("dynamodb")  # type: ignore[no-any-return]

    @cached_property
    def sessions(self) -> Sessions:
        """Session records."""
        return Sessions(self.dynamodb, self.settings.table("sessions"), self.clock)

    @cached_property
    def namespaces(self) -> Namespaces:
        """Namespaces."""
        return Namespaces(self.dynamodb, self.settings.table("namespaces"), self.clock)

    @cached_property
    def api_keys(self) -> ApiKeys:
        """API keys."""
        return ApiKeys(self.dynamodb, self.settings.table("api-keys"), self.clock)

    @cached_property
    def agents(self) -> Agents:
        """Agents and their options."""
        return Agents(self.dynamodb, self.settings.table("session-items"), self.clock)

    @cached_property
    def session_items(self) -> SessionItems:
        """All items of a session, whatever they are."""
        return SessionItems(self.dynamodb, self.settings.table("session-items"), self.clock)

    @cached_property
    def log(self) -> Log:
        """Session logs."""
        return Log(self.dynamodb, self.settings.table("session-items"), self.clock)

    @cached_property
    def claims(self) -> "Claims":
        """Idempotency keys of session creations."""
        from chalicelib.store.claims import Claims

        return Claims(self.dynamodb, self.settings.table("session-items"), self.clock)

    @cached_property
    def threads(self) -> "Threads":
        """Threads."""
        from chalicelib.store.threads import Threads

        return Threads(self.dynamodb, self.settings.table("session-items"), self.clock)

    @cached_property
    def registry(self) -> "Registry":
        """Registry agents."""
        from chalicelib.store.registry import Registry

        return Registry(self.dynamodb, self.settings.table("registry"), self.clock)

    @cached_property
    def deliveries(self) -> "Deliveries":
        """Webhook deliveries."""
        from chalicelib.store.deliveries import Deliveries

        return Deliveries(self.dynamodb, self.settings.table("deliveries"), self.clock)

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
        """Step Functions, which keeps the time of sessions."""
        from chalicelib.aws.machines import Machines

        return Machines(self.client("stepfunctions"), self.settings)

    @cached_property
    def bus(self) -> "Bus":
        """EventBridge, where Atoll tells what happened."""
        from chalicelib.aws.bus import Bus

        return Bus(self.client("events"), self.settings)

    @cached_property
    def dead_letters(self) -> "DeadLetters":
        """SQS, where what cannot be processed is laid aside."""
        from chalicelib.aws.dead_letters import DeadLetters

        return DeadLetters(self.client("sqs"), self.settings)

    @cached_property
    def secrets(self) -> "Secrets":
        """Secrets Manager."""
        from chalicelib.aws.secrets import Secrets

        return Secrets(self.settings)

    @cached_property
    def stage_urls(self) -> "StageUrls":
        """Systems Manager, which keeps the stage's URLs."""
        from chalicelib.aws.stage_urls import StageUrls

        return StageUrls(self.client("ssm"), self.settings, self.clock)

    @cached_property
    def bodies(self) -> "Bodies":
        """S3, where large webhook bodies are."""
        from chalicelib.aws.bodies import Bodies

        return Bodies(self.client("s3"), self.settings.bodies_bucket)

    @cached_property
    def http(self) -> "OutgoingHttp":
        """Calls to addresses that callers named."""
        from chalicelib.aws.http import OutgoingHttp

        return OutgoingHttp(allow_private=self.settings.allow_private_addresses)


#: The services that Atoll calls.
SERVICES = ("dynamodb", "ecs", "events", "s3", "secretsmanager", "ssm", "stepfunctions")


@cache
def _session(*, known: bool) -> "Session":
    """Return botocore's session, which reads each service's description only once.

    Not boto3's: it adds nothing to the clients, and 50 ms to a cold start. For the services that are known, it does not
    look either which 400 there are; that is another 15 ms.
    """
    from botocore.loaders import Loader
    from botocore.session import get_session

    class KnownServices(Loader):
        def list_available_services(self, type_name: str) -> list[str]:
            return list(SERVICES)

    session = get_session()
    if known:
        session.register_component("data_loader", KnownServices())
    return session


class _Process:
    """What this process serves."""

    deployment: Deployment | None = None


def current() -> Deployment:
    """Return the deployment that this process serves, built from its environment on first use."""
    if _Process.deployment is None:
        _Process.deployment = Deployment(Settings.from_environment())
    return _Process.deployment


def use(deployment: Deployment | None) -> None:
    """Serve another deployment from here on; ``None`` builds one from the environment at the next use."""
    _Process.deployment = deployment
