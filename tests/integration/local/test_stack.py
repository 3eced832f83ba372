"""The stack as a whole: it comes and goes without a trace."""

import gc
import os
import threading
import time

import pytest
from chalice.app import Chalice
from moto.dynamodb.models.dynamo_type import Item

from infra.local.stack import LocalStack
from tests.integration.local.conftest import StandIns, eventually


def test_stacks_follow_each_other_in_one_process_and_leave_nothing() -> None:
    app = Chalice("atoll")
    before = set(threading.enumerate())
    environment = dict(os.environ)
    for _ in range(3):
        with LocalStack(app=app) as stack:
            tables = stack.services.client("dynamodb").list_tables()["TableNames"]
            assert len(tables) == 9
            assert stack.services.client("dynamodb").scan(TableName="atoll-local-sessions")["Items"] == []
            stack.services.client("dynamodb").put_item(
                TableName="atoll-local-sessions", Item={"namespace": {"S": "n"}, "sessionId": {"S": "s"}}
            )

    eventually(lambda: set(threading.enumerate()) <= before)
    assert dict(os.environ) == environment


def test_a_stack_with_executions_under_way_stops_at_once(stand_ins: StandIns) -> None:
    for number in range(5):
        content = {"namespace": "n", "sessionId": str(number), "ttlSeconds": 3600}
        stand_ins.start("session-lifecycle", str(number), content)
    began_s = time.monotonic()

    stand_ins.stack.stop()

    assert time.monotonic() - began_s < 3


def test_reading_and_writing_leaves_nothing_behind(stand_ins: StandIns) -> None:
    def use(number: int) -> None:
        key = {"sessionId": {"S": f"s{number}"}, "item": {"S": "EVENT#1"}}
        table = stand_ins.client("dynamodb")
        table.put_item(TableName="atoll-local-session-items", Item=key | {"payload": {"S": "x" * 1000}})
        table.get_item(TableName="atoll-local-session-items", Key=key)
        table.delete_item(TableName="atoll-local-session-items", Key=key)
        stand_ins.put_session("s", status=str(number))

    def items() -> int:
        gc.collect()
        return sum(isinstance(thing, Item) for thing in gc.get_objects())

    use(0)
    before = items()
    for number in range(50):
        use(number)
    stand_ins.stack.tidy()

    assert items() <= before + 1


def test_it_is_ready_soon() -> None:
    began_s = time.monotonic()
    with LocalStack(app=Chalice("atoll")):
        assert time.monotonic() - began_s < 5


def test_a_port_that_is_taken_is_said_and_leaves_nothing(stand_ins: StandIns) -> None:
    port = int(stand_ins.stack.url.rsplit(":", 1)[1])
    app = Chalice("atoll")
    environment = dict(os.environ)

    with pytest.raises(OSError, match="in use"):
        LocalStack(app=app, port=port).start()

    assert dict(os.environ) == environment


def test_what_the_template_generates_is_there(stand_ins: StandIns) -> None:
    secrets = stand_ins.client("secretsmanager")

    assert len(secrets.get_secret_value(SecretId="atoll-local/agent-key")["SecretString"]) == 64
    webhook = secrets.get_secret_value(SecretId="atoll-local/webhook-secrets")["SecretString"]
    assert stand_ins.stack.webhook_secret in webhook
    tools = secrets.get_secret_value(SecretId="atoll-local/custom-tool-secret")["SecretString"]
    assert stand_ins.stack.custom_tool_secret == tools
    assert stand_ins.stack.custom_tool_secret not in webhook, "who checks calls of tools cannot sign an end report"
    buckets = stand_ins.client("s3").list_buckets()["Buckets"]
    assert [bucket["Name"] for bucket in buckets] == [stand_ins.stack.services.settings.bodies_bucket]
