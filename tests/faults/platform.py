"""AWS around the app's real handlers, in one thread and on a clock that only moves when nothing is left to do now.

Step Functions, ECS, EventBridge and Lambda's asynchronous calls are the engines of the local stack, DynamoDB is moto's
with the local stack's streams; rules, mappings and machines are those of ``infra/``. Each AWS call of a handler is
counted and can be made to fail (`Fault`); what fails is then retried or redelivered as AWS does it.
"""

import contextlib
import dataclasses
import functools
import heapq
import io
import itertools
import json
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import botocore.client
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError
from botocore.validate import ParamValidator
from chalice.config import Config
from chalice.local import LocalGateway, LocalGatewayException
from moto import mock_aws
from moto.dynamodb.models import dynamodb_backends
from moto.logs.models import logs_backends
from moto.s3.models import s3_backends

from chalicelib.aws.agent_functions import LambdaFunctions
from chalicelib.aws.connections import Frames
from chalicelib.aws.http import Answer
from chalicelib.aws.tasks import log_stream
from chalicelib.clock import Clock
from chalicelib.domain import actors, budgets
from chalicelib.domain.errors import BudgetReached
from chalicelib.mcp import busy
from chalicelib.services import Services, use
from chalicelib.settings import Settings
from infra.local.background import Background
from infra.local.cloudformation.provision import Provision
from infra.local.dynamodb import shortcut
from infra.local.dynamodb.shortcut import Shortcut
from infra.local.dynamodb.streams import Mapping
from infra.local.dynamodb.tables import Tables
from infra.local.ecs import tasks
from infra.local.ecs.definitions import MotoDefinitions
from infra.local.environment import ACCOUNT, REGION
from infra.local.event_bridge import bus
from infra.local.event_bridge.bus import EventBridge
from infra.local.event_bridge.rules import Rules
from infra.local.functions.functions import Context, FunctionError
from infra.local.functions.invocations import Invocations
from infra.local.in_process import InProcess
from infra.local.sqs import queues
from infra.local.sqs.queues import QueueMapping, Queues
from infra.local.step_functions import service as step_functions
from infra.local.step_functions.execution import Execution
from infra.local.step_functions.service import StepFunctions
from tests.faults.services import Ecs, Timer, WorldScheduler, refused, variables
from tests.offline_models import Answers, Asked

TEMPLATES = Path(__file__).parents[2] / "infra/templates"
KEY = "dev"
#: Where every world begins.
START_MS = 1_800_000_000_000
#: How long one AWS call takes.
CALL_MS = 2
#: How long a record of a stream is under way, and an event.
STREAM_MS = 20
EVENT_MS = 20

_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    "AWS_ACCOUNT_ID_ENDPOINT_MODE": "disabled",
    "AWS_EC2_METADATA_DISABLED": "true",
    "POWERTOOLS_METRICS_DISABLED": "true",
    "POWERTOOLS_TRACE_DISABLED": "true",
    "POWERTOOLS_LOG_LEVEL": "CRITICAL",
    "ATOLL_STAGE": "local",
}

_READS = {"GetItem", "BatchGetItem", "Query", "Scan", "GetSecretValue", "GetObject"}
_READS |= {"ListTasks", "DescribeTasks", "DescribeExecution", "ListExecutions"}


class Died(BaseException):
    """The process of a function ended in the middle of it. Nothing in the handler may catch this."""


class HandlerFault(BaseException):
    """A handler did what AWS would have refused; the message says what."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """What goes wrong at the n-th AWS call."""

    number: int
    kind: str

    #: What each kind means.
    KINDS: ClassVar = {
        "refused": "AWS answers the call with an error, and nothing happened",
        "died before": "the process dies before the call",
        "died after": "the process dies after the call",
        "answer lost": "the call happens, and its answer does not arrive",
        "asked twice": "the call happens, its answer is lost, and the SDK asks again",
    }

    @staticmethod
    def differs(kind: str, call: "Call", before: "Call | None") -> bool:
        """Return whether this kind at a call can have other consequences than what is tried at the call before it.

        What happens after a call that only reads happens before the next one; and to die before a call is to have died
        after the one before it.
        """
        if kind == "refused":
            return True
        if kind == "died before":
            return before is None or before.invocation != call.invocation
        return not call.reads


@dataclasses.dataclass(frozen=True)
class Call:
    """One AWS call of a handler."""

    function: str
    operation: str
    invocation: int
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict, compare=False)

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.operation in _READS


class WorldClock(Clock):
    """The clock of a world. A handler that sleeps lets the world go on meanwhile."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def now_ms(self) -> int:
        return self._world.now_ms

    def sleep(self, seconds: float) -> None:
        self._world.sleep(seconds)


