"""Rotating the secret that signs webhooks."""

import json
from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from chalicelib.clock import Clock
from chalicelib.reactions.signatures import WebhookSecrets, public_key_of
from chalicelib.store.table import Table
from chalicelib.store.webhooks import Webhooks
from infra import webhook_secrets
from infra.webhook_secrets import Refused, Secrets


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Secrets]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        client = boto3.client("secretsmanager", "us-east-1")
        client.create_secret(Name="atoll-dev/webhook-secrets", SecretString=json.dumps({"current": "first"}))
        dynamodb = boto3.client("dynamodb", "us-east-1")
        dynamodb.create_table(
            TableName="webhooks",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("namespace", "item")],
            KeySchema=[
                {"AttributeName": "namespace", "KeyType": "HASH"},
                {"AttributeName": "item", "KeyType": "RANGE"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        yield Secrets(client, "dev", Webhooks(Table(dynamodb, "webhooks", Clock())))


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


def test_the_first_secret_of_a_namespace_takes_over_from_the_deployments(secrets: Secrets) -> None:
    new = secrets.rotate("shop")
    assert secrets.read() == {"current": "first", "namespaces": {"shop": {"current": new, "previous": "first"}}}
    assert (secrets.current("shop"), secrets.current("another"), secrets.current()) == (new, "first", "first")
    assert secrets.retire("shop")
    newer = secrets.rotate("shop", forget_previous=True)
    assert secrets.read()["namespaces"] == {"shop": {"current": newer}}
    assert not secrets.retire("shop")
    assert not secrets.retire("another")
    secrets.rotate()
    assert secrets.read()["namespaces"] == {"shop": {"current": newer}}, "the deployment's goes its own way"
    assert secrets.remove("shop")
    assert not secrets.remove("shop")
    assert secrets.current("shop") == secrets.current()


def test_a_new_key_is_published_and_signs_beside_the_old_one(secrets: Secrets) -> None:
    assert not secrets.retire_key()
    first, second = secrets.rotate_key(), secrets.rotate_key()
    known = WebhookSecrets.model_validate(secrets.read())
    assert [public_key_of(key) for key in known.signing_keys] == [second, first]
    assert secrets._webhooks.public_keys() == [second, first]
    assert known.current == "first"
    secrets.rotate("shop")
    secrets.rotate()
    assert secrets.retire_key()
    assert secrets._webhooks.public_keys() == [second]
    assert len(WebhookSecrets.model_validate(secrets.read()).signing_keys) == 1
    third = secrets.rotate_key(forget_previous=True)
    assert secrets._webhooks.public_keys() == [third]


def test_more_than_a_secret_can_hold_is_refused(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets.rotate("shop")
    before = secrets.read()
    monkeypatch.setattr(webhook_secrets, "LARGEST_BYTES", 200)
    with pytest.raises(Refused, match="takes 200"):
        secrets.rotate("another")
    assert secrets.read() == before
