"""All that a request may use: the tables, the clock, the settings, each built when it is first used.

Code that answers a request makes no AWS call but DynamoDB's (docs/architecture.md, "Layers"), and what `Stores.minted`
and `Stores.seal` need: the deployment's keys, once in a process, or in an hour of it. `Stores` has no other service, so
mypy refuses one in `domain`, `api` and `mcp`; reactions take `Services`, which adds them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Protocol

from chalicelib.clock import Clock
from chalicelib.settings import Settings
from chalicelib.store.agents import Agents
from chalicelib.store.api_keys import ApiKeyRecord, ApiKeys, Limits
from chalicelib.store.log import Log, Room
from chalicelib.store.namespaces import Namespaces
from chalicelib.store.reads import Reads
from chalicelib.store.session_items import SessionItems
from chalicelib.store.sessions import Sessions
from chalicelib.store.table import Table

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_dynamodb import DynamoDBClient

    from chalicelib.store.budgets import Budgets
    from chalicelib.store.claims import Claims
    from chalicelib.store.deliveries import Deliveries
    from chalicelib.store.followers import Followers, SessionFollowers
    from chalicelib.store.history import Archives, History
    from chalicelib.store.message_counts import MessageCounts
    from chalicelib.store.model_offers import ModelOffers
    from chalicelib.store.registry import Registry
    from chalicelib.store.sign_ins import SignIns
    from chalicelib.store.threads import Threads
    from chalicelib.store.token_counts import TokenCounts
    from chalicelib.store.turns import Turns
    from chalicelib.store.usage import Usages
    from chalicelib.store.webhooks import Webhooks


#: Pauses between two looks of who waits: a message usually comes soon, and an idle wait of 25 s makes at most 70 calls.
FIRST_PAUSE_S = 0.05
PAUSE_GROWTH = 1.25
LONGEST_PAUSE_S = 0.45


class Watch(Protocol):
    """The pause between two polls of one session. The local stack has one that ends when something is written."""

    def arm(self) -> None:
        """Say that a poll follows: what is written from here on ends the next ``wait``."""

    def wait(self, delay_s: float, remaining_s: float) -> None:
        """Pause until the next poll is worth it: ``delay_s`` where only time can say, at most ``remaining_s``."""


class TimedWatch:
    """A watch that knows only time: what AWS offers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def arm(self) -> None:
        """Nothing to do: the next poll sees whatever was written."""

    def wait(self, delay_s: float, remaining_s: float) -> None:
        """Sleep until the next poll."""
        self._clock.sleep(max(0.0, min(delay_s, remaining_s)))


