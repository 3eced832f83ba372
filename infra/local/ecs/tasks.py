"""ECS: tasks as real processes, and the events that tell of them.

A container whose image is ``executable`` is a process of this machine, with its command and working directory; any
other image is run by the docker command line where an engine answers.
"""

import datetime
import hashlib
import json
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from moto.core.responses import ActionResult
from moto.ecs.exceptions import ECSException
from moto.ecs.models import ecs_backends
from moto.ecs.responses import EC2ContainerServiceResponse

from chalicelib.aws.task_definitions import OPTIONS_DIRECTORY
from chalicelib.aws.tasks import OPTIONS_CONTAINER
from infra.local.background import Background
from infra.local.ecs.option_files import OptionFiles
from infra.local.ecs.processes import Child, Reaper

#: The image of a container that is a plain process.
EXECUTABLE = "executable"

#: How long a process may take to end after SIGTERM, in s (30 on AWS).
GRACE_S = 2.0

#: How long a stopped task can still be described, in s (about an hour on AWS), and how long its client token is known.
REMEMBERED_S = 3600.0

#: How long the answer to "is there a docker engine?" is believed, in s.
ENGINE_ANSWER_S = 10.0


@dataclass
class Container:
    """One container of a task."""

    name: str
    image: str
    essential: bool
    command: list[str]
    environment: dict[str, str]
    directory: str | None
    status: str = "PENDING"
    exit_code: int | None = None
    reason: str | None = None
    child: Child | None = None

    @property
    def label(self) -> str:
        """Return what to call it before a person: the agent's name, when it is one's."""
        return self.environment.get("CORAL_AGENT_ID", self.name)


@dataclass
class Task:
    """One task."""

    arn: str
    cluster_arn: str
    definition_arn: str
    group: str
    launch_type: str
    started_by: str
    token: str
    fingerprint: str
    containers: list[Container]
    created_at: float = field(default_factory=time.time)
    started_at: float | None = None
    stopping_at: float | None = None
    stopped_at: float | None = None
    last_status: str = "PENDING"
    desired_status: str = "RUNNING"
    stop_code: str | None = None
    stopped_reason: str | None = None
    version: int = 0
    files: OptionFiles | None = None


