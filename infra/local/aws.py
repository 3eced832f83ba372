"""The AWS of one stack: moto, and the engines for what moto lacks."""

import contextlib
import functools
import json
import logging
import os
import time
import uuid
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import boto3
from moto import mock_aws
from moto.core.common_models import BaseModel

from infra.local import lean  # noqa: F401
from infra.local.background import FAREWELL_S, Background
from infra.local.cloudformation.provision import Provision
from infra.local.data import Data, Row
from infra.local.dynamodb import shortcut
from infra.local.dynamodb.foreign_streams import ForeignStream
from infra.local.dynamodb.shortcut import Shortcut
from infra.local.dynamodb.streams import Mapping as StreamMapping
from infra.local.dynamodb.streams import Pump
from infra.local.dynamodb.tables import ItemRow, Tables
from infra.local.ecs.containers import Processes
from infra.local.ecs.definitions import MotoDefinitions
from infra.local.ecs.environment_files import S3EnvironmentFiles
from infra.local.ecs.tasks import Tasks
from infra.local.environment import ACCOUNT, REGION
from infra.local.event_bridge.bus import EventBridge
from infra.local.event_bridge.rules import Rules
from infra.local.event_bridge.schedules import schedule
from infra.local.functions.functions import Functions
from infra.local.functions.invocations import Invocations
from infra.local.in_process import InProcess, is_aws
from infra.local.logs.output import AgentOutput
from infra.local.objects import Objects
from infra.local.sqs.queues import QueueMapping, Queues
from infra.local.step_functions.service import StepFunctions

log = logging.getLogger(__name__)

#: How often what is over is deleted, in s.
HOUSEKEEPING_S = 60.0

#: How long records of streams are gathered for functions, in s (Lambda looks into a stream four times a second). Nobody
#: but who looks on waits for `on_entry`, and each of its calls takes time from those who send.
GATHER_S = {"on_entry": 0.1}

#: Kinds of data: items (with their table's name), records that were not carried, executions, events on their way.
ITEM, RECORD, EXECUTION, EVENT = "item", "record", "execution", "event"

Event = dict[str, Any]


