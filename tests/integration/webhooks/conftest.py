"""A deployment with the deliveries table and the bodies' bucket as the template says, and receivers."""

import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from chalicelib.clock import Clock
from chalicelib.deployment import Deployment
from chalicelib.settings import Settings
from infra.local.templates import load
from tests.integration.webhooks.receivers import Receiver, receiving

SECRET = "the current secret"


class HeldClock(Clock):
    """A clock that stands until it is moved; sleeping moves it."""

    def __init__(self) -> None:
        self.time_ms = super().now_ms()

    def now_ms(self) -> int:
        return self.time_ms

    def sleep(self, seconds: float) -> None:
        self.time_ms += int(seconds * 1000)


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def atoll(clock: HeldClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    template = load(Path(__file__).parents[3] / "infra" / "stack.yaml")
    with mock_aws():
        deployment = Deployment(Settings(stage="test", allow_private_addresses=True), clock)
        for resource in ("DeliveriesTable", "ApiKeysTable"):
            properties = template["Resources"][resource]["Properties"]
            name = properties["TableName"]["Fn::Sub"].replace("${Stage}", "test")
            taken = ("AttributeDefinitions", "KeySchema", "BillingMode", "GlobalSecondaryIndexes")
            deployment.dynamodb.create_table(
                TableName=name, **{part: properties[part] for part in taken if part in properties}
            )
        boto3.client("s3").create_bucket(Bucket=deployment.settings.bodies_bucket)
        deployment.secrets = Secrets({"current": SECRET})  # type: ignore[assignment]
        yield deployment


class Secrets:
    """Secrets Manager with one secret, and no cache."""

    def __init__(self, secrets: dict[str, str]) -> None:
        self.webhook_secrets = secrets

    def get(self, name: str) -> str:
        assert name == "webhook-secrets"
        return json.dumps(self.webhook_secrets)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running
