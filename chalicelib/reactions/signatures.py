"""Signing webhooks, by secrets that are shared with receivers and by a key of which they have the public half.

A secret is a text. Coral's HMAC key is its UTF-8 bytes, and the key of Standard Webhooks is the same bytes: its
libraries take ``whsec_`` and the base64 of them. Keys are Ed25519's: ``whsk_`` and the base64 of seed and public key
(the 64 bytes that libsodium calls a secret key), ``whpk_`` and the base64 of the public key
(https://www.standardwebhooks.com, "Signature scheme").
"""

import base64
import hashlib
import hmac
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SECRET_KEY, _PUBLIC_KEY = "whsk_", "whpk_"
_SEED_BYTES = 32


def _checked(key: str) -> str:
    _seed_of(key)
    return key


#: A key that signs, as it is stored.
SigningKey = Annotated[str, AfterValidator(_checked)]


class SharedSecrets(BaseModel):
    """Two secrets that sign: ``previous`` is there while receivers change over to ``current``."""

    model_config = ConfigDict(hide_input_in_errors=True, alias_generator=to_camel, validate_by_name=True)

    current: str = Field(min_length=1)
    previous: str | None = Field(None, min_length=1)

    @property
    def texts(self) -> list[str]:
        """The secrets, the current one first."""
        return [self.current, *([self.previous] if self.previous else [])]


class WebhookSecrets(SharedSecrets):
    """All that signs webhooks: the deployment's secrets and keys, and the secrets of namespaces that have their own."""

    signing_key: SigningKey | None = None
    previous_signing_key: SigningKey | None = None
    namespaces: Mapping[str, SharedSecrets] = Field(default_factory=dict)

    def of(self, namespace: str) -> SharedSecrets:
        """Return the secrets for the webhooks of a namespace: its own, or else the deployment's."""
        return self.namespaces.get(namespace, self)

    @property
    def signing_keys(self) -> list[str]:
        """The keys that sign, the current one first."""
        return [key for key in (self.signing_key, self.previous_signing_key) if key]


def signed_headers(
    secrets: WebhookSecrets, namespace: str, delivery_id: str, timestamp_s: int, body: bytes | memoryview
) -> dict[str, str]:
    """Return the headers of a webhook: Coral's signature by the current secret, Standard Webhooks' by all in use."""
    shared = [secret.encode() for secret in secrets.of(namespace).texts]
    return {
        "content-type": "application/json",
        "user-agent": "Atoll-Webhooks",
        "X-Coral-Signature": hmac.new(shared[0], body, hashlib.sha256).hexdigest(),
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(_standard(shared, secrets.signing_keys, f"{delivery_id}.{timestamp_s}.", body)),
    }


def _standard(shared: list[bytes], keys: list[str], about: str, body: bytes | memoryview) -> Iterator[str]:
    """Yield the signatures of Standard Webhooks: ``v1`` by each secret, ``v1a`` by each key."""
    for secret in shared:
        # Not the library's `sign`: it copies the body four times.
        digest = hmac.new(secret, about.encode(), hashlib.sha256)
        digest.update(body)
        yield f"v1,{base64.b64encode(digest.digest()).decode()}"
    if keys:
        signed = b"".join((about.encode(), body))  # Ed25519 reads all of it twice
        for key in keys:
            yield f"v1a,{base64.b64encode(_private(key).sign(signed)).decode()}"


def key_from(seed: bytes) -> str:
    """Return the signing key that is made of 32 random bytes, as it is stored."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return _SECRET_KEY + base64.b64encode(seed + public).decode()


def public_key_of(key: str) -> str:
    """Return what receivers verify the signatures of a signing key with."""
    return _PUBLIC_KEY + base64.b64encode(_private(key).public_key().public_bytes_raw()).decode()


def _private(key: str) -> "Ed25519PrivateKey":
    # Not at the top: it takes 20 ms, and a deployment need not have a key.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(_seed_of(key))


def _seed_of(key: str) -> bytes:
    """Return the seed of a signing key; raise ``ValueError``, without the key, for anything else."""
    try:
        found = base64.b64decode(key.removeprefix(_SECRET_KEY), validate=True)
    except ValueError:
        found = b""
    if not key.startswith(_SECRET_KEY) or len(found) not in (_SEED_BYTES, 2 * _SEED_BYTES):
        raise ValueError(f"a signing key is {_SECRET_KEY} and the base64 of 32 or 64 bytes")
    return found[:_SEED_BYTES]
