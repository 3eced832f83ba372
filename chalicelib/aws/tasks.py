"""ECS: the tasks in which agents run."""

import dataclasses
import hashlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self, cast

from botocore.exceptions import ClientError

from chalicelib.aws.task_overrides import CONTAINER, OPTIONS_CONTAINER
from chalicelib.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_ecs.type_defs import TaskOverrideTypeDef

#: Most tasks of one DescribeTasks (ECS API reference).
DESCRIBED_AT_ONCE = 100

#: Errors of RunTask and RegisterTaskDefinition that are permanent (ECS API reference, "Errors" of both). A
#: throttle is not among them.
_FINAL = {
    "AccessDeniedException",
    "BlockedException",
    "ClientException",
    "ClusterNotFoundException",
    "ConflictException",
    "InvalidParameterException",
    "PlatformTaskDefinitionIncompatibilityException",
    "PlatformUnknownException",
    "UnsupportedFeatureException",
}


#: What their messages say when they are transient all the same: there is no room, a quota of vCPUs or tasks is used up,
#: EC2 is throttling what ECS asks of it for the task's network, the account's service-linked role has just been made,
#: or the same family is registered twice in one moment.
_TRANSIENT = (
    "capacity",
    "reached the limit on the number of",
    "request limit exceeded",
    "requestlimitexceeded",
    "rate exceeded",
    "throttl",
    "service linked role",
    "too many concurrent attempts",
)


def is_final(error: ClientError) -> bool:
    """Return whether ECS refuses a task, or its definition, permanently."""
    answer = error.response["Error"]
    return answer["Code"] in _FINAL and not any(word in answer.get("Message", "").lower() for word in _TRANSIENT)


def tag_value(text: str) -> str:
    """Return a text with what the value of a tag may have: letters, digits, spaces and a few signs, 256 at most."""
    kept = (letter if unicodedata.category(letter)[0] in "LNZ" or letter in "_.:/=+-@" else "_" for letter in text)
    return "".join(kept)[:256]


def stream_prefix(name: str, version: str) -> str:
    """Return what the log streams of a registry agent begin with; ``+`` is no character of a stream's name."""
    return f"{name}/{version.replace('+', '_')}"


def log_stream(name: str, version: str, task_arn: str) -> str:
    """Return where in the agents' log group a task writes (ECS Developer Guide, "Using the awslogs log driver").

    ``task_arn`` may be its last part alone.
    """
    return f"{stream_prefix(name, version)}/{CONTAINER}/{task_arn.rpartition('/')[2]}"


class TaskRefused(Exception):
    """ECS will not start this task, now or later; the message is its reason."""

    def __init__(self, error: ClientError) -> None:
        answer = error.response["Error"]
        super().__init__(f"{answer['Code']}: {answer.get('Message', '')}")


