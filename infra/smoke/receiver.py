"""A receiver of webhooks on AWS, for as long as a check needs one: a stack of its own."""

import base64
import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

TEMPLATE = Path(__file__).with_name("receiver.yaml")


@dataclasses.dataclass(frozen=True)
class Received:
    """A webhook as it came in; the names of headers are in lower case."""

    headers: dict[str, str]
    body: bytes


class QueueReceiver:
    """What a stack has received."""

    def __init__(self, sqs: Any, url: str, queue: str) -> None:
        self._sqs = sqs
        self._queue = queue
        self.url = url

    def next(self, within_s: float) -> Received | None:
        """Return what has come in, or ``None`` in time."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = self._sqs.receive_message(QueueUrl=self._queue, WaitTimeSeconds=10).get("Messages", [])
            if found:
                message = json.loads(found[0]["Body"])
                headers = {name.lower(): value for name, value in message["headers"].items()}
                return Received(headers, base64.b64decode(message["body"]))
        return None


@contextmanager
def receiving(session: boto3.Session, stage: str) -> Iterator[QueueReceiver]:
    """Make a receiver, and delete it at the end."""
    client, stack = session.client("cloudformation"), f"atoll-{stage}-smoke"
    client.create_stack(
        StackName=stack,
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": "Stage", "ParameterValue": stage}],
        Capabilities=["CAPABILITY_IAM"],
    )
    try:
        client.get_waiter("stack_create_complete").wait(StackName=stack, WaiterConfig={"Delay": 5, "MaxAttempts": 60})
        outputs = client.describe_stacks(StackName=stack)["Stacks"][0]["Outputs"]
        values = {each["OutputKey"]: each["OutputValue"] for each in outputs}
        yield QueueReceiver(session.client("sqs"), f"{values['Url']}/session-ended", values["Queue"])
    finally:
        client.delete_stack(StackName=stack)
        client.get_waiter("stack_delete_complete").wait(StackName=stack, WaiterConfig={"Delay": 5, "MaxAttempts": 60})
