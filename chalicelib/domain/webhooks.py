"""Endpoints of webhooks: which fail, when one is disabled, and how it is enabled again."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from chalicelib import telemetry
from chalicelib.domain.errors import NotFound
from chalicelib.settings import DAY_S
from chalicelib.store.webhooks import EndpointRecord, id_of

if TYPE_CHECKING:
    from chalicelib.stores import Stores

logger = logging.getLogger(__name__)

#: How long a failure is remembered: an endpoint without one for so long begins anew. Longer than any pause between
#: the attempts of a delivery (`Settings.webhook_retry_schedule_s`).
REMEMBERED_S = 2 * DAY_S
#: How long an endpoint stays disabled when nobody enables it.
DISABLED_S = 365 * DAY_S


def note_success(stores: "Stores", known: EndpointRecord | None) -> None:
    """Note that an endpoint has taken a webhook; ``known`` is what was known of it before."""
    if known is not None:
        stores.webhooks.forget(known.namespace, known.endpoint_id)


def note_failure(stores: "Stores", known: EndpointRecord | None, namespace: str, url: str) -> None:
    """Note that an endpoint has not taken a webhook, and disable it when that has been so for days."""
    now_ms, limit_s = stores.clock.now_ms(), stores.settings.webhook_disable_after_s
    if known is None:
        first = EndpointRecord(
            namespace=namespace,
            endpoint_id=id_of(url),
            url=url,
            failing_since_ms=now_ms,
            last_failure_at_ms=now_ms,
            failures=1,
            expires_at=now_ms // 1000 + REMEMBERED_S,
        )
        stores.webhooks.note_first_failure(first)
        return
    disable = limit_s > 0 and now_ms - known.failing_since_ms >= limit_s * 1000
    expires_at = now_ms // 1000 + (DISABLED_S if disable else REMEMBERED_S)
    if stores.webhooks.note_failure(known, now_ms=now_ms, expires_at=expires_at, disable=disable) and disable:
        logger.error("webhook endpoint disabled", extra={"namespace": namespace, "endpoint": known.endpoint_id})
        telemetry.count("EndpointsDisabled")


def listing(stores: "Stores", namespace: str, *, page: int | None, start: str | None) -> Iterator[EndpointRecord]:
    """Read the endpoints of a namespace that fail or are disabled, ``page`` of them a call."""
    return stores.webhooks.of_namespace(namespace, start=start, limit=page)


def enable(stores: "Stores", namespace: str, endpoint_id: str) -> None:
    """Send webhooks to an endpoint again; what failed meanwhile has to be sent again.

    Raises `NotFound` for one that does not fail.
    """
    if not stores.webhooks.forget(namespace, endpoint_id):
        raise NotFound(f"namespace {namespace!r} has no endpoint {endpoint_id!r} that fails or is disabled")