class Aws:
    """The services that one stack plays, each from ``start`` to ``stop``."""

    def __init__(
        self,
        prefix: str,
        client: Callable[[str], Any],
        *,
        on_event: Callable[[Event], None],
        output: AgentOutput,
        data: Data | None = None,
    ) -> None:
        """
        Parameters
        ----------
        data
            Where tables, objects and what is to be done with them outlive this process; nowhere by default.
        prefix
            What the names of the functions begin with, ``atoll-local``.
        client
            Returns the boto3 client of a service.
        on_event
            Sees each event that is put on any bus, in EventBridge's envelope.
        output
            Takes what the containers write.
        """
        self._prefix = prefix
        self._client = client
        self._data = data
        self._undo = contextlib.ExitStack()
        self._background = background = Background("background")
        #: The streams' pumps, by the names of their tables.
        self.pumps: dict[str, list[Pump]] = {}
        self.tables = Tables(ACCOUNT, REGION, self._stream, self._is_wanted, self._save if data else None)
        self._objects = Objects(ACCOUNT, data)
        self.functions = Functions(prefix, f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:")
        keep_execution = functools.partial(_keep_now, data, EXECUTION) if data else None
        self.machines = StepFunctions(ACCOUNT, REGION, background, invoke=self.functions.invoke, keep=keep_execution)
        self._invocations = Invocations(background, call=self.functions.invoke, send=self._send_message)
        self._rules = Rules(lambda: client("events"))
        self._bus = EventBridge(
            ACCOUNT,
            REGION,
            background,
            rules=self._rules,
            invoke=self._invocations.invoke,
            start_execution=self._start_execution,
            send_message=self._send_message,
            on_event=on_event,
            keep=functools.partial(_keep_way, data) if data else None,
        )
        self.queues = Queues(background, invoke=self.functions.invoke, send=self._send_message)
        self._processes = Processes(background, output=output)
        self.tasks = Tasks(
            ACCOUNT,
            REGION,
            background,
            containers=self._processes,
            definitions=MotoDefinitions(lambda: client("ecs")),
            environment_files=S3EnvironmentFiles(lambda: client("s3")),
            put_event=self._put_event,
        )
        self._shortcut = Shortcut(self.tables, ACCOUNT, REGION)
        self._in_process = InProcess(
            {
                "ecs": self.tasks.operations,
                "eventbridge": self._bus.operations,
                "sfn": self.machines.operations,
                "sqs": self.queues.operations,
            }
        )

    def start(self) -> None:
        """Put moto and the engines in AWS's place, for all clients that are made from here on."""
        undo = self._undo
        session = _session()
        undo.enter_context(mock_aws())
        undo.enter_context(patch("boto3.DEFAULT_SESSION", session))
        # moto keeps each object that it ever makes for its dashboard: every item read, for ever.
        undo.enter_context(patch.object(BaseModel, "__new__", staticmethod(lambda cls, *_, **__: object.__new__(cls))))
        for patches in (self.tables.patches, shortcut.patches):
            for part in patches():
                undo.enter_context(part)
        for engine in (self._in_process, self._rules):
            engine.follow(session.events)
            undo.callback(engine.leave, session.events)
        undo.callback(self._background.close)
        undo.callback(self.machines.close)
        undo.callback(self._stop_pumps)

    def stop(self) -> None:
        """End what reacts and what keeps time, and take moto away."""
        self._undo.close()

    def stop_tasks(self) -> None:
        """End every container."""
        self.tasks.close()
        self._processes.close()

    def follow(self, service: str, client: Any) -> None:
        """Answer the calls of a client, unless its service is elsewhere."""
        if not is_aws(client.meta.endpoint_url):
            return
        if service == "dynamodb":
            self._shortcut.follow(client)
        if service == "s3":
            self._objects.follow(client)
        self._in_process.follow(client.meta.events)
        self._rules.follow(client.meta.events)

    def provide(self, provision: Provision) -> None:
        """Make what the templates say, with what an earlier run has left in it; nothing reacts before `go_on`."""
        provision.make()
        for bucket, configuration in provision.lifecycles:
            self._objects.expire_by(bucket, configuration)
        self._restore()
        for table, properties in provision.mappings:
            mapping = StreamMapping.of(properties)
            pump = Pump(
                table,
                mapping,
                invoke=self.functions.invoke,
                give_up=functools.partial(self._give_up, properties),
                gather_s=GATHER_S.get(properties["FunctionName"].removeprefix(f"{self._prefix}-"), 0.0),
                carried=functools.partial(self._carried, mapping.function),
            )
            self.pumps.setdefault(table, []).append(pump)
        for queue, properties in provision.queues:
            self.queues.add(QueueMapping.of(queue, properties))
        self._carry_on()
        for table in self.tables.names() if self._keeps_tables else self.pumps:
            self._open_stream(table)
        for properties in provision.invoke_configs:
            self._invocations.configure(properties)
        for expression, arn, targets in provision.schedules:
            schedule(expression, self._background, functools.partial(self._bus.send_scheduled, arn, targets))
        self._background.every(HOUSEKEEPING_S, self.tidy)

    def go_on(self) -> None:
        """React from here on, first of all to what an earlier run has left undone."""
        for pump in self._all_pumps():
            pump.start()
        self.queues.go_on()
        if self._data is not None:
            self.machines.go_on()
            for way, kept in self._data.read(EVENT):
                self._bus.resend(way, str(kept))

    def tidy(self) -> None:
        """Delete what has expired and forget what is over; done every minute by itself."""
        self.tables.delete_expired(time.time())
        self._objects.delete_expired(time.time())
        self.tables.forget_empty_partitions()
        self.tasks.forget_old()

    @property
    def _keeps_tables(self) -> bool:
        return self._data is not None and "AWS_ENDPOINT_URL_DYNAMODB" not in os.environ

    def _restore(self) -> None:
        """Bring back what an earlier run has left; nothing is done with it yet."""
        if self._data is None:
            return
        self._objects.restore()
        for table in self.tables.names() if self._keeps_tables else ():
            self.tables.restore(table, (value for _, value in self._data.read(f"{ITEM} {table}")))
        self.machines.restore((arn, str(place)) for arn, place in self._data.read(EXECUTION))

    def _carry_on(self) -> None:
        """Give the pumps the records that were not carried, in their order."""
        by_place = {(table, pump.mapping.function): pump for table, pumps in self.pumps.items() for pump in pumps}
        for _, value in self._data.read(RECORD) if self._data is not None else ():
            table, function, record = json.loads(value)
            if (pump := by_place.get((table, function))) is not None:
                pump.put(record)

    def _save(self, items: list[ItemRow], records: list[tuple[str, Event]]) -> None:
        """Keep what a call has written, and the records that it made for as long as they are not carried."""
        assert self._data is not None
        rows: list[Row] = [(f"{ITEM} {table}", key, attributes) for table, key, attributes in items]
        rows += [
            (RECORD, f"{pump.mapping.function} {record['eventID']}", json.dumps([table, pump.mapping.function, record]))
            for table, record in records
            for pump in self._wanting(table, record)
        ]
        self._data.write(rows)

    def _carried(self, function: str, records: list[Event]) -> None:
        if self._data is not None:
            self._data.write_later([(RECORD, f"{function} {record['eventID']}", None) for record in records])

    def _open_stream(self, table: str) -> None:
        if "AWS_ENDPOINT_URL_DYNAMODB" not in os.environ:
            self.tables.stream(table)
            return
        arn = self._client("dynamodb").describe_table(TableName=table)["Table"]["LatestStreamArn"]
        stream = ForeignStream(table, self._client("dynamodbstreams"), arn, self._stream)
        self._undo.callback(stream.stop)

    def _is_wanted(self, table: str, kind: str, keys: Event) -> bool:
        return any(pump.mapping.wants(kind, keys) for pump in self.pumps.get(table, []))

    def _stream(self, table: str, record: Event) -> None:
        for pump in self._wanting(table, record):
            pump.put(record)

    def _wanting(self, table: str, record: Event) -> list[Pump]:
        name, keys = record["eventName"], record["dynamodb"]["Keys"]
        return [pump for pump in self.pumps.get(table, []) if pump.mapping.wants(name, keys)]

    def _all_pumps(self) -> list[Pump]:
        return [pump for pumps in self.pumps.values() for pump in pumps]

    def _stop_pumps(self) -> None:
        for pump in self._all_pumps():
            pump.stop()
        deadline_s = time.monotonic() + FAREWELL_S
        for pump in self._all_pumps():
            pump.join(max(0.0, deadline_s - time.monotonic()))

    # What one service asks of another goes through clients, as it does on AWS.

    def _start_execution(self, arn: str, name: str, content: str) -> None:
        self._client("stepfunctions").start_execution(stateMachineArn=arn, name=name, input=content)

    def _send_message(self, arn: str, text: str) -> None:
        client = self._client("sqs")
        url = client.get_queue_url(QueueName=arn.rsplit(":", 1)[-1])["QueueUrl"]
        # A FIFO queue collects messages here: each is one of its own.
        fifo = {"MessageGroupId": "one", "MessageDeduplicationId": uuid.uuid4().hex} if arn.endswith(".fifo") else {}
        client.send_message(QueueUrl=url, MessageBody=text, **fifo)

    def _put_event(self, entry: Event) -> None:
        self._client("events").put_events(Entries=[entry])

    def _give_up(self, properties: dict[str, Any], letter: Event) -> None:
        log.error("%s: gave up on records of %s", properties["FunctionName"], properties["EventSourceArn"])
        destination = properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        if destination:
            self._send_message(destination, json.dumps(letter))


def _keep_now(data: Data, kind: str, key: str, value: str | None) -> None:
    data.write([(kind, key, value)])


def _keep_way(data: Data, way: str, kept: str | None) -> None:
    """Keep an event on its way at once; that it has arrived may be forgotten, and then it arrives twice."""
    (data.write_later if kept is None else data.write)([(EVENT, way, kept)])


@functools.cache
def _session() -> boto3.Session:
    """Return the session of every stack in this process: it reads each service's description from disk only once."""
    return boto3.Session()
