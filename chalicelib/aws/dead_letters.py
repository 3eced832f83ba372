"""The dead-letter queue (SQS): what cannot be processed waits there for an operator. An alarm watches its length."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chalicelib.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class DeadLetters:
    """The dead letters of this deployment: identifiers and errors, never content."""

    def __init__(self, client: "SQSClient", settings: Settings) -> None:
        self._client = client
        host = f"sqs.{settings.region}.amazonaws.com{'.cn' if settings.partition == 'aws-cn' else ''}"
        self._url = f"https://{host}/{settings.account}/{settings.prefix}-dead-letters"

    def put(self, letter: Mapping[str, Any]) -> None:
        """Send one message; raises ``ClientError`` when SQS refuses it."""
        self._client.send_message(QueueUrl=self._url, MessageBody=json.dumps(letter))
