"""Rotating the secret that signs webhooks."""

import json
from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from infra.webhook_secrets import Secrets


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Secrets]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        client = boto3.client("secretsmanager", "us-east-1")
        client.create_secret(Name="atoll-dev/webhook-secrets", SecretString=json.dumps({"current": "first"}))
        yield Secrets(client, "dev")


def test_a_rotated_secret_still_signs_beside_the_new_one(secrets: Secrets) -> None:
    new = secrets.rotate()
    assert secrets.read() == {"current": new, "previous": "first"}


def test_a_retired_secret_is_forgotten(secrets: Secrets) -> None:
    new = secrets.rotate()
    assert secrets.retire()
    assert secrets.read() == {"current": new}
    assert not secrets.retire()


def test_a_revoked_secret_signs_nothing_more(secrets: Secrets) -> None:
    secrets.rotate()
    new = secrets.rotate(forget_previous=True)
    assert secrets.read() == {"current": new}