class Receiver:
    """A receiver of webhooks that keeps every body and answers with the status that a test sets (200 by default)."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.received: list[tuple[str, bytes]] = []
        self.statuses: deque[int] = deque()

    def post(self, url: str, body: bytes, headers: Any, *, timeout_s: float, max_answer_bytes: int) -> Answer:
        def take() -> Answer:
            self.received.append((headers["webhook-id"], bytes(body)))
            return Answer(self.statuses.popleft() if self.statuses else 200, {}, b"")

        return self._world.call("PostWebhook", take)  # type: ignore[no-any-return]

    def open(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | memoryview | None = None,
        **_: Any,
    ) -> "ModelSays":
        """Ask the model of the world; beside webhooks nothing else is called."""
        asked = Asked(method, url, list(headers), bytes(body or b""))
        said = self._world.call("AskModel", lambda: self._world.outside(lambda: self._world.model(asked)))
        return ModelSays(said)


class ModelSays:
    """A provider's answer as `chalicelib.aws.http.Incoming` has it, there as a whole."""

    def __init__(self, said: Answers) -> None:
        self.status = said.status
        self.headers = list(said.headers.items())
        self._body = said.body

    def pieces(self, _: int) -> Iterator[bytes]:
        """Yield the body."""
        yield self._body

    def close(self) -> None:
        """Be at its end."""


class Sockets:
    """The WebSocket connections: what each was sent. One that is not here is gone."""

    largest_frame = 128 * 1024

    def __init__(self, world: "World") -> None:
        self._world = world
        self.sent: dict[str, list[str]] = {}
        self.sent_until_lost: dict[str, list[str]] = {}
        self.closed: list[str] = []

    def push(self, frames: Frames) -> set[str]:
        lost = set()
        for connection_id, wanted in frames.items():
            try:
                for frame in wanted:
                    self._world.call("PostToConnection", functools.partial(self._take, connection_id, frame))
            except (ClientError, BotoCoreError):
                self.sent_until_lost[connection_id] = self.sent.pop(connection_id)
            if connection_id not in self.sent:
                lost.add(connection_id)
        return lost

    def _take(self, connection_id: str, frame: str) -> None:
        if connection_id in self.sent:
            self.sent[connection_id].append(frame)

    def close(self, connection_ids: Iterable[str]) -> None:
        for connection_id in connection_ids:
            self._world.call("DeleteConnection", lambda: None)
            self.closed.append(connection_id)


class Secrets:
    """Secrets Manager, read anew each time."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def get(self, name: str) -> str:
        text = '{"current": "secret"}' if name == "webhook-secrets" else f"the {name} of these tests"
        return self._world.call("GetSecretValue", lambda: text)  # type: ignore[no-any-return]


class AgentKeys:
    """The key of `Secrets`, known to the process: reading it is not what a world is about."""

    def candidates(self) -> Iterator[str]:
        yield "the agent-key of these tests"


class Function:
    """The Lambda function of agents in a world: what it answers, and every turn that it was called with."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.turns: list[dict[str, Any]] = []
        #: Answers a turn; what it raises is the function's own error.
        self.answer: Callable[[dict[str, Any]], Any] = lambda _: {}

    def invoke(self, **request: Any) -> dict[str, Any]:
        """Be called, as by botocore's client."""
        return self._world.call("Invoke", functools.partial(self._answered, request))  # type: ignore[no-any-return]

    def _answered(self, request: dict[str, Any]) -> dict[str, Any]:
        turn = json.loads(request["Payload"])
        self.turns.append(turn)
        try:
            answer = self._world.outside(lambda: self.answer(turn))
        except Exception as error:
            said = {"errorType": type(error).__name__, "errorMessage": str(error)}
            return {"Payload": io.BytesIO(json.dumps(said).encode()), "FunctionError": "Unhandled"}
        payload = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return {"Payload": io.BytesIO(payload), "ExecutedVersion": "$LATEST"}


