"""The access log of a stage's REST API is switched on and off after Chalice has made the stage."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from infra.deploy import Failed, access_log

GROUP = "arn:aws:logs:us-east-1:123456789012:log-group:/atoll/dev/access"


@pytest.fixture
def session() -> Iterator[boto3.Session]:
    with mock_aws():
        yield boto3.Session(region_name="us-east-1")


@pytest.fixture
def api(session: boto3.Session) -> str:
    """A REST API with a stage, as Chalice makes it."""
    client = session.client("apigateway")
    api = str(client.create_rest_api(name="atoll")["id"])
    root = client.get_resources(restApiId=api)["items"][0]["id"]
    client.put_method(restApiId=api, resourceId=root, httpMethod="GET", authorizationType="NONE")
    client.put_integration(restApiId=api, resourceId=root, httpMethod="GET", type="MOCK")
    client.create_deployment(restApiId=api, stageName="dev")
    return api


def allow_logs(session: boto3.Session) -> None:
    role = {"op": "replace", "path": "/cloudwatchRoleArn", "value": "arn:aws:iam::123456789012:role/logs"}
    session.client("apigateway").update_account(patchOperations=[role])


def settings(session: boto3.Session, api: str) -> Any:
    return session.client("apigateway").get_stage(restApiId=api, stageName="dev").get("accessLogSettings")


def test_it_is_written_into_its_group_until_it_is_switched_off(session: boto3.Session, api: str) -> None:
    allow_logs(session)
    for _ in range(2):
        access_log.switch(session, api, "dev", f"{GROUP}:*")
        assert settings(session, api) == {"destinationArn": GROUP, "format": access_log.FORMAT}
    for _ in range(2):
        access_log.switch(session, api, "dev", "")
        assert not settings(session, api)


def test_an_account_that_lets_no_api_write_logs_is_said_so(session: boto3.Session, api: str) -> None:
    with pytest.raises(Failed, match="no role to write logs with"):
        access_log.switch(session, api, "dev", GROUP)
    access_log.switch(session, api, "dev", "")
    assert not settings(session, api)


def test_a_line_names_the_route_and_no_path() -> None:
    """Paths carry agents' secrets, queries cursors; headers are not there at all."""
    line = json.loads(access_log.FORMAT)
    assert line["route"] == "$context.resourcePath"
    assert not {"$context.path", "$context.requestOverride.path"} & set(line.values())
    assert all("header" not in value and "querystring" not in value for value in line.values())
