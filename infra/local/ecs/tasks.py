"""ECS: the tasks of a cluster, from RunTask to the event of their end. How a container runs is passed in."""

import hashlib
import json
import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from infra.local.in_process import Operations, Request, ServiceError, operations
from infra.local.pages import page
from infra.local.scheduler import Scheduler

#: How long a stopped task can still be described, in ms (about an hour on AWS), and how long its client token is known.
REMEMBERED_MS = 3_600_000

#: How many stopped tasks are remembered at most.
MOST_REMEMBERED = 2_000

#: Most tasks of one ListTasks and of one DescribeTasks (ECS API reference).
PAGE = 100

#: Operations that are answered here; clusters and task definitions are moto's.
OPERATIONS = ("RunTask", "StopTask", "ListTasks", "DescribeTasks")

Answer = dict[str, Any]


class Life(Protocol):
    """A container that runs."""

    def end(self) -> None:
        """Ask it to end, without waiting for it."""


@dataclass
class Container:
    """One container of a task."""

    name: str
    image: str
    essential: bool
    command: list[str]
    environment: dict[str, str]
    directory: str | None
    #: ARNs of its environment files.
    environment_files: list[str] = field(default_factory=list)
    status: str = "PENDING"
    exit_code: int | None = None
    reason: str | None = None
    life: Life | None = None

    @property
    def label(self) -> str:
        """Return its label in output: the name of its agent, if it is an agent's."""
        return self.environment.get("CORAL_AGENT_ID", self.name)


@dataclass
class Task:
    """One task; times in epoch ms."""

    arn: str
    cluster_arn: str
    definition_arn: str
    group: str
    launch_type: str
    started_by: str
    token: str
    fingerprint: str
    containers: list[Container]
    created_ms: int
    started_ms: int | None = None
    stopping_ms: int | None = None
    stopped_ms: int | None = None
    last_status: str = "PROVISIONING"
    desired_status: str = "RUNNING"
    stop_code: str | None = None
    stopped_reason: str | None = None
    version: int = field(default=0)


class CannotStart(Exception):
    """A container cannot be started; ``reason`` is the container's, and the message the task's."""

    def __init__(self, container: Container, reason: str, of_task: str | None = None) -> None:
        super().__init__(of_task or reason)
        self.container = container
        self.reason = reason


class Containers(Protocol):
    """How containers run: as processes here, as lives of a set length in `tests/faults`."""

    #: How long a task takes until its containers start, in ms.
    start_ms: int

    def prepare(self, task: Task) -> None:
        """Do what comes before a task's containers, at length if need be; raise `CannotStart` when that fails."""

    def start(self, task: Task, container: Container, exited: Callable[[int], None]) -> Life:
        """Start a container; ``exited`` takes its exit code. Raises `CannotStart`."""

    def clean(self, task: Task) -> None:
        """Remove what was prepared for a task."""


class EnvironmentFiles(Protocol):
    """Where environment files are."""

    def variables(self, arn: str) -> dict[str, str]:
        """Return what a file says; raise ``OSError`` when it cannot be read."""


class Definitions(Protocol):
    """What tasks are made of."""

    def cluster(self, name: str) -> str:
        """Return a cluster's ARN; raise `ServiceError` for an unknown one."""

    def task_definition(self, name: str) -> dict[str, Any]:
        """Return a task definition as DescribeTaskDefinition does; raise `ServiceError` for an unknown one."""


