"""Step Functions: the state machine that keeps the time of each session."""

import json
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient


class Machines:
    """The `session-lifecycle` machine: one execution a session, named after it."""

    def __init__(self, client: "SFNClient", settings: Settings) -> None:
        self._client = client
        self._arn = settings.state_machine_arn("session-lifecycle")

    def start_lifecycle(self, namespace: str, session_id: str, *, ttl_s: int) -> None:
        """Start the lifecycle of a session; one that was started before is left alone."""
        content = {"namespace": namespace, "sessionId": session_id, "ttlSeconds": ttl_s}
        try:
            self._client.start_execution(stateMachineArn=self._arn, name=session_id, input=json.dumps(content))
        except ClientError as error:
            if error.response["Error"]["Code"] != "ExecutionAlreadyExists":
                raise

    def end_run(self, task_token: str) -> None:
        """Tell the lifecycle that the session's agents need not run on; a wait that is over is left alone."""
        try:
            self._client.send_task_success(taskToken=task_token, output="{}")
        except ClientError as error:
            # TaskTimedOut: the TTL came first, or the token was answered before. InvalidToken: its execution is gone.
            if error.response["Error"]["Code"] not in ("TaskTimedOut", "TaskDoesNotExist", "InvalidToken"):
                raise
