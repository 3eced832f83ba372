"""The environment files of tasks, read from moto's S3 as ECS reads them from S3."""

from collections.abc import Callable
from contextvars import Context
from typing import Any

from botocore.exceptions import ClientError


class S3EnvironmentFiles:
    """Environment files that are objects of S3."""

    def __init__(self, client: Callable[[], Any]) -> None:
        """
        Parameters
        ----------
        client
            Returns the boto3 client of S3.
        """
        self._client = client

    def variables(self, arn: str) -> dict[str, str]:
        """Return what a file says; raise ``OSError`` when it cannot be read."""
        bucket, _, key = arn.rpartition(":")[2].partition("/")
        try:
            # In ECS's own name: callers of RunTask need no permission for this call.
            answer = Context().run(self._client().get_object, Bucket=bucket, Key=key)
        except ClientError as error:
            raise OSError(f"{key}: {error.response['Error']['Code']}") from error
        return parsed(answer["Body"].read())


def parsed(content: bytes) -> dict[str, str]:
    """Read a file as the agent of ECS does (amazon-ecs-agent, `envfile.go`): what is no variable is left out."""
    lines = [line.removesuffix("\r") for line in content.decode().split("\n")]
    parts = [line.partition("=") for line in lines if not line.startswith("#")]
    return {name: value for name, _, value in parts if name and value}
