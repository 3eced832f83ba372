"""One running Atoll on this machine: puts the parts together, and takes them apart again."""

import contextlib
import functools
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import boto3
from chalice import Chalice
from moto import mock_aws
from moto.core.common_models import BaseModel

from chalicelib import deployment
from chalicelib.settings import Settings
from infra.local import dynamodb, lean, shortcut  # noqa: F401
from infra.local.background import Background
from infra.local.bus import Bus
from infra.local.foreign_streams import ForeignStream
from infra.local.functions import Functions, Handler
from infra.local.gateway import Gateway
from infra.local.invocations import Invocations
from infra.local.machines import Machines
from infra.local.provision import Provision
from infra.local.shortcut import Shortcut
from infra.local.streams import Mapping as StreamMapping
from infra.local.streams import Pump
from infra.local.tables import Tables
from infra.local.tasks import Container, Task, Tasks
from infra.local.waiting import SessionWatch, Watches

log = logging.getLogger(__name__)

STAGE = "local"
ACCOUNT = "123456789012"
REGION = "us-east-1"
TEMPLATES = Path(__file__).resolve().parent.parent / "templates"

#: How often what is over is deleted, in s.
HOUSEKEEPING_S = 60.0

#: Threads for what goes on in the background: targets of rules, tasks that start.
BACKGROUND_THREADS = 16

_MOTO = {"stepfunctions": {"execute_state_machine": True}, "lambda": {"use_docker": False}}

#: The environment in which this process reaches moto and nothing else.
_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    # With account ids in host names moto does not recognize DynamoDB Streams.
    "AWS_ACCOUNT_ID_ENDPOINT_MODE": "disabled",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_XRAY_SDK_ENABLED": "false",
    "POWERTOOLS_TRACE_DISABLED": "true",
    "POWERTOOLS_METRICS_DISABLED": "true",
    "ATOLL_STAGE": STAGE,
}

#: What a person's own AWS environment must not change here.
_REMOVED = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ROLE_ARN")

Event = dict[str, Any]