class Tasks:
    """The tasks of every cluster in one account and region."""

    def __init__(
        self,
        account: str,
        region: str,
        scheduler: Scheduler,
        *,
        containers: Containers,
        definitions: Definitions,
        environment_files: EnvironmentFiles,
        put_event: Callable[[dict[str, Any]], None],
    ) -> None:
        """
        Parameters
        ----------
        put_event
            Takes an entry for ``PutEvents`` on the default bus.
        """
        self._account = account
        self._region = region
        self._scheduler = scheduler
        self._containers = containers
        self._definitions = definitions
        self._environment_files = environment_files
        self._put_event = put_event
        self._lock = threading.RLock()
        self._tasks: dict[str, Task] = {}
        self._tokens: dict[str, str] = {}
        #: ARNs of stopped tasks, in the order in which they stopped.
        self._stopped: deque[str] = deque()
        self._closed = False

    @property
    def operations(self) -> Operations:
        """The operations that are answered here, by their API names."""
        return operations(self, *OPERATIONS)

    def close(self) -> None:
        """Start no container any more, and report no end."""
        with self._lock:
            self._closed = True

    def forget_old(self) -> None:
        """Drop tasks that stopped long ago, and their client tokens."""
        with self._lock:
            limit_ms = self._scheduler.now_ms - REMEMBERED_MS
            for task in [t for t in self._tasks.values() if t.stopped_ms is not None and t.stopped_ms < limit_ms]:
                self.forget(task)

    def forget(self, task: Task) -> None:
        """Drop a task and its client token."""
        with self._lock:
            del self._tasks[task.arn]
            self._tokens.pop(task.token, None)

    # What is asked over the API.

    def run_task(self, request: Request) -> Answer:
        """Make a task; the same client token gives the same task."""
        cluster_arn = self._definitions.cluster(request.get("cluster", "default"))
        definition = self._definitions.task_definition(request["taskDefinition"])
        asked = {name: value for name, value in request.items() if name != "clientToken"}
        token = request.get("clientToken") or str(uuid.uuid4())
        fingerprint = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()
        with self._lock:
            if token in self._tokens:
                return {"tasks": [self._describe(self._known(token, fingerprint))], "failures": []}
            place = f"arn:aws:ecs:{self._region}:{self._account}"
            task = Task(
                arn=f"{place}:task/{cluster_arn.rpartition('/')[2]}/{uuid.uuid4().hex}",
                cluster_arn=cluster_arn,
                definition_arn=definition["taskDefinitionArn"],
                group=request.get("group") or f"family:{definition['family']}",
                launch_type=request.get("launchType", "FARGATE"),
                started_by=request.get("startedBy", ""),
                token=token,
                fingerprint=fingerprint,
                containers=_containers(definition["containerDefinitions"], request.get("overrides") or {}),
                created_ms=self._scheduler.now_ms,
            )
            self._tasks[task.arn] = task
            self._tokens[token] = task.arn
            answer = self._describe(task)
        # As on AWS the answer comes first; whether the program is there shows later, in an event.
        if self._containers.start_ms:
            self._scheduler.after(self._containers.start_ms, self._start, task)
        else:
            self._scheduler.run(self._start, task)
        return {"tasks": [answer], "failures": []}

    def _known(self, token: str, fingerprint: str) -> Task:
        known = self._tasks[self._tokens[token]]
        if known.fingerprint != fingerprint:
            raise ServiceError(
                "ConflictException",
                f"The clientToken is in use with other parameters: {known.arn}",
                details={"resourceIds": [known.arn]},
            )
        return known

    def stop_task(self, request: Request) -> Answer:
        """Ask a task to end; raise `ServiceError` for an unknown one."""
        with self._lock:
            task = self._find(request["task"])
            if task is None:
                raise ServiceError("InvalidParameterException", "The referenced task was not found.")
            self._end(task, "UserInitiated", request.get("reason", ""))
            return {"task": self._describe(task)}

    def describe_tasks(self, request: Request) -> Answer:
        """Return descriptions of tasks; raise `ServiceError` for more than `PAGE`."""
        names = request["tasks"]
        if len(names) > PAGE:
            raise ServiceError("InvalidParameterException", f"Tasks can have at most {PAGE} items.")
        with self._lock:
            found = {name: self._find(name) for name in names}
            return {
                "tasks": [self._describe(task) for task in found.values() if task is not None],
                "failures": [{"arn": name, "reason": "MISSING"} for name, task in found.items() if task is None],
            }

    def list_tasks(self, request: Request) -> Answer:
        """Return the ARNs of the tasks of a cluster that are to run, or that are to stop."""
        cluster_arn = self._definitions.cluster(request.get("cluster", "default"))
        desired = request.get("desiredStatus", "RUNNING")
        with self._lock:
            found = [
                task.arn
                for task in self._tasks.values()
                if task.cluster_arn == cluster_arn
                and task.desired_status == desired
                and request.get("startedBy") in (None, task.started_by)
                and request.get("family") in (None, task.definition_arn.split("/")[-1].split(":")[0])
            ]
        return page("taskArns", found, request, PAGE)

    def _find(self, name: str) -> Task | None:
        return self._tasks.get(name) or next((t for t in self._tasks.values() if t.arn.endswith(f"/{name}")), None)

    # A task's life.

    def _start(self, task: Task) -> None:
        try:
            for container in task.containers:
                self._read_environment(container)
            self._containers.prepare(task)
        except CannotStart as error:
            self._failed_to_start(task, error)
            return
        with self._lock:
            if self._closed or task.desired_status == "STOPPED":
                self._containers.clean(task)
                return
            try:
                for container in task.containers:
                    if container.status == "PENDING":
                        exited = self._exit_of(task, container)
                        container.life = self._containers.start(task, container, exited)
                        container.status = "RUNNING"
            except CannotStart as error:
                self._failed_to_start(task, error)
                return
            task.started_ms = self._scheduler.now_ms
            task.last_status = "RUNNING"
            self._changed(task)

    def _read_environment(self, container: Container) -> None:
        for arn in container.environment_files:
            try:
                variables = self._environment_files.variables(arn)
            except OSError as error:
                reason = f"ResourceInitializationError: failed to download env files: {error}"
                raise CannotStart(container, reason) from error
            container.environment = variables | container.environment

    def _failed_to_start(self, task: Task, error: CannotStart) -> None:
        with self._lock:
            error.container.reason = error.reason
            error.container.status = "STOPPED"
            self._end(task, "TaskFailedToStart", str(error))

    def _exit_of(self, task: Task, container: Container) -> Callable[[int], None]:
        def exited(code: int) -> None:
            with self._lock:
                container.exit_code = code
                container.status = "STOPPED"
                if self._closed:
                    return
                if container.essential:
                    self._end(task, "EssentialContainerExited", "Essential container in task exited")
                self._settle(task)

        return exited

    def _end(self, task: Task, code: str, reason: str) -> None:
        """Begin to end a task, unless it is ending: it is stopped once all its containers are."""
        if task.desired_status == "STOPPED":
            return
        task.desired_status = "STOPPED"
        task.stop_code = code
        task.stopped_reason = reason
        task.stopping_ms = self._scheduler.now_ms
        for container in task.containers:
            if container.status == "RUNNING" and container.life is not None:
                container.life.end()
        self._settle(task)

    def _settle(self, task: Task) -> None:
        running = any(container.status == "RUNNING" for container in task.containers)
        if task.desired_status != "STOPPED" or running or task.last_status == "STOPPED":
            return
        for container in task.containers:
            container.status = "STOPPED"
            container.life = None
        self._containers.clean(task)
        task.last_status = "STOPPED"
        task.stopped_ms = self._scheduler.now_ms
        self._changed(task)
        self._stopped.append(task.arn)
        while len(self._stopped) > MOST_REMEMBERED:
            if (oldest := self._tasks.get(self._stopped.popleft())) is not None:
                self.forget(oldest)

    def _changed(self, task: Task) -> None:
        task.version += 1
        # As on AWS, ECS answers without waiting for its event to be on the bus.
        self._scheduler.run(self._put_event, self.event_of(task))

    def event_of(self, task: Task) -> dict[str, Any]:
        """Return the entry for ``PutEvents`` that reports a task as it is."""
        detail = {**self._describe(task), "updatedAt": _moment(self._scheduler.now_ms)}
        for name, value in detail.items():
            if isinstance(value, datetime):
                detail[name] = value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {
            "Source": "aws.ecs",
            "DetailType": "ECS Task State Change",
            "Resources": [task.arn],
            "Detail": json.dumps(detail),
        }

    def _describe(self, task: Task) -> Answer:
        description: dict[str, Any] = {
            "taskArn": task.arn,
            "clusterArn": task.cluster_arn,
            "taskDefinitionArn": task.definition_arn,
            "group": task.group,
            "launchType": task.launch_type,
            "startedBy": task.started_by,
            "lastStatus": task.last_status,
            "desiredStatus": task.desired_status,
            "availabilityZone": f"{self._region}a",
            "connectivity": "CONNECTED",
            "attachments": [],
            "attributes": [],
            # Names only: the variables hold the agents' secrets.
            "overrides": {"containerOverrides": [{"name": container.name} for container in task.containers]},
            "containers": [_describe_container(task, container) for container in task.containers],
            "createdAt": _moment(task.created_ms),
            "startedAt": _moment(task.started_ms),
            "stoppingAt": _moment(task.stopping_ms),
            "stoppedAt": _moment(task.stopped_ms),
            "stopCode": task.stop_code,
            "stoppedReason": task.stopped_reason,
            "version": task.version,
        }
        return {name: value for name, value in description.items() if value is not None}


