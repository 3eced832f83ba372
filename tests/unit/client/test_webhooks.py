"""Receivers verify end reports with the client, by the shared secret and by the public keys."""

import base64
import time
from typing import Any

import pytest

from atoll import NotVerified, verify_by_key, verify_by_secret
from atoll.models import BudgetNotice
from chalicelib.reactions import signatures

BODY = (
    b'{"timestamp":"2026-11-22T18:22:15.199Z",'
    b'"namespaceState":{"name":"n","deleteOnLastSessionExit":true,"annotations":{}},'
    b'"sessionState":{"type":"base","state":{"id":"s","timestamp":"2026-11-22T18:22:15.199Z","namespace":"n",'
    b'"status":{"type":"pending_execution"},"annotations":{}}},"agentStats":[]}'
)
KEY, OTHER = signatures.key_from(b"1" * 32), signatures.key_from(b"2" * 32)
SECRETS = signatures.WebhookSecrets(current="new ☂", previous="old", signing_key=KEY)


def headers(body: bytes = BODY, age_s: int = 0) -> dict[str, str]:
    return signatures.signed_headers(SECRETS, "n", "s-end", int(time.time()) - age_s, body)


def verify(how: str, found: dict[str, str], body: bytes = BODY) -> Any:
    if how == "key":
        return verify_by_key([signatures.public_key_of(key) for key in (OTHER, KEY)], found, body)
    return verify_by_secret(how, found, body)


ways = pytest.mark.parametrize("how", ["new ☂", "old", "key"])


@ways
def test_what_atoll_sends_is_verified(how: str) -> None:
    assert verify(how, headers()).session_state.state.id == "s"
    assert verify(how, {name.title(): value for name, value in headers().items()}).namespace_state.name == "n"


@ways
def test_what_is_not_as_it_was_sent_is_refused(how: str) -> None:
    found = headers()
    changed = [(found, BODY + b" "), ({}, BODY), (found | {"webhook-id": "x"}, BODY), (headers(age_s=301), BODY)]
    changed += [(found | {"webhook-timestamp": text}, BODY) for text in ("", "soon", "9" * 40)]
    changed += [(found | {"webhook-signature": text}, BODY) for text in ("", "v1", "v1,x v1a,x", "v1a," + "A" * 86)]
    for sent, body in changed:
        with pytest.raises(NotVerified):
            verify(how, sent, body)


NOTICE = (
    b'{"type":"budget_reached","timestamp":"2026-11-22T18:22:15.199Z","namespace":"n","sessionId":"s","level":"session",'
    b'"onReached":"refuse","limit":2,"spent":2,"held":0,"available":0}'
)


@ways
def test_what_is_told_of_a_budget_is_verified_too(how: str) -> None:
    notice = verify(how, headers(NOTICE), NOTICE)
    assert (type(notice), notice.type, notice.spent) == (BudgetNotice, "budget_reached", 2)
    with pytest.raises(NotVerified):
        verify(how, headers(NOTICE), NOTICE.replace(b"budget_reached", b"budget_low"))


def test_another_secret_or_key_is_refused() -> None:
    with pytest.raises(NotVerified):
        verify_by_secret("other", headers(), BODY)
    with pytest.raises(NotVerified, match="by any of the keys"):
        verify_by_key([signatures.public_key_of(OTHER)], headers(), BODY)
    with pytest.raises(NotVerified, match="is no public key"):
        verify_by_key(["whpk_" + base64.b64encode(b"short").decode()], headers(), BODY)


def test_no_secret_is_not_one_that_everybody_knows() -> None:
    import hashlib
    import hmac

    stamp = str(int(time.time()))
    forged = hmac.new(b"", f"x.{stamp}.".encode() + BODY, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(forged).decode()}"
    about = {"webhook-id": "x", "webhook-timestamp": stamp, "webhook-signature": signature}
    with pytest.raises(NotVerified, match="there is no secret"):
        verify_by_secret("", about, BODY)
