"""What of a stage is under way: executions of its state machines, and tasks of its agents.

ECS deletes no cluster that has tasks, and Step Functions no state machine before its last execution is over.
"""

import time
from collections.abc import Iterator
from typing import Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from infra.deploy import Failed
from infra.deploy.plan import Found

MACHINES = ("session-lifecycle", "webhook-delivery")

#: How long is waited for what was told to stop: ECS gives a task 30 seconds (120 at most) before it kills it.
PAUSE_S = 3.0
PAUSES = 100

#: How many of those that still run an error names.
_NAMED = 5

#: Both services limit how many are stopped in a second: this slows down instead of giving up.
_PATIENT = Config(retries={"mode": "adaptive", "max_attempts": 10})

#: What stopping something that is over answers.
_OVER = ("ExecutionDoesNotExist", "ValidationException", "InvalidParameterException")


class Running:
    """The executions and tasks of one stage."""

    def __init__(self, session: boto3.Session, found: Found, stage: str) -> None:
        self._states = session.client("stepfunctions", config=_PATIENT)
        self._ecs = session.client("ecs", config=_PATIENT)
        self._cluster = f"atoll-{stage}"
        self._machines = [
            f"arn:{found.partition}:states:{found.region}:{found.account}:stateMachine:atoll-{stage}-{machine}"
            for machine in MACHINES
        ]

    def executions(self) -> list[str]:
        """Return the ARNs of the executions that are not over."""
        return [arn for machine in self._machines for arn in self._executions_of(machine)]

    def _executions_of(self, machine: str) -> Iterator[str]:
        pages = self._states.get_paginator("list_executions").paginate(stateMachineArn=machine, statusFilter="RUNNING")
        try:
            for page in pages:
                yield from (each["executionArn"] for each in page["executions"])
        except self._states.exceptions.StateMachineDoesNotExist:
            return

    def tasks(self) -> list[str]:
        """Return the ARNs of the tasks that have not stopped: those that are about to stop hold the cluster, too."""
        return [*self._tasks_that_shall_be("RUNNING"), *self._tasks_that_shall_be("STOPPED")]

    def _tasks_that_shall_be(self, desired: Literal["RUNNING", "STOPPED"]) -> Iterator[str]:
        pages = self._ecs.get_paginator("list_tasks").paginate(cluster=self._cluster, desiredStatus=desired)
        try:
            for page in pages:
                if page["taskArns"]:
                    described = self._ecs.describe_tasks(cluster=self._cluster, tasks=page["taskArns"])["tasks"]
                    yield from (task["taskArn"] for task in described if task["lastStatus"] != "STOPPED")
        except self._ecs.exceptions.ClusterNotFoundException:
            return

    def end(self) -> None:
        """Stop all of it and wait until it has stopped; raise `Failed` when something does not."""
        told: set[str] = set()
        for _ in range(PAUSES):
            # Executions first, and both anew each time: a function that runs while its session ends may start another.
            executions, tasks = self.executions(), self.tasks()
            if not executions and not tasks:
                return
            for arn in executions:
                if arn not in told:
                    _unless_over(self._states.stop_execution, executionArn=arn, cause="The stage is taken down.")
            for arn in tasks:
                if arn not in told:
                    _unless_over(
                        self._ecs.stop_task, cluster=self._cluster, task=arn, reason="The stage is taken down."
                    )
            told.update(executions, tasks)
            time.sleep(PAUSE_S)
        raise Failed(
            f"still not over after {PAUSES * PAUSE_S:.0f} seconds: {_some(executions, 'executions')},"
            f" {_some(tasks, 'tasks')}. Run the command again to wait on"
        )


def _unless_over(stop: Any, **which: str) -> None:
    try:
        stop(**which)
    except ClientError as error:
        # It ended before it was stopped. Had it not, it would be listed again.
        if error.response["Error"]["Code"] not in _OVER:
            raise


def _some(arns: list[str], what: str) -> str:
    names = ", ".join(arns[:_NAMED]) + (", …" if len(arns) > _NAMED else "")
    return f"{len(arns)} {what}{f' ({names})' if names else ''}"
