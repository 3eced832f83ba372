"""A deployment with the deliveries table and the bodies' bucket as the template says, and receivers."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from chalicelib.clock import Clock
from chalicelib.services import Services
from chalicelib.settings import Settings
from infra.local.cloudformation.templates import load
from tests.integration.webhooks.receivers import Receiver, receiving

SECRET = "the current secret"

_TEMPLATE = load(Path(__file__).parents[3] / "infra/templates/stack.yaml")
_STAGES = itertools.count(1)


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


class Clients:
    """boto3 clients, each made once: making one takes longer than most tests."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        if service not in self.made:
            self.made[service] = boto3.client(service)  # type: ignore[call-overload]  # of any service
        return self.made[service]


class OnMoto(Services):
    """A deployment of its own stage on clients that it shares."""

    def __init__(self, settings: Settings, clock: HeldClock, clients: Clients) -> None:
        super().__init__(settings, clock)
        self.client = clients.client  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        with mock_aws():
            yield Clients()


@pytest.fixture
def services(clients: Clients, clock: HeldClock) -> Services:
    stage = f"t{next(_STAGES)}"
    deployment = OnMoto(Settings(stage=stage, allow_private_addresses=True), clock, clients)
    for resource in ("DeliveriesTable", "ApiKeysTable", "WebhooksTable"):
        properties = _TEMPLATE["Resources"][resource]["Properties"]
        taken = ("AttributeDefinitions", "KeySchema", "BillingMode", "GlobalSecondaryIndexes")
        deployment.dynamodb.create_table(
            TableName=properties["TableName"]["Fn::Sub"].replace("${Stage}", stage),
            **{part: properties[part] for part in taken if part in properties},
        )
    clients.client("s3").create_bucket(Bucket=deployment.settings.bodies_bucket)
    deployment.secrets = Secrets({"current": SECRET})  # type: ignore[assignment]
    return deployment


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
