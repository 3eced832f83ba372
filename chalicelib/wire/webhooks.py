"""Endpoints of webhooks, and the keys of their signatures, as a client of the API sees them (no part of Coral's)."""

from .base import Timestamp, WireModel


class WebhookEndpoint(WireModel):
    """A URL that does not take the webhooks of a namespace."""

    endpoint_id: str
    namespace: str
    url: str
    #: ``failing`` or ``disabled``.
    state: str
    failing_since: Timestamp
    last_failure_at: Timestamp
    #: Attempts since then.
    failures: int
    disabled_at: Timestamp | None = None


class WebhookKeys(WireModel):
    """The public keys of ``v1a`` signatures, the current one first; none when the deployment has no key."""

    keys: list[str]
