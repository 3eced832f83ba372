"""ECS: the tasks in which agents run."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

from botocore.exceptions import ClientError

from chalicelib.aws.task_overrides import CONTAINER
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


#: What their messages say when they are transient all the same: there is no room, EC2 is throttling what ECS asks of it
#: for the task's network, the account's service-linked role has just been made, or the same family is registered twice
#: in one moment.
_TRANSIENT = (
    "capacity",
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


def stream_prefix(name: str, version: str) -> str:
    """Return what the log streams of a registry agent begin with; ``+`` is no character of a stream's name."""
    return f"{name}/{version.replace('+', '_')}"


def log_stream(name: str, version: str, task_arn: str) -> str:
    """Return where in the agents' log group a task writes (ECS Developer Guide, "Using the awslogs log driver")."""
    return f"{stream_prefix(name, version)}/{CONTAINER}/{task_arn.rpartition('/')[2]}"


class TaskRefused(Exception):
    """ECS will not start this task, now or later; the message is its reason."""

    def __init__(self, error: ClientError) -> None:
        answer = error.response["Error"]
        super().__init__(f"{answer['Code']}: {answer.get('Message', '')}")


class NoCapacity(Exception):
    """ECS has no room for the task just now."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskState:
    """A task as ECS describes it; times in epoch ms."""

    arn: str
    started_by: str
    stopped: bool
    created_at_ms: int | None
    started_at_ms: int | None
    stopped_at_ms: int | None
    reason: str


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
    ) -> str:
        """Start a task and return its ARN; a repeated call for the same ``started_by`` returns the same task.

        Raises
        ------
        TaskRefused
            when it can never be started.
        NoCapacity
            when it cannot be started now.
        """
        try:
            answer = self._client.run_task(
                cluster=self._settings.prefix,
                taskDefinition=task_definition,
                launchType="FARGATE",
                count=1,
                startedBy=started_by,
                clientToken=hashlib.sha256(started_by.encode()).hexdigest(),
                networkConfiguration={
                    "awsvpcConfiguration": {
                        "subnets": self._settings.subnet_ids,
                        "securityGroups": self._settings.security_group_ids,
                        "assignPublicIp": "ENABLED" if self._settings.assign_public_ip else "DISABLED",
                    }
                },
                overrides=overrides,
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
            found += [
                TaskState(
                    arn=task["taskArn"],
                    started_by=task.get("startedBy", ""),
                    stopped=task["lastStatus"] == "STOPPED",
                    created_at_ms=_ms(task.get("createdAt")),
                    started_at_ms=_ms(task.get("startedAt")),
                    stopped_at_ms=_ms(task.get("stoppedAt")),
                    reason=task.get("stoppedReason", ""),
                )
                for task in answer["tasks"]
            ]
        return found


def _existing(error: ClientError) -> str | None:
    found = cast(list[str], error.response.get("resourceIds", []))
    return found[0] if found else None


def _ms(time: datetime | None) -> int | None:
    return int(time.timestamp() * 1000) if time else None
