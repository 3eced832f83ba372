"""Both signatures of a webhook, checked as a receiver checks them."""

import base64
import hashlib
import hmac
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from chalicelib.reactions.deliveries import WebhookSecrets, signed_headers

BODY = '{"text":"naïve ☃"}'.encode()


def whsec(secret: str) -> str:
    """The key as a receiver's Standard Webhooks library takes it."""
    return "whsec_" + base64.b64encode(secret.encode()).decode()


@given(st.dictionaries(st.text(), st.text()), st.text(min_size=1, alphabet=st.characters(codec="utf-8")))
def test_a_receiver_verifies_both_signatures(report: dict[str, str], secret: str) -> None:
    body = json.dumps(report, ensure_ascii=False).encode("utf-8", "replace")
    headers = signed_headers(WebhookSecrets(current=secret), "d1", int(time.time()), body)
    assert Webhook(whsec(secret)).verify(body, headers) == json.loads(body)
    assert headers["X-Coral-Signature"] == hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def test_while_a_secret_is_rotated_receivers_of_both_verify() -> None:
    headers = signed_headers(WebhookSecrets(current="new", previous="old"), "d1", int(time.time()), BODY)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in ("new", "old"):
        Webhook(whsec(secret)).verify(BODY, headers)
    assert headers["X-Coral-Signature"] == hmac.new(b"new", BODY, hashlib.sha256).hexdigest()


def test_after_the_rotation_the_old_secret_verifies_nothing() -> None:
    headers = signed_headers(WebhookSecrets(current="new"), "d1", int(time.time()), BODY)
    with pytest.raises(WebhookVerificationError):
        Webhook(whsec("old")).verify(BODY, headers)


@pytest.mark.parametrize(
    ("name", "value"),
    [("webhook-id", "d2"), ("webhook-timestamp", str(int(time.time()) + 9))],
    ids=["webhook-id", "webhook-timestamp"],  # two processes that collect at different times must agree on the names
)
def test_id_and_time_are_signed(name: str, value: str) -> None:
    headers = signed_headers(WebhookSecrets(current="s"), "d1", int(time.time()), BODY)
    with pytest.raises(WebhookVerificationError):
        Webhook(whsec("s")).verify(BODY, {**headers, name: value})


def test_secrets_that_are_wrong_are_not_shown() -> None:
    with pytest.raises(ValidationError) as caught:
        WebhookSecrets.model_validate_json('{"current": "", "previous": "hush-hush"}')
    assert "hush" not in str(caught.value)
    with pytest.raises(ValidationError) as caught:
        WebhookSecrets.model_validate_json('"hush-hush"')
    assert "hush" not in str(caught.value)
