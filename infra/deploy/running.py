"""Lists and stops the running executions of a stage's state machines, and the tasks of its agents.

ECS deletes no cluster that has tasks, and Step Functions no state machine before its last execution is over.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from chalicelib.aws.machines import EXECUTIONS_OF_PAGE
from infra.deploy import Failed
from infra.deploy.plan import Found

MACHINES = ("session-lifecycle", "webhook-delivery")

#: How long to wait for what is being stopped, in s: ECS gives a task 30 seconds (120 at most) before it kills it.
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
        self._prefix = f"arn:{found.partition}:states:{found.region}:{found.account}:stateMachine:atoll-{stage}"

    def executions(self) -> list[str]:
        """Return the ARNs of the executions that are not over."""
        return [arn for machine in MACHINES for arn in self._executions_of(f"{self._prefix}-{machine}")]

    def _executions_of(self, machine: str) -> Iterator[str]:
        pages = self._states.get_paginator("list_executions").paginate(
            stateMachineArn=machine, statusFilter="RUNNING", PaginationConfig={"PageSize": EXECUTIONS_OF_PAGE}
        )
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
            for arns in (page["taskArns"] for page in pages if page["taskArns"]):
                described = self._ecs.describe_tasks(cluster=self._cluster, tasks=arns)["tasks"]
                yield from (task["taskArn"] for task in described if task["lastStatus"] != "STOPPED")
        except self._ecs.exceptions.ClusterNotFoundException:
            return

    def end(self) -> None:
        """Stop all of it and wait until it has stopped; raises `Failed` when something does not."""
        why = "The stage is taken down."
        asked: set[str] = set()
        for _ in range(PAUSES):
            # Executions first, and both anew each time: a function that runs while its session ends may start another.
            executions, tasks = self.executions(), self.tasks()
            if not executions and not tasks:
                return
            for arn in set(executions) - asked:
                _unless_over(self._states.stop_execution, executionArn=arn, cause=why)
            for arn in set(tasks) - asked:
                _unless_over(self._ecs.stop_task, cluster=self._cluster, task=arn, reason=why)
            asked.update(executions, tasks)
            time.sleep(PAUSE_S)
        left = ", ".join([*executions, *tasks][:_NAMED])
        raise Failed(
            f"{len(executions)} executions and {len(tasks)} tasks are not over after {PAUSES * PAUSE_S:.0f} seconds"
            f" ({left}{', …' if len(executions) + len(tasks) > _NAMED else ''}). Run the command again to wait on"
        )


def _unless_over(stop: Callable[..., Any], **which: str) -> None:
    try:
        stop(**which)
    except ClientError as error:
        # It ended before it was stopped. Had it not, it would be listed again.
        if error.response["Error"]["Code"] not in _OVER:
            raise