class Functions(LambdaFunctions):
    """Lambda, whatever handler an agent has on one machine."""

    def call(self, agent: Any, function: Any, version: str | None, turn: Any) -> Any:
        return super().call(agent, {"function": "coral-agent-turner"}, version, turn)


class Lines:
    """What is written into agents' logs."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, agent: Any, lines: Sequence[str], *, failed: bool = False) -> None:
        self.written += lines


class NothingPrinted:
    """The logs of agents in a scenario that is not about them: no call of CloudWatch is made, and so none fails."""

    def read(self, *_: Any) -> Iterator[Any]:
        return iter([("0", None)])

    def last(self, *_: Any) -> Callable[[Any], list[Any]]:
        return lambda _: []


class WorldServices(Services):
    """The handlers' services: clients are made once, since making one takes longer than a test."""

    def __init__(self, world: "World", emulator: "Emulator") -> None:
        settings = Settings(stage="local", api_url="http://api", allow_private_addresses=True, **emulator.settings)
        super().__init__(settings, WorldClock(world))
        self._emulator = emulator
        self.secrets = Secrets(world)  # type: ignore[assignment]
        self.agent_keys = AgentKeys()  # type: ignore[assignment]
        self.http = Receiver(world)  # type: ignore[assignment]
        self.connections = Sockets(world)
        self.session_logs = NothingPrinted()
        self.agent_functions = Functions(world.function, self.settings.turn_limit_ms)
        self.agent_lines = Lines()

    def print(self, session_id: str, **lines: str) -> None:
        """Let agents of a session print a line each, into CloudWatch, which is asked from here on."""
        logs, group = self.client("logs"), "/atoll/local/agents"
        logs.create_log_group(logGroupName=group)
        for agent in self.agents.of_session(session_id):
            made_of = agent.registry_agent_identifier
            stream = log_stream(made_of["name"], made_of["version"], agent.task_arn or "")
            logs.create_log_stream(logGroupName=group, logStreamName=stream)
            # No time of this world: CloudWatch takes no lines of a time that is still to come.
            event = {"timestamp": time.time_ns() // 1_000_000, "message": lines[agent.name]}
            logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])
        self.session_logs = Services.session_logs.func(self)  # type: ignore[attr-defined]

    def client(self, service: str) -> Any:
        return self._emulator.client(service)


