"""The Lambda of the webhook-delivery state machine: one attempt a call."""

import logging
from typing import Any

from chalice.app import Blueprint

from chalicelib import telemetry
from chalicelib.reactions import deliveries
from chalicelib.services import current
from chalicelib.wire.base import iso_from_ms

lambdas = Blueprint(__name__)
logger = logging.getLogger(__name__)


@lambdas.lambda_function(name="deliver_webhook")
def deliver_webhook(event: dict[str, Any], context: Any) -> dict[str, str]:
    """Make one attempt: ``{"deliveryId", "round", "execution"}`` comes in, ``{"state", "nextAttemptAt"?}`` goes out.

    The states are ``delivered``, ``failed``, ``superseded``, and ``retry`` with the time (ISO 8601).
    """
    with telemetry.about(delivery=event["deliveryId"], request=telemetry.request_id(context)):
        outcome = deliveries.attempt(current(), event["deliveryId"], event["round"], event["execution"])
        logger.info("webhook", extra={"round": event["round"], "state": outcome.state})
    telemetry.count("Deliveries", outcome=outcome.state)
    if outcome.next_attempt_at_ms is None:
        return {"state": outcome.state}
    return {"state": outcome.state, "nextAttemptAt": iso_from_ms(outcome.next_attempt_at_ms)}
