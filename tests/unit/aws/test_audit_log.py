"""The audit log on AWS: lines come by a subscription, and are written into a stream a day."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from typer.testing import CliRunner, Result

from chalicelib import services
from chalicelib.aws.audit_log import AuditLog
from chalicelib.clock import Clock
from chalicelib.services import Services
from chalicelib.settings import Settings
from chalicelib.workers.audit import on_audit
from infra import keys
from infra.deploy import description
from tests.log_batches import event_of

DAY_MS = 24 * 3_600_000


@pytest.fixture
def logs() -> Iterator[Any]:
    """CloudWatch Logs with an empty audit log, which the functions of this process write to."""
    with mock_aws():
        client = boto3.client("logs", region_name="us-east-1")
        client.create_log_group(logGroupName="/atoll/test/audit")
        here = Services(Settings(stage="test", region="us-east-1"))
        here.audit_log = AuditLog(client, here.settings)
        services.use(here)
        yield client
        services.use(None)


def written(logs: Any) -> dict[str, list[str]]:
    group = {"logGroupName": "/atoll/test/audit"}
    streams = [each["logStreamName"] for each in logs.describe_log_streams(**group)["logStreams"]]
    return {
        name: [each["message"] for each in logs.get_log_events(**group, logStreamName=name)["events"]]
        for name in streams
    }


def test_lines_are_written_into_the_stream_of_their_day(logs: Any) -> None:
    now_ms = Clock().now_ms()
    day = now_ms - now_ms % DAY_MS
    on_audit(event_of((day + 2, "second"), (day + 1, "first"), (day - 1, "before midnight")), None)
    on_audit(event_of((day + 3, "third")), None)
    assert sorted(written(logs).values()) == [["before midnight"], ["first", "second", "third"]]


def test_a_message_that_checks_whether_the_function_is_there_writes_nothing(logs: Any) -> None:
    on_audit(event_of((0, "CWL CONTROL MESSAGE: Checking health of destination"), kind="CONTROL_MESSAGE"), None)
    assert written(logs) == {}


def operator(*arguments: str) -> Result:
    """Run the command for API keys on the stage."""
    return CliRunner().invoke(keys.app, [*arguments, "--stage", "test", "--region", "us-east-1"])


def test_changes_of_keys_are_told_with_the_arn_of_who_made_them(logs: Any) -> None:
    template = description.stack()["Resources"]["ApiKeysTable"]["Properties"]
    parts = {name: template[name] for name in ("AttributeDefinitions", "KeySchema", "BillingMode")}
    boto3.client("dynamodb", region_name="us-east-1").create_table(TableName="atoll-test-api-keys", **parts)
    for arguments in (
        ["make", "ann", "-n", "shop", "--role", "viewer", "-l", "sessions=2"],
        ["rotate", "ann"],
        ["limit", "shop", "agents=5"],
    ):
        assert operator(*arguments).exit_code == 0
    [lines] = (list(map(json.loads, texts)) for texts in written(logs).values())
    assert [line["audit"] for line in lines] == ["make_key", "rotate_key", "limit_namespace"]
    made, rotated, limited = lines
    assert made.items() >= {"ofName": "ann", "ofRole": "viewer", "namespaces": ["shop"]}.items()
    assert rotated["ofKey"] != made["ofKey"]
    assert limited.items() >= {"namespace": "shop", "limits": {"agents": 5}}.items()
    assert all(line["by"].startswith("arn:aws:") for line in lines)
    logs.delete_log_group(logGroupName="/atoll/test/audit")
    found = operator("make", "bob")
    assert found.exit_code == 1, "the line was not written"
    assert found.stdout.startswith("atoll_"), "but the key is there, and nobody could show it again"
