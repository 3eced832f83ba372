"""Webhook deliveries of a namespace: look at them, and send one again. They outlive their sessions and namespaces."""

from collections.abc import Mapping

from chalice.app import Blueprint, Request

from chalicelib.api.http import route
from chalicelib.deployment import current
from chalicelib.domain import webhooks
from chalicelib.domain.errors import BadRequest
from chalicelib.store.deliveries import DeliveryRecord
from chalicelib.wire.deliveries import Delivery, DeliveryAttempt, DeliveryList

routes = Blueprint(__name__)

#: Deliveries of one page; at most so many keep an answer below Lambda's 6 MB.
PAGE = 50
MAX_PAGE = 100


@route(routes, "GET", "/api/v1/local/namespace/{namespace}/deliveries")
def list_deliveries(namespace: str, request: Request) -> DeliveryList:
    """List deliveries, newest first: ``limit`` of them (50 by default, at most 100) from ``start`` on."""
    query: Mapping[str, str] = request.query_params or {}
    found, more = webhooks.listing(
        current(), namespace, limit=_limit(query.get("limit", str(PAGE))), start=_start(query.get("start"))
    )
    return DeliveryList(deliveries=list(map(_delivery, found)), next=_position(found[-1]) if more else None)


@route(routes, "GET", "/api/v1/local/namespace/{namespace}/deliveries/{deliveryId}")
def get_delivery(namespace: str, delivery_id: str) -> Delivery:
    """Return one delivery."""
    return _delivery(webhooks.find(current(), namespace, delivery_id))


@route(routes, "POST", "/api/v1/local/namespace/{namespace}/deliveries/{deliveryId}/resend")
def resend_delivery(namespace: str, delivery_id: str) -> Delivery:
    """Send a delivered or failed delivery again, the same bytes under the same id; 409 while it is pending."""
    return _delivery(webhooks.resend(current(), namespace, delivery_id))


def _delivery(record: DeliveryRecord) -> Delivery:
    return Delivery(
        delivery_id=record.delivery_id,
        namespace=record.namespace,
        session_id=record.session_id,
        url=record.url,
        state=record.state,
        round=record.round,
        body_bytes=record.body_bytes,
        created_at=record.created_at_ms,
        expires_at=record.expires_at * 1000,
        next_attempt_at=record.next_attempt_at_ms,
        attempts=[
            DeliveryAttempt(
                timestamp=attempt.time_ms,
                round=attempt.round,
                duration_ms=attempt.duration_ms,
                status=attempt.status,
                answer=attempt.answer,
                error=attempt.error,
            )
            for attempt in record.attempts
        ],
    )


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_PAGE):
        raise BadRequest(f"limit: {text[:20]!r} is no number from 1 to {MAX_PAGE}")
    return int(text)


def _position(record: DeliveryRecord) -> str:
    return f"{record.created_at_ms}.{record.delivery_id}"


def _start(text: str | None) -> tuple[str, int] | None:
    if not text:
        return None
    time_ms, _, delivery_id = text.partition(".")
    if not (time_ms.isascii() and time_ms.isdigit() and len(time_ms) <= 15 and delivery_id):
        raise BadRequest(f"start: {text[:80]!r} is no ``next`` of a listing")
    return delivery_id, int(time_ms)
