"""Webhook deliveries as a client of the API sees them (no part of Coral's own API)."""

from .base import Timestamp, WireModel


class DeliveryAttempt(WireModel):
    """One POST: what the receiver answered, or why there is no answer."""

    timestamp: Timestamp
    round: int
    #: From the resolving of the name to the end of the answer, in ms.
    duration_ms: int
    status: int | None = None
    #: The first 1 KB.
    answer: str | None = None
    error: str | None = None


class Delivery(WireModel):
    """A webhook and its attempts, oldest first."""

    delivery_id: str
    namespace: str
    session_id: str
    url: str
    #: ``pending``, ``delivered`` or ``failed``.
    state: str
    #: Grows by one each time it is sent again.
    round: int
    body_bytes: int
    #: Why the body is the base report though the extended one was asked for.
    reduced: str | None = None
    #: Where all of the session is once its hold is over; there with ``reduced``.
    history_path: str | None = None
    created_at: Timestamp
    #: When Atoll forgets it.
    expires_at: Timestamp
    next_attempt_at: Timestamp | None = None
    attempts: list[DeliveryAttempt]


class SignedDelivery(WireModel):
    """A webhook as it would be sent now: what a receiver on its author's machine is given, which verifies it."""

    delivery_id: str
    #: Those of an attempt, the signatures among them: by today's secrets, as of now.
    headers: dict[str, str]
    #: The frozen body; its UTF-8 bytes are what is signed.
    body: str
