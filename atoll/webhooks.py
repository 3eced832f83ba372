"""Verification of webhooks, over the bytes as they came (docs/webhooks.md)."""

import base64
import binascii
import functools
import time
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from pydantic import TypeAdapter
from standardwebhooks import Webhook, WebhookVerificationError

from atoll.errors import NotVerified
from atoll.models import BudgetNotice, SessionEndReport

#: What a webhook brings: how a session ended, or that a budget of it is low, or was reached.
Message: TypeAlias = SessionEndReport | BudgetNotice

#: How old a webhook may be, in s, as Standard Webhooks has it.
OLDEST_S = 300


def verify_by_secret(secret: str, headers: Mapping[str, str], body: bytes) -> Message:
    """Return what a webhook brings, signed with a deployment's or a namespace's secret.

    The secret is the text that the operator gave out. Raises `NotVerified`.
    """
    check_by_secret(secret, headers, body)
    return _message().validate_json(body)


def verify_by_key(keys: Iterable[str], headers: Mapping[str, str], body: bytes) -> Message:
    """Return what a webhook brings, signed by one of a deployment's public keys (``whpk_…``).

    It needs the package ``cryptography``. Raises `NotVerified`.
    """
    check_by_key(keys, headers, body)
    return _message().validate_json(body)


def check_by_secret(secret: str, headers: Mapping[str, str], body: bytes) -> None:
    """Verify as `verify_by_secret` does, whatever the webhook brings."""
    if not secret:
        raise NotVerified("the webhook is not verified: there is no secret, and anybody could sign with that")
    key = "whsec_" + base64.b64encode(secret.encode()).decode()
    try:
        Webhook(key).verify(body, _lower(headers), json_parse=False)
    except (WebhookVerificationError, ValueError) as error:
        raise NotVerified(f"the webhook is not verified: {error}") from error


def check_by_key(keys: Iterable[str], headers: Mapping[str, str], body: bytes) -> None:
    """Verify as `verify_by_key` does, whatever the webhook brings."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    found = _lower(headers)
    stamp = found.get("webhook-timestamp", "")
    if not stamp.isascii() or not stamp.isdigit() or abs(time.time() - int(stamp[:20])) > OLDEST_S:
        raise NotVerified("the webhook is not verified: it has no time, or is older than 5 minutes")
    signed = f"{found.get('webhook-id', '')}.{stamp}.".encode() + body
    signatures = [part[4:] for part in found.get("webhook-signature", "").split() if part.startswith("v1a,")]
    for key in keys:
        try:
            public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.removeprefix("whpk_")))
        except (ValueError, binascii.Error) as error:
            raise NotVerified(f"{key[:80]!r} is no public key: whpk_ and base64 of 32 bytes") from error
        for signature in signatures:
            try:
                public.verify(base64.b64decode(signature), signed)
                return
            except (InvalidSignature, ValueError):
                continue
    raise NotVerified("the webhook is not verified: no signature is by any of the keys")


@functools.cache
def _message() -> TypeAdapter[Message]:
    return TypeAdapter(SessionEndReport | BudgetNotice)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