class NoCapacity(Exception):
    """ECS has no room for the task just now, and answers so again to the same launch of the same agent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskState:
    """A task as ECS describes it; times in epoch ms."""

    arn: str
    started_by: str
    stopped: bool
    created_at_ms: int | None
    started_at_ms: int | None
    stopped_at_ms: int | None
    #: Why it has stopped: what its agent's container says of it, if that says anything.
    reason: str
    #: Whether only ECS's own words say why, and they are not here: its events come without them.
    unexplained: bool = False
    #: Whether it has stopped before its agent's container ran, and nobody had asked for that.
    never_started: bool = False

    @classmethod
    def of(cls, task: Mapping[str, Any]) -> Self:
        """Read a task as DescribeTasks returns it, or as an event has it.

        Times are texts there, and what is not known is an empty one (the rule of the events, in `stack.yaml`).
        """
        stopped = task.get("lastStatus") == "STOPPED"
        started_at_ms = _ms(task.get("startedAt"))
        # A container may exit before ECS has noted that its task runs.
        started = started_at_ms is not None or _container(task, CONTAINER).get("exitCode") is not None
        return cls(
            arn=task["taskArn"],
            started_by=task.get("startedBy", ""),
            stopped=stopped,
            created_at_ms=_ms(task.get("createdAt")),
            started_at_ms=started_at_ms,
            stopped_at_ms=_ms(task.get("stoppedAt")),
            reason=_reason_of(task) if stopped else "",
            unexplained=stopped and not task.get("stoppedReason") and not _told_by(_container(task, CONTAINER)),
            never_started=stopped and not started and task.get("stopCode") != "UserInitiated",
        )


def _container(task: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next((each for each in task.get("containers", []) if each.get("name") == name), {})


def _reason_of(task: Mapping[str, Any]) -> str:
    """Return why a task has stopped.

    What others than the agent's container say is not why: the one that fetches options exits first, with 0, and
    GuardDuty adds one of its own. Unless the agent never ran because its options could not be fetched.
    """
    if told := _told_by(_container(task, CONTAINER)):
        return told
    why = str(task.get("stoppedReason") or task.get("stopCode") or "unknown")
    first = _container(task, OPTIONS_CONTAINER)
    failed = bool(first.get("reason")) or first.get("exitCode") not in (None, 0)
    return f"{why}: the files of its options: {_told_by(first)}" if failed else why


def _told_by(container: Mapping[str, Any]) -> str:
    if container.get("reason"):
        return str(container["reason"])
    return f"exited with code {container['exitCode']}" if container.get("exitCode") is not None else ""


class Tasks:
    """The cluster of this deployment."""

    def __init__(self, client: "ECSClient", settings: Settings) -> None:
        self._client = client
        self._settings = settings

    def run(
        self,
        task_definition: str,
        overrides: "TaskOverrideTypeDef",
        *,
        started_by: str,
        launch: int = 0,
        spot: bool = False,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Start a task and return its ARN; a repeated call for the same launch returns the same task.

        ECS repeats its first answer to a client token for as long as a day, failures too (ECS API reference, "Ensuring
        idempotency"), so that one after which another try makes sense needs another ``launch``. An error is no such
        answer: a task may run all the same, if it is that of a repetition. A ``spot`` task may be ended by AWS at any
        time; ``tags`` are for those who pay.

        Raises
        ------
        TaskRefused
            when it can never be started.
        NoCapacity
            when this launch starts no task, and another one may later.
        """
        extra: dict[str, Any] = {"launchType": "FARGATE"}
        if spot:
            extra = {"capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]}
        if tags:
            extra["tags"] = [{"key": name, "value": tag_value(value)} for name, value in tags.items()]
        try:
            answer = self._client.run_task(
                cluster=self._settings.prefix,
                taskDefinition=task_definition,
                count=1,
                startedBy=started_by,
                clientToken=_client_token(started_by, launch),
                networkConfiguration={
                    "awsvpcConfiguration": {
                        "subnets": self._settings.subnet_ids,
                        "securityGroups": self._settings.security_group_ids,
                        "assignPublicIp": "ENABLED" if self._settings.assign_public_ip else "DISABLED",
                    }
                },
                overrides=overrides,
                **extra,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConflictException" and (there := _existing(error)):
                # This launch is a repetition, and its agent was registered anew in between: the first one holds
                # (ECS API reference, "RunTask": the tasks that have the client token).
                return there
            if is_final(error):
                raise TaskRefused(error) from error
            raise
        if answer["tasks"]:
            return answer["tasks"][0]["taskArn"]
        reason = answer["failures"][0].get("reason", "unknown") if answer["failures"] else "unknown"
        raise NoCapacity(reason)

    def stop(self, task_arn: str, *, reason: str) -> None:
        """Stop a task; one that has ended or is not known any more is left alone."""
        try:
            self._client.stop_task(cluster=self._settings.prefix, task=task_arn, reason=reason[:255])
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("InvalidParameterException", "ClientException"):
                raise

    def started_by(self, started_by: str) -> list[str]:
        """Return the ARNs of tasks that run for an agent, whether or not its record knows them."""
        answer = self._client.list_tasks(cluster=self._settings.prefix, startedBy=started_by, desiredStatus="RUNNING")
        return answer["taskArns"]

    def running(self) -> Iterator[str]:
        """Return the ARNs of all tasks of the cluster that run or are about to, page after page."""
        for page in self._client.get_paginator("list_tasks").paginate(cluster=self._settings.prefix):
            yield from page["taskArns"]

    def described(self, task_arns: Sequence[str]) -> list[TaskState]:
        """Look at tasks, in as few calls as ECS allows; one that it does not know any more is left out."""
        found: list[TaskState] = []
        for start in range(0, len(task_arns), DESCRIBED_AT_ONCE):
            wanted = list(task_arns[start : start + DESCRIBED_AT_ONCE])
            answer = self._client.describe_tasks(cluster=self._settings.prefix, tasks=wanted)
            found += map(TaskState.of, answer["tasks"])
        return found


def _existing(error: ClientError) -> str | None:
    found = cast(list[str], error.response.get("resourceIds", []))
    return found[0] if found else None


def _client_token(started_by: str, launch: int) -> str:
    """Return the token of an agent's launch: at most 64 characters. That of the first is as in earlier versions."""
    return hashlib.sha256((f"{started_by}/{launch}" if launch else started_by).encode()).hexdigest()


def _ms(time: datetime | str | None) -> int | None:
    if not time:
        return None
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    return int(time.timestamp() * 1000)
