"""One running Atoll on this machine: puts the parts together, and takes them apart again."""

import contextlib
import functools
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from chalice.app import Chalice

from chalicelib.services import use
from chalicelib.settings import DAY_S, Settings
from chalicelib.wire.llm_proxy import LlmProxyConfig
from chalicelib.wire.threads import MAX_WAIT_MS
from infra.local import recovery
from infra.local.api_gateway import Gateway
from infra.local.api_gateway.console_folder import ConsoleFolder
from infra.local.api_gateway.hosts import is_loopback
from infra.local.api_gateway.models import ModelsUrl
from infra.local.api_gateway.sockets import Sockets
from infra.local.aws import Aws
from infra.local.cloudformation.provision import Provision
from infra.local.data import Data
from infra.local.dynamodb import keys
from infra.local.dynamodb.streams import Pump
from infra.local.environment import ACCOUNT, REGION, STAGE, local_environment
from infra.local.functions.functions import Functions, Handler
from infra.local.logs.output import AgentOutput
from infra.local.logs.pushes import LogPushes
from infra.local.logs.records import session_lines
from infra.local.logs.ring import Ring
from infra.local.services import LocalServices
from infra.local.step_functions.service import StepFunctions
from infra.local.waiting import Watches

if TYPE_CHECKING:
    from infra.local.agent_folders import AgentFolders

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"

#: Coral's sockets. One function reads what the path says.
EVENT_SOCKETS = (
    "/ws/v1/events/{token}/session/{namespace}/{session}",
    "/ws/v1/events/session/{namespace}/{session}",
    "/ws/v1/events/{token}/lsm",
    "/ws/v1/events/lsm",
)
LOG_SOCKETS = ("/ws/v1/logs/{token}", "/ws/v1/logs")

#: The key of a stack that is given none.
WELL_KNOWN_KEY = "dev"

#: Secrets from which what is in the data was made.
KEYS = ("agent-key", "option-key")

Event = dict[str, Any]


