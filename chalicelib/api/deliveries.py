"""Webhook deliveries of a namespace: look at them, send one again, sign one for a receiver that Atoll cannot reach.

They outlive their sessions and namespaces.
"""

from chalice.app import Blueprint

from chalicelib import services
from chalicelib.api.paging import Page, Paging, fits
from chalicelib.api.routing import route
from chalicelib.domain import deliveries
from chalicelib.domain.errors import Conflict, NotFound, TooLarge
from chalicelib.reactions import deliveries as sending
from chalicelib.store.deliveries import DeliveryRecord
from chalicelib.stores import current
from chalicelib.wire.deliveries import Delivery, DeliveryAttempt, SignedDelivery

routes = Blueprint(__name__)

#: Largest body that is read to be signed: in an answer every quote of it is escaped twice, and that takes 6 MB.
MAX_SIGNED_BYTES = 4_000_000


@route(routes, "GET", "/api/v1/local/namespace/{namespace}/deliveries", filtered=False)
def list_deliveries(namespace: str, paging: Paging) -> Page[Delivery]:
    """List the deliveries of a namespace, newest first."""
    found = deliveries.listing(current(), namespace, page=paging.read_limit, start=_place(paging.start))
    return paging.page(found, _delivery, position=_position)


@route(routes, "GET", "/api/v1/local/namespace/{namespace}/deliveries/{deliveryId}")
def get_delivery(namespace: str, delivery_id: str) -> Delivery:
    """Return one delivery."""
    return _delivery(deliveries.find(current(), namespace, delivery_id))


@route(routes, "POST", "/api/v1/local/namespace/{namespace}/deliveries/{deliveryId}/resend", raises=(Conflict,))
def resend_delivery(namespace: str, delivery_id: str) -> Delivery:
    """Send a delivered or failed delivery again, the same bytes under the same id; 409 while it is pending."""
    return _delivery(deliveries.resend(current(), namespace, delivery_id))


@route(
    routes,
    "POST",
    "/api/v1/local/namespace/{namespace}/deliveries/{deliveryId}/sign",
    raises=(TooLarge,),
)
def sign_delivery(namespace: str, delivery_id: str) -> SignedDelivery:
    """Return a delivery as it would be sent now: its bytes, and headers that sign them as of now.

    Nothing is sent, and nothing of the delivery changes.
    """
    record = deliveries.find(current(), namespace, delivery_id)
    _check_signable(record.body_bytes <= MAX_SIGNED_BYTES, record)
    # The secret that signs it and a large body are not DynamoDB's: an exception to rule 1 (docs/architecture.md).
    signed = sending.signed_now(services.current(), record)
    if signed is None:
        raise NotFound(f"the body of the delivery {delivery_id!r} is not kept any more")
    headers, body = signed
    answer = SignedDelivery(delivery_id=delivery_id, headers=headers, body=body)
    _check_signable(fits(answer), record)
    return answer


def _check_signable(is_small: bool, record: DeliveryRecord) -> None:
    if not is_small:
        raise TooLarge(
            f"the delivery {record.delivery_id!r} has {record.body_bytes} bytes, which are too many for an answer: "
            f"{MAX_SIGNED_BYTES} at most, and fewer of what has many quotes; it can be sent to its URL again (resend)"
        )


def _delivery(record: DeliveryRecord) -> Delivery:
    return Delivery(
        delivery_id=record.delivery_id,
        namespace=record.namespace,
        session_id=record.session_id,
        url=record.url,
        state=record.state,
        round=record.round,
        body_bytes=record.body_bytes,
        reduced=record.reduced,
        history_path=record.history_path,
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


def _position(record: DeliveryRecord) -> str:
    return f"{record.created_at_ms}.{record.delivery_id}"


def _place(position: str | None) -> tuple[str, int] | None:
    if not position:
        return None
    time_ms, _, delivery_id = position.partition(".")
    return delivery_id, int(time_ms)