class Emulator:
    """The emulated account: made once, emptied for each world."""

    def __init__(self) -> None:
        self._undo = contextlib.ExitStack()
        self._clients: dict[str, Any] = {}
        self.world: World | None = None
        self.settings: dict[str, Any] = {"namespace_deletion_wait_ms": 600}
        self.rules = Rules(lambda: self.client("events"))
        self.definitions = MotoDefinitions(lambda: self.client("ecs"))
        #: Nobody sends anything before the first world.
        self.queues = Queues(Background("unused"), invoke=lambda *_: None, send=lambda *_: None)
        #: Machines are created before the first world, which begins with them.
        self.machines = StepFunctions(ACCOUNT, REGION, Background("unused"), invoke=lambda *_: None)
        self._in_process = InProcess(
            {
                "ecs": self._operations("ecs", tasks.OPERATIONS),
                "eventbridge": self._operations("events", bus.OPERATIONS),
                "sfn": self._operations("machines", step_functions.OPERATIONS),
                "sqs": self._operations("queues", queues.OPERATIONS),
            }
        )

    def __enter__(self) -> "Emulator":
        undo = self._undo
        undo.enter_context(patch.dict(os.environ, _ENVIRONMENT))
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
            os.environ.pop(name, None)
        undo.enter_context(mock_aws())
        for part in shortcut.patches():
            undo.enter_context(part)
        undo.callback(use, None)
        # Private: every call goes through it.
        self._make_api_call = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]
        undo.enter_context(patch.object(botocore.client.BaseClient, "_make_api_call", self._intercept()))
        self.tables = Tables(ACCOUNT, REGION, self._record, lambda table, *what: self.mappings[table].wants(*what))
        for part in self.tables.patches():
            undo.enter_context(part)
        provision = Provision(TEMPLATES, stage="local", account=ACCOUNT, region=REGION, client=self.client)
        provision.make()
        self.mappings = {table: Mapping.of(properties) for table, properties in provision.mappings}
        self.invoke_configs = provision.invoke_configs
        self.queue_mappings = [QueueMapping.of(*pair) for pair in provision.queues]
        for name in ("default", "atoll-local"):  # read once, now: no call of a handler
            self.rules.targets(name, {})
        for table in self.mappings:
            self.tables.stream(table)
        from app import app

        self.app = app
        self.gateway = LocalGateway(app, Config.create(chalice_app=app, lambda_timeout=900, lambda_memory_size=512))
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def client(self, service: str) -> Any:
        """Return the boto3 client of a service."""
        if service not in self._clients:
            import boto3

            self._clients[service] = client = boto3.client(service)  # type: ignore[call-overload]  # of any service
            self._in_process.follow(client.meta.events)
            if service == "dynamodb":
                Shortcut(self.tables, ACCOUNT, REGION).follow(client)
        return self._clients[service]

    def new_world(self) -> "World":
        """Empty everything and begin anew."""
        self.world = None
        for table in dynamodb_backends[ACCOUNT][REGION].tables.values():
            table.items.clear()
        for bucket in s3_backends[ACCOUNT]["aws"].buckets.values():
            bucket.keys.clear()
        logs_backends[ACCOUNT][REGION].groups.clear()
        self.world = World(self)
        return self.world

    def _record(self, table: str, record: dict[str, Any]) -> None:
        if self.world is not None:
            self.world.streams[table].put(record)

    def _intercept(self) -> Callable[..., Any]:
        emulator = self

        def make_api_call(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
            service = client.meta.service_model.service_name
            model = client.meta.service_model.operation_model(operation)
            if service in ("ecs", "stepfunctions", "events"):
                faults = ParamValidator().validate(parameters, model.input_shape)
                if faults.has_errors():
                    raise HandlerFault(faults.generate_report())

            def perform() -> Any:
                # A copy: botocore replaces the body of an object by a file, which can be read only once.
                return emulator._make_api_call(client, operation, dict(parameters))

            return emulator.world.call(operation, perform, parameters) if emulator.world else perform()

        return make_api_call

    def _operations(self, engine: str, names: tuple[str, ...]) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        """Return the operations of an engine of the world that there is, or of those before the first."""

        def operation(name: str, request: dict[str, Any]) -> dict[str, Any]:
            there: Any = self.world or self
            return getattr(getattr(there, engine), botocore.xform_name(name))(request)  # type: ignore[no-any-return]

        return {name: functools.partial(operation, name) for name in names}


class Stream:
    """The stream of one table and its mapping to a function."""

    def __init__(self, world: "World", table: str, mapping: Mapping) -> None:
        self._world = world
        self._mapping = mapping
        self._waiting: list[dict[str, Any]] = []
        self._under_way = False
        self._failures = 0
        #: Every record that it carried, in order.
        self.carried: list[dict[str, Any]] = []
        #: Records that are not retried any more.
        self.failed: list[dict[str, Any]] = []
        #: A test may hold the stream back.
        self.held = False
        #: How long a record is under way, and whether those of a batch come the other way round, one by one.
        self.delay_ms = STREAM_MS
        self.reversed = False

    def put(self, record: dict[str, Any]) -> None:
        """Take the next record of the table."""
        self._waiting.append(record)
        self.carried.append(record)
        self.wake()

    def wake(self, delay_ms: int | None = None) -> None:
        """Carry what waits, soon."""
        delay_ms = self.delay_ms if delay_ms is None else delay_ms
        if self._waiting and not self._under_way and not self.held:
            self._under_way = True
            self._world.after(delay_ms, self._carry)

    def _carry(self) -> None:
        if self.reversed:
            self._waiting.reverse()
        batch = self._waiting[: 1 if self.reversed else self._mapping.batch_size]
        function = self._mapping.function
        try:
            answer = self._world.invoke(function, {"Records": batch})
            failed = {failure["itemIdentifier"] for failure in (answer or {}).get("batchItemFailures", [])}
        except FunctionError:
            failed = {batch[0]["dynamodb"]["SequenceNumber"]}
        numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
        first = next((index for index, number in enumerate(numbers) if number in failed), len(batch))
        self._waiting = self._waiting[first:]
        self._under_way = False
        self._failures = self._failures + 1 if first == 0 else 0
        if self._failures > self._mapping.most_retries or self._failures * 60 > self._mapping.longest_age_s:
            self.failed.append(self._waiting.pop(0))
            self._failures = 0
        if self.reversed:
            self._waiting.reverse()
        self.wake(self.delay_ms if first == len(batch) else min(60_000, 1_000 * 2 ** min(self._failures, 6)))


class World:
    """One run of Atoll from nothing, up to a fault and past it."""

    def __init__(self, emulator: Emulator) -> None:
        self.now_ms = START_MS
        self.names = 0
        self.fault: Fault | None = None
        #: Every AWS call of a handler, in order.
        self.calls: list[Call] = []
        #: Whether the scenario is at what it is about. The rest only leads there and away.
        self.in_window = True
        self._emulator = emulator
        self._due: list[tuple[int, int, Timer]] = []
        self._order = itertools.count()
        self._function: str | None = None
        self._invocations = itertools.count(1)
        self._invocation = 0
        self._dead = False
        #: Decides about each call whether and how it fails.
        self.at_call: Callable[[World], None] | None = None
        #: Each sees a call before it is made, for a test that wants something to happen just then.
        self.before_call: list[Callable[[Call], None]] = []
        #: Errors that AWS answers with, as long as the test says so.
        self.outage: Callable[[str], Exception | None] | None = None
        #: What was put on Atoll's bus: type and detail.
        self.published: list[tuple[str, dict[str, Any]]] = []
        #: Dead letters, of rules and of functions: the ARN of the queue, the message.
        self.dead_letters: list[tuple[str, Any]] = []
        self._start_services(emulator)
        self.streams = {table: Stream(self, table, mapping) for table, mapping in emulator.mappings.items()}
        #: After which times each invocation is made once more.
        self.again_after_ms: tuple[int, ...] = ()
        #: Uncaught errors of handlers: (function, error).
        self.errors: list[tuple[str, BaseException]] = []
        #: Status codes of every answer: (method, path, status, Retry-After).
        self.answers: list[tuple[str, str, int, str | None]] = []
        #: What the provider of models answers.
        self.model: Callable[[Asked], Answers] = lambda _: Answers(status=503)
        #: What agents call that run as functions.
        self.function = Function(self)
        self.services = WorldServices(self, emulator)
        self.receiver: Receiver = self.services.http  # type: ignore[assignment]
        self.sockets: Sockets = self.services.connections  # type: ignore[assignment]
        use(self.services)

    def _start_services(self, emulator: Emulator) -> None:
        scheduler = WorldScheduler(self)
        self.ecs = Ecs(self, emulator.definitions)
        # Every pause of a retrier is as long as it may be, so that one run is like the other.
        self.machines = StepFunctions(
            ACCOUNT,
            REGION,
            scheduler,
            invoke=self.invoke,
            machines=emulator.machines.machines,
            jitter=lambda: 1.0,
        )
        invocations = Invocations(scheduler, call=self.invoke, send=self._take_dead_letter)
        for properties in emulator.invoke_configs:
            invocations.configure(properties)
        self.queues = Queues(scheduler, invoke=self.invoke, send=self._take_dead_letter)
        for mapping in emulator.queue_mappings:
            self.queues.add(mapping)
        self.queues.go_on()
        self.events = EventBridge(
            ACCOUNT,
            REGION,
            scheduler,
            rules=emulator.rules,
            invoke=invocations.invoke,
            start_execution=self._start_execution,
            send_message=self._take_dead_letter,
            on_event=self._see_event,
            latency_ms=EVENT_MS,
        )

    def _start_execution(self, arn: str, name: str, content: str) -> None:
        self.machines.start_execution({"stateMachineArn": arn, "name": name, "input": content})

    def _take_dead_letter(self, arn: str, text: str) -> None:
        self.dead_letters.append((arn, json.loads(text)))

    def _see_event(self, event: dict[str, Any]) -> None:
        if event["source"] != "aws.ecs":
            self.published.append((event["detail-type"], event["detail"]))

    def executions(self, machine: str) -> list[Execution]:
        """Return the executions of a machine, by the last part of its name."""
        return [each for each in self.machines.executions.values() if each.machine_arn.endswith(machine)]

    # Time

    def at(self, time_ms: int, what: Callable[..., Any], *arguments: Any) -> Timer:
        """Do something at a time; the clock does not wait for what was cancelled."""
        timer = Timer(what, arguments)
        heapq.heappush(self._due, (time_ms, next(self._order), timer))
        return timer

    def after(self, delay_ms: int, what: Callable[..., Any], *arguments: Any) -> Timer:
        """Do something later."""
        return self.at(self.now_ms + delay_ms, what, *arguments)

    def run(self, until_ms: int | None = None) -> None:
        """Let everything happen that is due until a time, or until nothing is left to happen."""
        for _ in range(100_000):
            if not self._due or (until_ms is not None and self._due[0][0] > until_ms):
                break
            time_ms, _, timer = heapq.heappop(self._due)
            if timer.cancelled:
                continue
            self.now_ms = max(self.now_ms, time_ms)
            timer.fire()
        else:
            raise AssertionError("this world never comes to rest")
        if until_ms is not None:
            self.now_ms = max(self.now_ms, until_ms)

    def run_for(self, duration_ms: int) -> None:
        """Let everything happen that is due within a time."""
        self.run(self.now_ms + duration_ms)

    def sleep(self, seconds: float) -> None:
        """Pause a handler while the world goes on."""
        function, self._function = self._function, None
        try:
            self.run(self.now_ms + int(seconds * 1000))
        finally:
            self._function = function
            self._check_alive()

    # Calls and invocations

    def call(self, operation: str, perform: Callable[[], Any], parameters: dict[str, Any] | None = None) -> Any:
        """Make an AWS call, or let it fail as this world's fault says. What tests call themselves is not counted."""
        if self._function is None:
            return perform()
        self._check_alive()
        self.now_ms += CALL_MS
        self.calls.append(Call(self._function, operation, self._invocation, parameters or {}))
        if self.at_call is not None:
            self.at_call(self)
        for see in list(self.before_call):
            self.outside(functools.partial(see, self.calls[-1]))
        if self.outage is not None and (error := self.outage(operation)) is not None:
            raise error
        kind = self.fault.kind if self.fault and self.fault.number == len(self.calls) else ""
        if kind == "refused":
            raise refused(operation, "InternalServerError", 500)
        if kind == "died before":
            self._die()
        answer = perform()
        if kind == "died after":
            self._die()
        if kind == "answer lost":
            raise ReadTimeoutError(endpoint_url="https://aws")
        # A transaction carries a token, by which DynamoDB knows the second one for the first.
        return perform() if kind == "asked twice" and operation != "TransactWriteItems" else answer

    def outside(self, what: Callable[[], Any]) -> Any:
        """Do something in the middle of a handler's call that is not the handler's."""
        function, dead = self._function, self._dead
        self._function, self._dead = None, False
        try:
            return what()
        finally:
            self._function, self._dead = function, dead

    def _die(self) -> None:
        self._dead = True
        raise Died

    def _check_alive(self) -> None:
        if self._dead:
            raise Died

    @contextlib.contextmanager
    def _process(self, function: str) -> Iterator[None]:
        outer = self._function, self._invocation
        self._function, self._invocation = function, next(self._invocations)
        try:
            yield
        except BaseException as error:
            self.errors.append((function, error))
            if not isinstance(error, (Exception, Died)):
                raise
            kind = "Lambda.Unknown" if isinstance(error, Died) else type(error).__name__
            raise FunctionError({"errorType": kind, "errorMessage": str(error)}) from error
        finally:
            self._function, self._invocation = outer
            if self._dead:  # the next invocation has a new process
                self._dead = False
                self.services.known_keys.clear()

    def invoke(self, function: str, event: Any) -> Any:
        """Call a Lambda function as AWS does; raise `FunctionError` when it raises or its process dies."""
        name = function.rsplit(":", 1)[-1]
        handler = self._emulator.app.handler_map[name.removeprefix("atoll-local-")]
        for pause_ms in self.again_after_ms:  # what AWS delivers once more, whatever came of it
            self.after(pause_ms, lambda: self._invoke_again(name, event))
        return self._invoked(handler, name, event)

    def _invoke_again(self, name: str, event: Any) -> None:
        handler = self._emulator.app.handler_map[name.removeprefix("atoll-local-")]
        with contextlib.suppress(FunctionError):
            self._invoked(handler, name, event)

    def _invoked(self, handler: Any, name: str, event: Any) -> Any:
        with self._process(name.removeprefix("atoll-local-")):
            return json.loads(json.dumps(handler(json.loads(json.dumps(event)), Context(name, name))))

    # What a client does

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, key: str = KEY
    ) -> tuple[int, Any, dict[str, Any]]:
        """Make one HTTP request through API Gateway; return status, body and headers."""
        sent = {"content-type": "application/json", "authorization": f"Bearer {key}", **(headers or {})}
        content = json.dumps(body).encode() if body is not None else b""
        try:
            with self._process(f"{method} {path.split('/')[4] if path.count('/') > 3 else path}"):
                answer = self._emulator.gateway.handle_request(method=method, path=path, headers=sent, body=content)
            status, text, answered = answer["statusCode"], answer["body"], dict(answer["headers"])
        except FunctionError:
            status, text, answered = 502, '{"message": "Internal server error"}', {}
        except LocalGatewayException as error:
            status, text, answered = error.CODE, error.body or b"", dict(error.headers)
        self.answers.append((method, path, status, answered.get("Retry-After")))
        return status, json.loads(text) if text else None, answered

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Make a request, and again after a pause for as long as the answer is a 5xx."""
        for _ in range(8):
            status, answer, _ = self.request(method, path, body, headers)
            if status < 500:
                break
            self.run_for(1_000)
        return status, answer

    # What an agent does

    def agent_request(self, secret: str, body: Any) -> tuple[int, Any]:
        """Make one MCP request through the Function URL, and again as long as it is answered so that it is to be."""
        status, text = self._agent_request(secret, "POST", {"content-type": "application/json"}, body)
        return status, json.loads(text)

    def _agent_request(self, secret: str, method: str, headers: dict[str, str], body: Any) -> tuple[int, str]:
        event = {
            "rawPath": f"/mcp/v1/{secret}/mcp",
            "requestContext": {"http": {"method": method}},
            "headers": {"accept": "application/json, text/event-stream", **headers},
            "body": json.dumps(body),
        }
        for _ in range(8):
            try:
                answer = self.invoke("atoll-local-mcp", event)
            except FunctionError:
                answer = {"statusCode": 502, "headers": {}, "body": "{}"}
            status, retry_after = answer["statusCode"], answer["headers"].get("Retry-After")
            if busy.TEXT in answer["body"]:  # what clients outlive is a 200, and means the same
                status, retry_after = 503, retry_after or "1"
            self.answers.append(("MCP", body["params"]["name"], status, retry_after))
            if status < 500:
                break
            self.run_for(1_000)
        return status, answer["body"]

    def secret_of(self, agent: str) -> str:
        """Return the secret in the environment of an agent's latest task."""
        started = [variables(task) for task in self.ecs.tasks.values()]
        return [each["CORAL_AGENT_SECRET"] for each in started if each.get("CORAL_AGENT_ID") == agent][-1]

    def tool(self, agent: str, name: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool as an agent; return its result, with ``error`` when it was refused."""
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
        status, answer = self.agent_request(self.secret_of(agent), body)
        if status != 200:
            return {"error": answer}
        return answer["result"]["structuredContent"]  # type: ignore[no-any-return]

    def wait(self, agent: str, name: str, **arguments: Any) -> dict[str, Any]:
        """Wait as an agent whose client comes back for what was paused; return the result as `tool` does."""
        secret, client = self.secret_of(agent), {"user-agent": "node", "mcp-protocol-version": "2025-11-25"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
        _, text = self._agent_request(secret, "POST", {**client, "content-type": "application/json"}, body)
        while paused := re.match(r"id: (\S+)\nretry: (\d+)\n", text):
            self.run_for(int(paused[2]))
            _, text = self._agent_request(secret, "GET", {**client, "last-event-id": paused[1]}, body)
        found: dict[str, Any] = json.loads(text.removeprefix("event: message\ndata: "))
        return found["result"]["structuredContent"] if "result" in found else {"error": found}

    def model_call(self, agent: str, most: int, spent: int | None) -> bool:
        """Call a model as an agent, and again as another call when that fails; ``False`` when its budget refuses it.

        It costs ``most`` at most (millionths of a US dollar) and ``spent``; ``None`` when its process dies meanwhile.
        """
        for _ in range(8):
            self.names += 1
            with contextlib.suppress(FunctionError), self._process("models"):
                found = actors.with_budget(self.services, self.secret_of(agent))
                if found is None or found[0].session.status != "executed":
                    return False
                try:
                    made = budgets.reserve(
                        self.services, *found, hold_id=f"call-{self.names}", upper_micro_usd=most, model="a/model"
                    )
                except BudgetReached:
                    return False
                if spent is None:
                    return True
                booked = budgets.settle(self.services, made, spent_micro_usd=spent, input_tokens=10, output_tokens=5)
                assert booked or self.fault is not None
                return True
            self.run_for(1_000)
        raise AssertionError("no call of a model succeeds")

    def follow(self, path: str, connection_id: str, **query: str) -> None:
        """Connect a socket to the events of a session, by the session's path."""
        assert self.connect(path, connection_id, **query) == 200

    def connect(self, path: str, connection_id: str, **query: str) -> int:
        """Try to do what `follow` does; return the status of the answer."""
        self.sockets.sent[connection_id] = []
        socket = path.replace("/api/v1/local/", f"/ws/v1/events/{KEY}/")
        event = {"requestContext": {"connectionId": connection_id}, "queryStringParameters": {"path": socket, **query}}
        status: int = self.invoke("atoll-local-sockets", event)["statusCode"]
        if status != 200:
            del self.sockets.sent[connection_id]
        return status

    def run_task(self, started_by: str) -> None:
        """Start a task that no launch of Atoll's has started, from the task definition of the agent of `begin`."""
        [record] = self.items("registry")
        [definition] = record["taskDefinitions"].values()
        self.ecs.run_task({"cluster": "atoll-local", "taskDefinition": definition, "startedBy": started_by})

    # What a test looks at

    def count_of(self, operation: str) -> int:
        """Return how often handlers have made a call."""
        return sum(call.operation == operation for call in self.calls)

    def items(self, table: str) -> list[dict[str, Any]]:
        """Return what is in a table, expired or not."""
        from chalicelib.store.items import decode

        rows = dynamodb_backends[ACCOUNT][REGION].tables[f"atoll-local-{table}"].all_items()
        return [decode(row.to_json()["Attributes"]) for row in rows]

    def objects(self, prefix: str) -> list[str]:
        """Return the keys of what is in the stage's bucket."""
        bucket = s3_backends[ACCOUNT]["aws"].buckets[self.services.settings.bodies_bucket]
        return [key for key in bucket.keys if key.startswith(prefix)]

    def expire(self) -> None:
        """Delete what has expired, as DynamoDB's TTL does."""
        self._emulator.tables.delete_expired(self.now_ms / 1000)