class Stores(ABC):
    """The tables of one stage, with its clock and its settings."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or Clock()
        #: API keys that this process has read: hash to (time read in ms, record).
        self.known_keys: dict[str, tuple[int, ApiKeyRecord]] = {}
        #: Hashes of keys and sign-ins that were not valid when this process looked, and when that was (epoch ms).
        self.wrong_keys: dict[str, int] = {}
        #: Quotas of namespaces as they were read with the last key.
        self.namespace_limits: Mapping[str, Limits] = {}
        #: Until when (epoch ms) this process need not ask whether a rate is kept: it is not.
        self.refused_until_ms: dict[str, int] = {}

    def client(self, service: str) -> Any:
        """Build botocore's client; a throttled call is tried again with growing pauses before it is an error."""
        return make_client(service)

    @abstractmethod
    def minted(self, secret: str) -> bool:
        """Return whether an agent's secret was made by this deployment, which only its key can tell."""

    @abstractmethod
    def seal(self, text: str, *, session_id: str, agent: str) -> bytes:
        """Encrypt the option values of an agent by the deployment's key."""

    @abstractmethod
    def opened(self, sealed: bytes, *, session_id: str, agent: str) -> str:
        """Return what `seal` encrypted for an agent; raise `Unreadable` for anything else."""

    def watch(self, session_id: str, cares: Callable[[dict[str, Any]], bool] | None = None) -> Watch:
        """Return the pause between two polls of a session.

        ``cares`` filters which events of the log are worth a poll; the pause may end for others too.
        """
        return TimedWatch(self.clock)

    def looks(
        self, session_id: str, end_ms: int, cares: Callable[[dict[str, Any]], bool] | None = None
    ) -> Iterator[None]:
        """Yield once for each poll of a session by a waiter, until a time (epoch ms); the last poll is at that time."""
        watch = self.watch(session_id, cares)
        pause_s = FIRST_PAUSE_S
        while True:
            watch.arm()
            yield
            left_ms = end_ms - self.clock.now_ms()
            if left_ms <= 0:
                return
            watch.wait(pause_s, left_ms / 1000)
            pause_s = min(pause_s * PAUSE_GROWTH, LONGEST_PAUSE_S)

    @cached_property
    def dynamodb(self) -> "DynamoDBClient":
        """DynamoDB, of which the stores are made."""
        return self.client("dynamodb")  # type: ignore[no-any-return]

    def table(self, name: str) -> Table:
        """Return one table of the stage by the last part of its name."""
        return Table(self.dynamodb, self.settings.table(name), self.clock)

    @cached_property
    def sessions(self) -> Sessions:
        """Session records."""
        return Sessions(self.table("sessions"))

    @cached_property
    def namespaces(self) -> Namespaces:
        """Namespaces."""
        return Namespaces(self.table("namespaces"), self.sessions)

    @cached_property
    def api_keys(self) -> ApiKeys:
        """API keys."""
        return ApiKeys(self.table("api-keys"))

    @cached_property
    def sign_ins(self) -> "SignIns":
        """Sign-ins of browsers."""
        from chalicelib.store.sign_ins import SignIns

        return SignIns(self.table("api-keys"))

    @cached_property
    def usages(self) -> "Usages":
        """What keys and namespaces have taken of their quotas."""
        from chalicelib.store.usage import Usages

        return Usages(self.table("api-keys"))

    @cached_property
    def agents(self) -> Agents:
        """Agents and their options."""
        return Agents(self.table("session-items"))

    @cached_property
    def session_items(self) -> SessionItems:
        """All items of a session, whatever they are."""
        return SessionItems(self.table("session-items"))

    @cached_property
    def log(self) -> Log:
        """Session logs."""
        limits = self.settings
        room = Room(limits.session_log_entries, limits.session_log_bytes, limits.session_threads)
        return Log(self.table("session-items"), room)

    @cached_property
    def message_counts(self) -> "MessageCounts":
        """How many messages threads have."""
        from chalicelib.store.message_counts import MessageCounts

        return MessageCounts(self.table("session-items"))

    @cached_property
    def token_counts(self) -> "TokenCounts":
        """How many tokens agents took of their models."""
        from chalicelib.store.token_counts import TokenCounts

        return TokenCounts(self.table("session-items"))

    @cached_property
    def claims(self) -> "Claims":
        """Idempotency keys of session creations."""
        from chalicelib.store.claims import Claims

        return Claims(self.table("session-items"), self.sessions)

    @cached_property
    def budgets(self) -> "Budgets":
        """What sessions and their agents may spend."""
        from chalicelib.store.budgets import Budgets

        return Budgets(self.table("session-items"))

    @cached_property
    def threads(self) -> "Threads":
        """Threads."""
        from chalicelib.store.threads import Threads

        return Threads(self.table("session-items"))

    @cached_property
    def turns(self) -> "Turns":
        """The turns of agents that run as functions."""
        from chalicelib.store.turns import Turns

        return Turns(self.table("session-items"))

    @cached_property
    def session_followers(self) -> "SessionFollowers":
        """The followers of sessions."""
        from chalicelib.store.followers import SessionFollowers

        return SessionFollowers(self.table("session-items"))

    @cached_property
    def followers(self) -> "Followers":
        """The followers of other topics."""
        from chalicelib.store.followers import Followers

        return Followers(self.table("followers"))

    @cached_property
    def registry(self) -> "Registry":
        """Registry agents."""
        from chalicelib.store.registry import Registry

        return Registry(self.table("registry"))

    @cached_property
    def model_offers(self) -> "ModelOffers":
        """Which models can be had."""
        from chalicelib.store.model_offers import ModelOffers

        return ModelOffers(self.table("api-keys"))

    @cached_property
    def deliveries(self) -> "Deliveries":
        """Webhook deliveries."""
        from chalicelib.store.deliveries import Deliveries

        return Deliveries(self.table("deliveries"))

    @cached_property
    def webhooks(self) -> "Webhooks":
        """Endpoints of webhooks that fail, and public keys."""
        from chalicelib.store.webhooks import Webhooks

        return Webhooks(self.table("webhooks"))

    @cached_property
    def history(self) -> "History":
        """Sessions that have ended."""
        from chalicelib.store.history import History

        return History(self.table("history"), self.sessions)

    @cached_property
    def archives(self) -> "Archives":
        """How far the archiving of a session has come."""
        from chalicelib.store.history import Archives

        return Archives(self.table("session-items"))

    @cached_property
    def reads(self) -> Reads:
        """Joint reads: items of several tables in one call."""
        return Reads(self.dynamodb, self.clock, self.settings.table)


#: The services that Atoll calls.
SERVICES = (
    "apigatewaymanagementapi",
    "dynamodb",
    "ecs",
    "events",
    "lambda",
    "logs",
    "s3",
    "secretsmanager",
    "sqs",
    "ssm",
    "stepfunctions",
)


def make_client(service: str, *, endpoint_url: str | None = None, tries: int = 5, **options: Any) -> Any:
    """Build botocore's client of a service, at its usual endpoint unless another is named.

    ``options`` are botocore's. What it would do anew for each call takes a third of the call's CPU and is left out:
    composing its user agent, and checking parameters that AWS checks anyway (tests check them here too).
    """
    from botocore.config import Config

    config = Config(
        retries={"mode": "standard", "total_max_attempts": tries},
        user_agent="Atoll",
        parameter_validation=False,
        **options,
    )
    where: dict[str, Any] = {"endpoint_url": endpoint_url} if endpoint_url else {}
    return _session(known=service in SERVICES).create_client(service, config=config, **where)


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


def current() -> Stores:
    """Return the stores of this process, built from its environment on first use."""
    # Not at the top: a process has one object, a `Services`, which requests get typed as `Stores`.
    from chalicelib import services

    return services.current()
