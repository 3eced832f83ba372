"""Webhooks for those who receive them: endpoints that fail or are disabled, public keys, and a sink."""

from chalice.app import Blueprint

from chalicelib.api.paging import Page, Paging
from chalicelib.api.routing import route
from chalicelib.domain import webhooks
from chalicelib.store.webhooks import EndpointRecord
from chalicelib.stores import current
from chalicelib.wire.webhooks import WebhookEndpoint, WebhookKeys

routes = Blueprint(__name__)

_ENDPOINTS = "/api/v1/local/namespace/{namespace}/webhook-endpoints"


@route(routes, "GET", _ENDPOINTS, filtered=False)
def list_webhook_endpoints(namespace: str, paging: Paging) -> Page[WebhookEndpoint]:
    """List the endpoints of a namespace that do not take its webhooks, those among them that are disabled."""
    found = webhooks.listing(current(), namespace, page=paging.read_limit, start=paging.start)
    return paging.page(found, _endpoint, position=lambda record: record.endpoint_id)


@route(routes, "POST", _ENDPOINTS + "/{endpointId}/enable")
def enable_webhook_endpoint(namespace: str, endpoint_id: str) -> None:
    """Send webhooks to an endpoint again. What failed meanwhile has to be sent again (`resend`)."""
    webhooks.enable(current(), namespace, endpoint_id)


@route(routes, "GET", "/api/v1/webhooks/keys", authenticated=False)
def get_webhook_keys() -> WebhookKeys:
    """Return the public keys of `v1a` signatures, the current one first; receivers need no API key for this."""
    return WebhookKeys(keys=current().webhooks.public_keys())


@route(routes, "POST", "/api/v1/webhooks/sink", authenticated=False, limited=False)
def drop_webhook() -> None:
    """Take a webhook and drop it, unread: the URL of one that is only listened to (`atoll hooks listen`)."""


def _endpoint(record: EndpointRecord) -> WebhookEndpoint:
    return WebhookEndpoint(
        endpoint_id=record.endpoint_id,
        namespace=record.namespace,
        url=record.url,
        state="failing" if record.disabled_at_ms is None else "disabled",
        failing_since=record.failing_since_ms,
        last_failure_at=record.last_failure_at_ms,
        failures=record.failures,
        disabled_at=record.disabled_at_ms,
    )
