"""The signatures of a webhook, checked as a receiver checks them."""

import base64
import contextlib
import hashlib
import hmac
import json
import time

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from chalicelib.reactions.signatures import SharedSecrets, WebhookSecrets, key_from, public_key_of, signed_headers

BODY = '{"text":"naïve ☃"}'.encode()


def whsec(secret: str) -> str:
    """The key as a receiver's Standard Webhooks library takes it."""
    return "whsec_" + base64.b64encode(secret.encode()).decode()


@given(st.dictionaries(st.text(), st.text()), st.text(min_size=1, alphabet=st.characters(codec="utf-8")))
def test_a_receiver_verifies_both_signatures(report: dict[str, str], secret: str) -> None:
    body = json.dumps(report, ensure_ascii=False).encode("utf-8", "replace")
    headers = signed_headers(WebhookSecrets(current=secret), "ns", "d1", int(time.time()), body)
    assert Webhook(whsec(secret)).verify(body, headers) == json.loads(body)
    assert headers["X-Coral-Signature"] == hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def test_while_a_secret_is_rotated_receivers_of_both_verify() -> None:
    headers = signed_headers(WebhookSecrets(current="new", previous="old"), "ns", "d1", int(time.time()), BODY)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in ("new", "old"):
        Webhook(whsec(secret)).verify(BODY, headers)
    assert headers["X-Coral-Signature"] == hmac.new(b"new", BODY, hashlib.sha256).hexdigest()


def test_after_the_rotation_the_old_secret_verifies_nothing() -> None:
    headers = signed_headers(WebhookSecrets(current="new"), "ns", "d1", int(time.time()), BODY)
    with pytest.raises(WebhookVerificationError):
        Webhook(whsec("old")).verify(BODY, headers)


@pytest.mark.parametrize(
    ("name", "value"),
    [("webhook-id", "d2"), ("webhook-timestamp", str(int(time.time()) + 9))],
    ids=["webhook-id", "webhook-timestamp"],  # two processes that collect at different times must agree on the names
)
def test_id_and_time_are_signed(name: str, value: str) -> None:
    headers = signed_headers(WebhookSecrets(current="s"), "ns", "d1", int(time.time()), BODY)
    with pytest.raises(WebhookVerificationError):
        Webhook(whsec("s")).verify(BODY, {**headers, name: value})


def test_a_namespace_with_secrets_of_its_own_is_signed_by_those_alone() -> None:
    secrets = WebhookSecrets(
        current="all", previous="before", namespaces={"shop": SharedSecrets(current="its", previous="old")}
    )
    its, others = (signed_headers(secrets, name, "d1", int(time.time()), BODY) for name in ("shop", "another"))
    for secret in ("its", "old"):
        Webhook(whsec(secret)).verify(BODY, its)
        with pytest.raises(WebhookVerificationError):
            Webhook(whsec(secret)).verify(BODY, others)
    for secret in ("all", "before"):
        Webhook(whsec(secret)).verify(BODY, others)
        with pytest.raises(WebhookVerificationError):
            Webhook(whsec(secret)).verify(BODY, its)
    assert its["X-Coral-Signature"] == hmac.new(b"its", BODY, hashlib.sha256).hexdigest()


#: The first test vector of RFC 8032 (section 7.1): seed and public key.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def verify(key: str, headers: dict[str, str], body: bytes) -> None:
    """Verify as the specification says: any ``v1a`` signature counts; raise `InvalidSignature` when none is right."""
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.removeprefix("whpk_"), validate=True))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    for signature in headers["webhook-signature"].split(" "):
        version, _, text = signature.partition(",")
        if version == "v1a":
            with contextlib.suppress(InvalidSignature):
                public.verify(base64.b64decode(text), signed)
                return
    raise InvalidSignature


def test_a_key_is_written_as_the_specification_says() -> None:
    assert key_from(SEED) == "whsk_" + base64.b64encode(SEED + PUBLIC).decode()
    assert public_key_of(key_from(SEED)) == "whpk_" + base64.b64encode(PUBLIC).decode()
    assert public_key_of("whsk_" + base64.b64encode(SEED).decode()) == public_key_of(key_from(SEED))


def test_who_has_the_public_key_verifies_and_cannot_sign() -> None:
    keys = [key_from(bytes([number]) * 32) for number in (1, 2)]
    secrets = WebhookSecrets(current="s", signing_key=keys[0], previous_signing_key=keys[1])
    headers = signed_headers(secrets, "ns", "d1", int(time.time()), BODY)
    versions = [each.split(",")[0] for each in headers["webhook-signature"].split(" ")]
    assert versions == ["v1", "v1a", "v1a"]
    for key in keys:
        verify(public_key_of(key), headers, BODY)
    Webhook(whsec("s")).verify(BODY, headers)  # whom the other signatures are of no concern
    for changed in ({"webhook-id": "d2"}, {"webhook-timestamp": "1"}):
        with pytest.raises(InvalidSignature):
            verify(public_key_of(keys[0]), {**headers, **changed}, BODY)
    with pytest.raises(InvalidSignature):
        verify(public_key_of(keys[0]), headers, BODY + b" ")
    with pytest.raises(InvalidSignature):
        verify(public_key_of(key_from(SEED)), headers, BODY)


@pytest.mark.parametrize(
    "key", ["", "whsk_", "whsk_hush", "whpk_" + base64.b64encode(SEED).decode(), base64.b64encode(SEED).decode()]
)
def test_a_key_that_is_none_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        WebhookSecrets(current="s", signing_key=key)
    assert "whsk_ and the base64" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_secrets_that_are_wrong_are_not_shown() -> None:
    with pytest.raises(ValidationError) as caught:
        WebhookSecrets.model_validate_json('{"current": "", "previous": "hush-hush"}')
    assert "hush" not in str(caught.value)
    with pytest.raises(ValidationError) as caught:
        WebhookSecrets.model_validate_json('"hush-hush"')
    assert "hush" not in str(caught.value)
