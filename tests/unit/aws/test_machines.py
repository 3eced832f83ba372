"""How executions of a stage's machine are listed."""

from typing import Any

import boto3
from botocore.stub import Stubber

from chalicelib.aws.machines import Machines
from chalicelib.settings import Settings


def test_running_executions_come_by_the_thousand() -> None:
    client = boto3.client("stepfunctions", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    asked: list[dict[str, Any]] = []
    client.meta.events.register(
        "provide-client-params.stepfunctions.ListExecutions", lambda params, **_: asked.append(params)
    )
    settings = Settings()
    page: dict[str, list[str]] = {"executions": []}
    with Stubber(client) as stubber:
        stubber.add_response("list_executions", page)
        assert list(Machines(client, settings).running()) == []
    assert asked[0]["maxResults"] == 1_000
