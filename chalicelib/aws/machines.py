"""Step Functions: the `session-lifecycle` state machine, which runs one execution for each session."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient


#: The largest page of ListExecutions (Step Functions API Reference); a page has 100 by itself.
EXECUTIONS_OF_PAGE = 1_000

#: What stands in a name between the id of the session and the number of the restart.
_RESTART = "-restart-"


def _name(session_id: str, restart: int) -> str:
    return f"{session_id}{_RESTART}{restart}" if restart else session_id


class Machines:
    """The `session-lifecycle` machine: one execution a session, named after it."""

    def __init__(self, client: "SFNClient", settings: Settings) -> None:
        self._client = client
        self._arn = settings.state_machine_arn("session-lifecycle")

    def start_lifecycle(self, namespace: str, session_id: str, *, ttl_s: int, restart: int = 0) -> bool:
        """Start the lifecycle of a session; ``False`` when it was started before, and is left alone.

        A name can be used once in 90 days, so an execution that replaces a failed one has a ``restart`` number.
        """
        content = {"namespace": namespace, "sessionId": session_id, "ttlSeconds": ttl_s}
        try:
            self._client.start_execution(
                stateMachineArn=self._arn, name=_name(session_id, restart), input=json.dumps(content)
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ExecutionAlreadyExists":
                raise
            return False
        return True

    def status(self, session_id: str, restart: int = 0) -> str | None:
        """Return the status of a session's execution, ``RUNNING`` for one; ``None`` when it was never started."""
        arn = f"{self._arn.replace(':stateMachine:', ':execution:')}:{_name(session_id, restart)}"
        try:
            return self._client.describe_execution(executionArn=arn)["status"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ExecutionDoesNotExist":
                raise
            return None

    def running(self) -> Iterator[str]:
        """Return the ids of the sessions with a running execution, page after page; a new one may be missing."""
        pages = self._client.get_paginator("list_executions").paginate(
            stateMachineArn=self._arn, statusFilter="RUNNING", PaginationConfig={"PageSize": EXECUTIONS_OF_PAGE}
        )
        for page in pages:
            yield from (execution["name"].partition(_RESTART)[0] for execution in page["executions"])

    def end_run(self, task_token: str) -> None:
        """Answer the lifecycle's task token: its agents need not run on. A wait that is over is left alone."""
        with _unless_over():
            self._client.send_task_success(taskToken=task_token, output="{}")

    def repeat_run(self, task_token: str) -> None:
        """Let the lifecycle start the agents that wait: it retries what fails. A wait that is over is left alone."""
        with _unless_over():
            self._client.send_task_failure(
                taskToken=task_token, error="AgentsWait", cause="Tasks of agents never started."
            )


@contextmanager
def _unless_over() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        # TaskTimedOut: the TTL came first, or the token was answered before. InvalidToken: its execution is gone.
        if error.response["Error"]["Code"] not in ("TaskTimedOut", "TaskDoesNotExist", "InvalidToken"):
            raise