def _describe_container(task: Task, container: Container) -> dict[str, Any]:
    description: Answer = {
        "containerArn": f"{task.arn.replace(':task/', ':container/')}/{container.name}",
        "taskArn": task.arn,
        "name": container.name,
        "image": container.image,
        "lastStatus": container.status,
        "exitCode": container.exit_code,
        "reason": container.reason,
        "networkInterfaces": [],
    }
    return {name: value for name, value in description.items() if value is not None}


def _containers(definitions: list[dict[str, Any]], overrides: dict[str, Any]) -> list[Container]:
    changes = {change["name"]: change for change in overrides.get("containerOverrides") or []}
    unknown = changes.keys() - {definition["name"] for definition in definitions}
    if unknown:
        raise ServiceError(
            "InvalidParameterException",
            f"Override for container named {sorted(unknown)[0]} is not a container in the TaskDefinition.",
        )
    containers = []
    for definition in definitions:
        change = changes.get(definition["name"], {})
        variables = [*definition.get("environment", []), *change.get("environment", [])]
        containers.append(
            Container(
                name=definition["name"],
                image=definition["image"],
                essential=definition.get("essential", True),
                command=[*definition.get("entryPoint", []), *(change.get("command") or definition.get("command", []))],
                environment={variable["name"]: variable["value"] for variable in variables},
                directory=definition.get("workingDirectory"),
                environment_files=[file["value"] for file in change.get("environmentFiles", [])],
            )
        )
    return containers


def _moment(epoch_ms: int | None) -> datetime | None:
    return None if epoch_ms is None else datetime.fromtimestamp(epoch_ms / 1000, tz=UTC)
