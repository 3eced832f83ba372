"""The stack as a whole: it comes and goes without a trace."""

import os
import threading
import time

import pytest
from chalice import Chalice

from infra.local.stack import LocalStack
from tests.integration.local.conftest import StandIns, eventually


def test_stacks_follow_each_other_in_one_process_and_leave_nothing() -> None:
    app = Chalice("atoll")
    before = set(threading.enumerate())
    environment = dict(os.environ)
    for _ in range(3):
        with LocalStack(app=app) as stack:
            tables = stack.atoll.client("dynamodb").list_tables()["TableNames"]
            assert len(tables) == 6
            assert stack.atoll.client("dynamodb").scan(TableName="atoll-local-sessions")["Items"] == []
            stack.atoll.client("dynamodb").put_item(
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
    buckets = stand_ins.client("s3").list_buckets()["Buckets"]
    assert [bucket["Name"] for bucket in buckets] == [stand_ins.stack.atoll.settings.bodies_bucket]