class LocalStack:
    """Atoll and its AWS, from ``start`` to ``stop`` or as a context manager. One at a time in a process.

    Attributes
    ----------
    url : str
        Where the API is served, without a slash at the end.
    key : str
        An API key for everything.
    webhook_secret : str
        What end reports are signed with.
    custom_tool_secret : str
        What calls of custom tools are signed with.
    services : infra.local.services.LocalServices
        The services of the handlers.
    ring : infra.local.logs.ring.Ring
        The latest lines of agents and sessions, to be read and followed.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        agents: Iterable[Path | str] = (),
        agent_patterns: Iterable[str] = (),
        api_key: str = WELL_KNOWN_KEY,
        webhook_secret: str | None = None,
        custom_tool_secret: str | None = None,
        settings: Mapping[str, Any] | None = None,
        app: Chalice | None = None,
        functions: Mapping[str, Handler] | None = None,
        on_event: Callable[[Event], None] | None = None,
        on_output: Callable[[str, str], None] | None = None,
        on_notice: Callable[[str, bool], None] | None = None,
        labelled: Callable[[str, str], str] | None = None,
        data: Path | None = None,
        console: ConsoleFolder | None = None,
        llm_proxy: LlmProxyConfig | None = None,
    ) -> None:
        """
        Parameters
        ----------
        port
            Where to serve; 0 takes a free one.
        host
            The address to serve at. Only on this machine's own is the key ``dev`` taken: everybody knows it.
        agents
            Folders with a ``coral-agent.toml``.
        agent_patterns
            Patterns of folders that are watched: agents are registered, changed and removed as their files are.
        settings
            Fields of ``Settings`` that differ from the environment's and the local stack's own.
        app
            The Chalice app to serve; ``app.app`` by default.
        functions
            Handlers by name, above those of the app.
        on_event
            Sees each event that is put on any bus (those of ECS on the default bus too), in EventBridge's envelope.
        on_output
            Sees each line that an agent writes, with its secrets hidden: its name, the line.
        on_notice
            Sees what is to be told of the agents in watched folders: a line, and whether it is of a fault.
        labelled
            Makes the name that ``on_output`` sees out of the agent's and the id of its session; the agent's by default.
        data
            The folder in which everything outlives this process; without one all is forgotten.
        console
            A console that is served in the place of Atoll's own.
        llm_proxy
            The models that agents may use; none by default.
        """
        if api_key == WELL_KNOWN_KEY and not is_loopback(host):
            raise ValueError(f"the key {api_key!r} is known to everybody: at {host!r} the stack needs another")
        self._port = port
        self._host = host
        self._agents = [Path(folder) for folder in agents]
        self._agent_patterns = list(agent_patterns)
        self._given_settings = dict(settings or {})
        self._app = app
        self._given_functions = dict(functions or {})
        self._on_event = on_event
        self._on_output = on_output
        self._on_notice = on_notice
        self._labelled = labelled
        self._folder = data
        self._data: Data | None = None
        self._console = console
        self._llm_proxy = llm_proxy or LlmProxyConfig()
        self.key = api_key
        self.webhook_secret = webhook_secret or ""
        self.custom_tool_secret = custom_tool_secret or ""
        self._registered: list[tuple[str, str]] = []
        self._agent_folders: AgentFolders | None = None
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Start everything; when this returns, requests are answered.

        Raises
        ------
        OSError
            when the port is in use.
        infra.local.data.DataUnusable
            when the folder of the data is.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End every agent, every thread and the embedded AWS."""
        self._undo.close()

    def close_sessions(self, within_s: float) -> None:
        """Close what runs, and wait until each session has reported once; what takes longer is left as it is."""
        recovery.close_sessions(self.services, within_s)

    @property
    def agents(self) -> list[tuple[str, str]]:
        """Names and versions of the agents that were registered from folders."""
        return [*self._registered, *(self._agent_folders.agents if self._agent_folders else ())]

    @property
    def machines(self) -> StepFunctions:
        """The state machines."""
        return self._aws.machines

    @property
    def functions(self) -> Functions:
        """The functions, by their names."""
        return self._aws.functions

    @property
    def pumps(self) -> dict[str, list[Pump]]:
        """The streams' pumps, by the names of their tables."""
        return self._aws.pumps

    def tidy(self) -> None:
        """Delete what has expired and forget what is over; done every minute by itself."""
        self._aws.tidy()

    def _start(self) -> None:
        undo = self._undo
        undo.enter_context(local_environment())
        # The port is taken first: an agent's address must be known, and a port in use is to be said at once.
        gateway = Gateway(self._host, self._port)
        undo.callback(gateway.stop)
        if self._folder is not None:
            self._data = Data(self._folder)
            undo.callback(self._data.close)
        self._choose_secrets()
        self.url = f"http://{gateway.host}:{gateway.port}"

        self.watches = Watches()
        self.ring = Ring()
        undo.enter_context(session_lines(self.ring))
        settings = self._settings()
        output = AgentOutput(self.ring, lambda: self.services, self._on_output or _ignore, self._labelled)
        self._aws = Aws(
            settings.prefix,
            lambda service: self.services.client(service),  # noqa: PLW0108, it is not set yet
            on_event=self._on_event or _ignore,
            output=output,
            data=self._data,
        )
        sockets = Sockets(functools.partial(self.functions.invoke, f"{settings.prefix}-sockets"))
        undo.callback(sockets.stop)
        self.services = LocalServices(
            settings, self.watches, self._follow, sockets=sockets, ring=self.ring, output=output
        )
        # Stopping goes the other way round: agents first, then waiting requests, then what reacts to them.
        undo.callback(self._aws.stop)
        undo.callback(gateway.stop)
        undo.callback(self.watches.stop)
        undo.callback(self.ring.close)
        undo.callback(self._aws.stop_tasks)
        undo.callback(self.services.close)
        self._aws.start()
        undo.callback(use, None)
        use(self.services)

        app = self._app or _load_app()
        self.functions.serve({**app.handler_map, **self._given_functions})
        self._aws.provide(
            Provision(
                TEMPLATES,
                stage=STAGE,
                account=ACCOUNT,
                region=REGION,
                client=self.services.client,
                parameters={"HistoryDays": str(settings.history_days)},
            )
        )
        self._set_secrets()
        if self._data is not None:
            recovery.recover(self.services)
            recovery.replace_key(self.services, self._data, self.key)
        if self.key and self._app is None:
            from chalicelib.domain import api_keys

            api_keys.put(self.services, self.key, "local")
        self._aws.go_on()
        # Before anything is answered: the first request may ask for any of these agents.
        for folder in self._agents:
            self.register(folder)
        if self._agent_patterns:
            self._follow_agent_folders()
        api_keys_table = self.services.settings.table("api-keys")
        gateway.serve(
            app,
            keys.endpoint(self.services.dynamodb, api_keys_table, self.key),
            sockets=dict.fromkeys(EVENT_SOCKETS, sockets.serve)
            | dict.fromkeys(
                LOG_SOCKETS, functools.partial(sockets.serve, connected=LogPushes(self.services).connected)
            ),
            console=self._console,
            models=ModelsUrl(self.services),
        )

    def _follow_agent_folders(self) -> None:
        # Tests and the demo have no use for it, and do without the import.
        from infra.local.agent_folders import AgentFolders

        self._agent_folders = AgentFolders(self.services, self._agent_patterns, self._on_notice or _ignore, self._data)
        self._agent_folders.scan()
        self._undo.callback(self._agent_folders.stop)
        self._agent_folders.start()

    def _follow(self, service: str, client: Any) -> None:
        if service == "dynamodb":
            self.watches.follow(client)
        self._aws.follow(service, client)

    def _settings(self) -> Settings:
        ours = {
            "stage": STAGE,
            "account": ACCOUNT,
            "region": REGION,
            "api_url": self.url,
            "mcp_url": self.url,
            "mcp_wait_limit_ms": MAX_WAIT_MS,
            "longest_socket_s": 365 * DAY_S,  # a follower that goes is forgotten at the next push
            "allow_private_addresses": True,
        }
        values = Settings.from_environment().model_dump() | ours | self._given_settings
        return Settings.model_validate({name: value for name, value in values.items() if name in Settings.model_fields})

    def _choose_secrets(self) -> None:
        """Take those of the first run, where none are given: receivers know them, and agents' secrets derive of one."""
        self.webhook_secret = self.webhook_secret or self._first("webhook-secret", secrets.token_urlsafe(32))
        self.custom_tool_secret = self.custom_tool_secret or self._first("tool-secret", secrets.token_urlsafe(32))

    def _first(self, name: str, made: str) -> str:
        """Return what the data remembers under a name; without any, what was made now."""
        return recovery.remembered(self._data, name, made) if self._data else made

    def _set_secrets(self) -> None:
        from chalicelib.reactions import signatures

        client, prefix = self.services.client("secretsmanager"), self.services.settings.prefix
        key = self._first("signing-key", signatures.key_from(secrets.token_bytes(32)))
        self.services.webhooks.publish_keys([signatures.public_key_of(key)])
        signing = json.dumps({"current": self.webhook_secret, "signingKey": key})
        client.put_secret_value(SecretId=f"{prefix}/webhook-secrets", SecretString=signing)
        client.put_secret_value(SecretId=f"{prefix}/custom-tool-secret", SecretString=self.custom_tool_secret)
        self.services.llm_proxy.write(self._llm_proxy)
        self.services.model_offers.replace(self._llm_proxy.offers)
        if self._data is None:
            return
        for name in KEYS:
            made = client.get_secret_value(SecretId=f"{prefix}/{name}")["SecretString"]
            kept = recovery.remembered(self._data, name, made)
            client.put_secret_value(SecretId=f"{prefix}/{name}", SecretString=kept)

    def register(self, folder: Path | str) -> None:
        """Register the agent of a folder with a ``coral-agent.toml``.

        Raises
        ------
        chalicelib.domain.errors.AtollError, OSError
            when the file breaks a rule or cannot be read.
        """
        from chalicelib.domain.registry import register_local

        agent = register_local(self.services, Path(folder))
        self._registered.append((agent.name, agent.version))


def _ignore(*_: object) -> None:
    """Take an event or a line and do nothing."""


def _load_app() -> Chalice:
    from app import app

    # Chalice writes its lines straight into the output of the process, where a full pipe would hold up requests.
    app.log.handlers.clear()
    return app