class Tasks:
    """The tasks of every cluster in one account and region."""

    def __init__(
        self,
        account: str,
        region: str,
        background: Background,
        *,
        put_event: Callable[[dict[str, Any]], None],
        show: Callable[[Task, Container, str], None],
    ) -> None:
        """
        Parameters
        ----------
        put_event
            Takes an entry for ``PutEvents`` on the default bus.
        show
            Takes each line that a container writes.
        """
        self._account = account
        self._region = region
        self._background = background
        self._put_event = put_event
        self._show = show
        self._lock = threading.RLock()
        self._tasks: dict[str, Task] = {}
        self._tokens: dict[str, str] = {}
        self._reaper = Reaper()
        self._closed = False
        self._engine: tuple[float, bool] = (0.0, False)

    def patches(self) -> Iterable[AbstractContextManager[Any]]:
        """Return the patches that answer moto's calls about tasks from here."""
        responses = EC2ContainerServiceResponse

        def run_task(request: EC2ContainerServiceResponse) -> ActionResult:
            return ActionResult({"tasks": self._run(dict(request.params)), "failures": []})

        def stop_task(request: EC2ContainerServiceResponse) -> ActionResult:
            return ActionResult({"task": self._stop(request.params["task"], request.params.get("reason", ""))})

        def describe_tasks(request: EC2ContainerServiceResponse) -> ActionResult:
            return ActionResult(self._describe_all(request.params["tasks"]))

        def list_tasks(request: EC2ContainerServiceResponse) -> ActionResult:
            return ActionResult({"taskArns": self._list(dict(request.params))})

        return [
            patch.object(responses, "run_task", run_task),
            patch.object(responses, "stop_task", stop_task),
            patch.object(responses, "describe_tasks", describe_tasks),
            patch.object(responses, "list_tasks", list_tasks),
        ]

    def stop(self) -> None:
        """End every process and wait for it; those that do not heed SIGTERM are killed after the grace."""
        with self._lock:
            self._closed = True
            children = [c.child for task in self._tasks.values() for c in task.containers if c.child is not None]
        for number, grace_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
            for child in children:
                child.signal(number)
            deadline = time.monotonic() + grace_s
            children = [child for child in children if not child.join(max(0.0, deadline - time.monotonic()))]
        self._reaper.close()
        with self._lock:  # somebody may be asking for one more task
            files = [task.files for task in self._tasks.values() if task.files]
        for each in files:
            each.remove()

    def forget_old(self) -> None:
        """Drop tasks that stopped long ago, and their client tokens."""
        with self._lock:
            limit = time.time() - REMEMBERED_S
            for task in [t for t in self._tasks.values() if t.stopped_at is not None and t.stopped_at < limit]:
                del self._tasks[task.arn]
                self._tokens.pop(task.token, None)

    # What is asked over the API.

    def _run(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        backend = ecs_backends[self._account][self._region]
        cluster = backend._get_cluster(request.get("cluster", "default"))
        definition = backend.describe_task_definition(request["taskDefinition"])
        token = request.pop("clientToken", None) or str(uuid.uuid4())
        fingerprint = hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()
        with self._lock:
            if token in self._tokens:
                known = self._tasks[self._tokens[token]]
                if known.fingerprint != fingerprint:
                    raise ECSException(
                        "ConflictException", f"The clientToken is in use with other parameters: {known.arn}"
                    )
                return [self._describe(known)]
            task = Task(
                arn=f"arn:aws:ecs:{self._region}:{self._account}:task/{cluster.name}/{uuid.uuid4().hex}",
                cluster_arn=cluster.arn,
                definition_arn=definition.arn,
                group=request.get("group") or f"family:{definition.family}",
                launch_type=request.get("launchType", "FARGATE"),
                started_by=request.get("startedBy", ""),
                token=token,
                fingerprint=fingerprint,
                containers=_containers(definition.container_definitions, request.get("overrides") or {}),
            )
            self._tasks[task.arn] = task
            self._tokens[token] = task.arn
            answer = self._describe(task)
        # As on AWS the answer comes first; whether the program is there shows later, in an event.
        self._background.run(self._start, task)
        return [answer]

    def _stop(self, name: str, reason: str) -> dict[str, Any]:
        with self._lock:
            task = self._find(name)
            if task is None:
                raise ECSException("InvalidParameterException", "The referenced task was not found.")
            if task.last_status != "STOPPED":
                self._end(task, "UserInitiated", reason)
            return self._describe(task)

    def _describe_all(self, names: list[str]) -> dict[str, Any]:
        with self._lock:
            found = {name: self._find(name) for name in names}
            return {
                "tasks": [self._describe(task) for task in found.values() if task is not None],
                "failures": [{"arn": name, "reason": "MISSING"} for name, task in found.items() if task is None],
            }

    def _list(self, request: dict[str, Any]) -> list[str]:
        backend = ecs_backends[self._account][self._region]
        cluster = backend._get_cluster(request.get("cluster", "default"))
        desired = request.get("desiredStatus", "RUNNING")
        with self._lock:
            return [
                task.arn
                for task in self._tasks.values()
                if task.cluster_arn == cluster.arn
                and task.desired_status == desired
                and request.get("startedBy") in (None, task.started_by)
                and request.get("family") in (None, task.definition_arn.split("/")[-1].split(":")[0])
            ]

    def _find(self, name: str) -> Task | None:
        return self._tasks.get(name) or next((t for t in self._tasks.values() if t.arn.endswith(f"/{name}")), None)

    # A task's life.

    def _start(self, task: Task) -> None:
        if not self._fetch_options(task):
            return
        containers = [container for container in task.containers if container.name != OPTIONS_CONTAINER]
        engine = all(container.image == EXECUTABLE for container in containers) or self._engine_answers()
        with self._lock:
            for container in containers:
                if self._closed:
                    return
                if task.desired_status == "STOPPED":
                    self._settle(task)
                    return
                try:
                    if container.image != EXECUTABLE and not engine:
                        raise ValueError("no docker engine answers on this machine")
                    container.child = self._launch(task, container)
                    container.status = "RUNNING"
                except (OSError, ValueError) as error:
                    container.reason = f"CannotStartContainerError: {_reason(error, container)}"
                    container.status = "STOPPED"
                    self._end(task, "TaskFailedToStart", container.reason)
                    return
            task.started_at = time.time()
            task.last_status = "RUNNING"
            self._changed(task)

    def _fetch_options(self, task: Task) -> bool:
        """Do here what the container of a task's option files does on AWS; whether that succeeded, or there is none."""
        container = next((each for each in task.containers if each.name == OPTIONS_CONTAINER), None)
        if container is None:
            return True
        files = None
        try:
            files = OptionFiles(container.environment)
        except OSError as error:
            container.reason = str(error)
        with self._lock:
            container.status = "STOPPED"
            container.exit_code = 0 if files else 1
            if files is None:
                self._end(task, "TaskFailedToStart", f"container {container.name}: {container.reason}")
            elif self._closed:
                files.remove()
            else:
                task.files = files
        return files is not None

    def _launch(self, task: Task, container: Container) -> Child:
        if container.image == EXECUTABLE:
            if not container.command:
                raise ValueError("the container has no command")
            command, given = container.command, container.environment
            given = task.files.located(given) if task.files else given
        else:
            # The variables reach docker in its environment, not in its arguments, which others can see.
            names = [argument for name in container.environment for argument in ("--env", name)]
            mounts = ["--volume", f"{task.files.folder}:{OPTIONS_DIRECTORY}:ro"] if task.files else []
            command = ["docker", "run", "--rm", "--network", "host", *mounts, *names]
            command += [container.image, *container.command]
            given = container.environment
        return Child(
            command,
            given=given,
            directory=container.directory if container.image == EXECUTABLE else None,
            reaper=self._reaper,
            on_line=lambda line: self._show(task, container, line),
            on_exit=lambda code: self._exited(task, container, code),
        )

    def _engine_answers(self) -> bool:
        asked_at, answers = self._engine
        if not asked_at or time.monotonic() - asked_at > ENGINE_ANSWER_S:
            try:
                answers = (
                    subprocess.run(["docker", "info"], capture_output=True, timeout=5, check=False).returncode == 0
                )
            except (OSError, subprocess.TimeoutExpired):
                answers = False
            self._engine = (time.monotonic(), answers)
        return answers

    def _exited(self, task: Task, container: Container, code: int) -> None:
        with self._lock:
            container.exit_code = code
            container.status = "STOPPED"
            if self._closed:
                return
            if container.essential and task.desired_status == "RUNNING":
                self._end(task, "EssentialContainerExited", "Essential container in task exited")
            else:
                self._settle(task)

    def _end(self, task: Task, code: str, reason: str) -> None:
        """Begin to end a task: it is stopped once all its containers are."""
        if task.desired_status == "RUNNING":
            task.desired_status = "STOPPED"
            task.stop_code = code
            task.stopped_reason = reason
            task.stopping_at = time.time()
        for container in task.containers:
            if container.status == "RUNNING" and container.child is not None:
                container.child.signal(signal.SIGTERM)
                self._background.after(GRACE_S, self._kill, container)
        self._settle(task)

    @staticmethod
    def _kill(container: Container) -> None:
        if container.status == "RUNNING" and container.child is not None:
            container.child.signal(signal.SIGKILL)

    def _settle(self, task: Task) -> None:
        """Call a task stopped when it is to stop and nothing of it runs."""
        runs = any(container.status == "RUNNING" for container in task.containers)
        if task.desired_status != "STOPPED" or runs or task.last_status == "STOPPED":
            return
        for container in task.containers:
            container.status = "STOPPED"
            container.child = None
        if task.files:
            task.files.remove()
        task.last_status = "STOPPED"
        task.stopped_at = time.time()
        self._changed(task)

    def _changed(self, task: Task) -> None:
        task.version += 1
        entry = {
            "Source": "aws.ecs",
            "DetailType": "ECS Task State Change",
            "Resources": [task.arn],
            "Detail": json.dumps(_in_event(self._describe(task), task.version)),
        }
        # As on AWS nobody who asked ECS for something waits until the event of it is on the bus.
        self._background.run(self._put_event, entry)

    def _describe(self, task: Task) -> dict[str, Any]:
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
            "containers": [self._describe_container(task, container) for container in task.containers],
            "createdAt": _moment(task.created_at),
            "startedAt": _moment(task.started_at),
            "stoppingAt": _moment(task.stopping_at),
            "stoppedAt": _moment(task.stopped_at),
            "stopCode": task.stop_code,
            "stoppedReason": task.stopped_reason,
            "version": task.version,
        }
        return {name: value for name, value in description.items() if value is not None}

    def _describe_container(self, task: Task, container: Container) -> dict[str, Any]:
        description = {
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
        raise ECSException(
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
            )
        )
    return containers


def _reason(error: Exception, container: Container) -> str:
    if isinstance(error, FileNotFoundError):
        if container.directory is not None and error.filename == container.directory:
            return f"no such working directory: {container.directory}"
        return f"no such program: {container.command[0]}"
    if isinstance(error, PermissionError):
        return f"not an executable program: {container.command[0]}"
    return str(error)


def _moment(epoch_s: float | None) -> datetime.datetime | None:
    return None if epoch_s is None else datetime.datetime.fromtimestamp(epoch_s, tz=datetime.UTC)


def _in_event(description: dict[str, Any], version: int) -> dict[str, Any]:
    """Return a task as its events show it: times as text, and when it was updated."""
    detail = {**description, "updatedAt": _moment(time.time()), "version": version}
    for name, value in detail.items():
        if isinstance(value, datetime.datetime):
            detail[name] = value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return detail