class LocalDeployment(deployment.Deployment):
    """The deployment that the handlers act on: its clients are made once, and its waits end when something happens."""

    def __init__(self, settings: Settings, watches: Watches, shortcut: Shortcut) -> None:
        super().__init__(settings)
        self._watches = watches
        self._shortcut = shortcut
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def client(self, service: str) -> Any:
        """Return the boto3 client of a service; making one is not safe beside another thread, using it is."""
        with self._lock:
            if service not in self._clients:
                client = super().client(service)
                if service == "dynamodb":
                    self._watches.follow(client)
                # A service that is elsewhere is called by HTTP.
                if service in ("dynamodb", "events") and f"AWS_ENDPOINT_URL_{service.upper()}" not in os.environ:
                    self._shortcut.follow(client)
                self._clients[service] = client
            return self._clients[service]

    def watch(self, session_id: str, cares: Callable[[Event], bool] | None = None) -> SessionWatch:
        """Return a pause that ends when something is written to the session, or an event that the waiter cares for."""
        return self._watches.of(session_id, cares)


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
    atoll : chalicelib.deployment.Deployment
        What the handlers act on.
    agents : list of (str, str)
        Names and versions of the agents that were registered.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        agents: Iterable[Path | str] = (),
        api_key: str = "dev",
        webhook_secret: str | None = None,
        custom_tool_secret: str | None = None,
        settings: Mapping[str, Any] | None = None,
        app: Chalice | None = None,
        functions: Mapping[str, Handler] | None = None,
        on_event: Callable[[Event], None] | None = None,
        on_output: Callable[[str, str], None] | None = None,
    ) -> None:
        """
        Parameters
        ----------
        port
            Where to serve; 0 takes a free one.
        agents
            Folders with a ``coral-agent.toml``.
        settings
            Fields of ``Settings`` that differ from the environment's and the local stack's own.
        app
            The Chalice app to serve; ``app.app`` when not given.
        functions
            Handlers by name, above those of the app.
        on_event
            Sees each event that is put on any bus (those of ECS on the default bus too), in EventBridge's envelope.
        on_output
            Sees each line that an agent writes: its name, the line.
        """
        self._port = port
        self._host = host
        self._agent_folders = [Path(folder) for folder in agents]
        self._given_settings = dict(settings or {})
        self._app = app
        self._given_functions = dict(functions or {})
        self._on_event = on_event
        self._on_output = on_output
        self.key = api_key
        self.webhook_secret = webhook_secret or secrets.token_urlsafe(32)
        self.custom_tool_secret = custom_tool_secret or self.webhook_secret
        self.agents: list[tuple[str, str]] = []
        #: The streams' pumps, by the names of their tables.
        self.pumps: dict[str, list[Pump]] = {}
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Start everything; when this returns, requests are answered."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End every agent, every thread and the embedded AWS."""
        self._undo.close()

    def _start(self) -> None:
        undo = self._undo
        undo.enter_context(_environment())
        # The port is taken first: an agent's address must be known, and a port in use is to be said at once.
        gateway = Gateway(self._host, self._port)
        undo.callback(gateway.stop)
        self.url = f"http://{gateway.host}:{gateway.port}"
        undo.enter_context(mock_aws(config=_MOTO))
        undo.enter_context(patch("boto3.DEFAULT_SESSION", _session()))
        # moto keeps each object that it ever makes for its dashboard: every item read, for ever.
        undo.enter_context(patch.object(BaseModel, "__new__", staticmethod(lambda cls, *_, **__: object.__new__(cls))))
        undo.callback(_forget_secrets)

        self.watches = Watches()
        self._tables = Tables(ACCOUNT, REGION, self._stream)
        self.atoll = LocalDeployment(self._settings(), self.watches, Shortcut(self._tables, ACCOUNT, REGION))
        undo.callback(deployment.use, None)
        deployment.use(self.atoll)
        app = self._app or _load_app()
        self._start_services(gateway)
        self.functions.serve({**app.handler_map, **self._given_functions})
        self._provision()
        if self.key and self._app is None:
            from chalicelib.domain import api_keys

            api_keys.put(self.atoll, self.key, "local")
        for folder in self._agent_folders:
            self.register(folder)
        api_keys_table = self.atoll.settings.table("api-keys")
        gateway.serve(app, dynamodb.door(self.atoll.dynamodb, api_keys_table, self.key))

    def _start_services(self, gateway: Gateway) -> None:
        """Put what moto lacks in its place."""
        undo = self._undo
        self.functions = Functions(self.atoll.settings.prefix, f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:")
        self._background = background = Background("background", BACKGROUND_THREADS)
        machines = Machines()
        self._invocations = Invocations(background, call=self.functions.invoke, send=self._dead_letter)
        self._bus = bus = Bus(
            background,
            invoke=self._invocations.invoke,
            start_execution=self._start_execution,
            dead_letter=self._dead_letter,
            tell=self._tell,
        )
        self._tasks = tasks = Tasks(ACCOUNT, REGION, background, put_event=self._put_event, show=self._show)
        for patches in (self._tables.patches, shortcut.patches, machines.patches, bus.patches, tasks.patches):
            for part in patches():
                undo.enter_context(part)
        for part in self.functions.behind_lambda_api():
            undo.enter_context(part)
        # The other way round from here: agents end first, then whoever waits, then what reacts to them.
        undo.callback(machines.stop)
        undo.callback(background.close)
        undo.callback(self._stop_pumps)
        undo.callback(gateway.stop)
        undo.callback(self.watches.stop)
        undo.callback(tasks.stop)

    def _provision(self) -> None:
        """Make what the templates say, and play its streams and schedules."""
        provision = Provision(TEMPLATES, stage=STAGE, account=ACCOUNT, region=REGION, client=self.atoll.client)
        provision.make()
        self._set_secrets()
        self.pumps.clear()
        for table, properties in provision.mappings:
            pump = Pump(
                table,
                StreamMapping.of(properties),
                invoke=self.functions.invoke,
                give_up=functools.partial(self._give_up, properties),
            )
            self.pumps.setdefault(table, []).append(pump)
        for table in self.pumps:
            self._open_stream(table)
        for properties in provision.invoke_configs:
            self._invocations.configure(properties)
        for expression, arn, targets in provision.schedules:
            self._bus.schedule(expression, arn, targets)
        self._background.every(HOUSEKEEPING_S, self.tidy)

    def _open_stream(self, table: str) -> None:
        if "AWS_ENDPOINT_URL_DYNAMODB" not in os.environ:
            self._tables.stream(table)
            return
        arn = self.atoll.client("dynamodb").describe_table(TableName=table)["Table"]["LatestStreamArn"]
        stream = ForeignStream(table, self.atoll.client("dynamodbstreams"), arn, self._stream)
        self._undo.callback(stream.stop)

    def tidy(self) -> None:
        """Delete what has expired and forget what is over; done every minute by itself."""
        self._tables.delete_expired(time.time())
        self._tables.forget_empty_partitions()
        self._tasks.forget_old()

    def _settings(self) -> Settings:
        ours = {
            "stage": STAGE,
            "account": ACCOUNT,
            "region": REGION,
            "api_url": self.url,
            "mcp_url": self.url,
            "mcp_wait_limit_ms": 60_000,
            "allow_private_addresses": True,
        }
        values = Settings.from_environment().model_dump() | ours | self._given_settings
        return Settings.model_validate({name: value for name, value in values.items() if name in Settings.model_fields})

    def _set_secrets(self) -> None:
        client, prefix = self.atoll.client("secretsmanager"), self.atoll.settings.prefix
        current = json.dumps({"current": self.webhook_secret})
        client.put_secret_value(SecretId=f"{prefix}/webhook-secrets", SecretString=current)
        client.put_secret_value(SecretId=f"{prefix}/custom-tool-secret", SecretString=self.custom_tool_secret)

    def register(self, folder: Path | str) -> None:
        """Register the agent of a folder with a ``coral-agent.toml``.

        Raises
        ------
        chalicelib.domain.errors.AtollError, OSError
            when the file breaks a rule or cannot be read.
        """
        from chalicelib.domain.registry import register_local

        agent = register_local(self.atoll, Path(folder))
        self.agents.append((agent.name, agent.version))

    def _stream(self, table: str, record: Event) -> None:
        for pump in self.pumps.get(table, []):
            pump.put(record)

    def _stop_pumps(self) -> None:
        for pumps in self.pumps.values():
            for pump in pumps:
                pump.stop()

    def _start_execution(self, arn: str, name: str, content: str) -> None:
        self.atoll.client("stepfunctions").start_execution(stateMachineArn=arn, name=name, input=content)

    def _dead_letter(self, arn: str, text: str) -> None:
        client = self.atoll.client("sqs")
        url = client.get_queue_url(QueueName=arn.rsplit(":", 1)[-1])["QueueUrl"]
        client.send_message(QueueUrl=url, MessageBody=text)

    def _give_up(self, properties: dict[str, Any], obituary: Event) -> None:
        log.error("%s: gave up on records of %s", properties["FunctionName"], properties["EventSourceArn"])
        destination = properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        if destination:
            self._dead_letter(destination, json.dumps(obituary))

    def _put_event(self, entry: Event) -> None:
        self.atoll.client("events").put_events(Entries=[entry])

    def _tell(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event)

    def _show(self, task: Task, container: Container, line: str) -> None:
        if self._on_output is not None:
            self._on_output(container.label, line)


@contextlib.contextmanager
def _environment() -> Any:
    """Set this process's environment for moto, and restore it."""
    with patch.dict(os.environ, _ENVIRONMENT):
        for name in _REMOVED:
            os.environ.pop(name, None)
        yield


@functools.cache
def _session() -> boto3.Session:
    """Return the session of every stack in this process: it reads each service's description from disk only once."""
    return boto3.Session()


def _load_app() -> Chalice:
    from app import app

    return app


def _forget_secrets() -> None:
    """Empty Powertools' cache, which knows no end of a deployment."""
    from aws_lambda_powertools.utilities.parameters import clear_caches

    clear_caches()
