"""Webhook deliveries for the API: reading them, and requesting another round of attempts."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chalicelib.domain.errors import Conflict, NotFound
from chalicelib.store.deliveries import DeliveryRecord

if TYPE_CHECKING:
    from chalicelib.stores import Stores


def find(stores: "Stores", namespace: str, delivery_id: str) -> DeliveryRecord:
    """Return a delivery of a namespace, which itself may be gone; raise `NotFound` for an unknown one."""
    delivery = stores.deliveries.find(delivery_id)
    if delivery is None or delivery.namespace != namespace:
        raise NotFound(f"namespace {namespace!r} has no delivery {delivery_id!r}")
    return delivery


def listing(
    stores: "Stores", namespace: str, *, page: int | None, start: tuple[str, int] | None
) -> Iterator[DeliveryRecord]:
    """Read the deliveries of a namespace, newest first, ``page`` of them a call; `Deliveries.of_namespace`."""
    return stores.deliveries.of_namespace(namespace, limit=page, start=start)


def resend(stores: "Stores", namespace: str, delivery_id: str) -> DeliveryRecord:
    """Begin a new round of a settled delivery, same id and same bytes.

    Raises `NotFound` for an unknown delivery, `Conflict` while a round is under way.
    """
    delivery = find(stores, namespace, delivery_id)
    again = stores.deliveries.start_again(delivery, now_ms=stores.clock.now_ms())
    if again is None:
        raise Conflict(f"delivery {delivery_id!r} is being delivered: it can be sent again once it has settled")
    return again
