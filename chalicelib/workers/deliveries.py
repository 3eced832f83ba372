"""The Lambda of the webhook-delivery state machine: one attempt a call."""

from typing import Any

from aws_lambda_powertools import Logger
from chalice.app import Blueprint

from chalicelib.deployment import current
from chalicelib.domain import webhooks
from chalicelib.wire.base import iso_from_ms

lambdas = Blueprint(__name__)
logger = Logger(service="atoll")


@lambdas.lambda_function(name="deliver_webhook")
def deliver_webhook(event: dict[str, Any], context: Any) -> dict[str, str]:
    """Make one attempt: ``{"deliveryId", "round", "execution"}`` comes in, ``{"state", "nextAttemptAt"?}`` goes out.

    The states are ``delivered``, ``failed``, ``superseded``, and ``retry`` with the time (ISO 8601).
    """
    outcome = webhooks.attempt(current(), event["deliveryId"], event["round"], event["execution"])
    logger.info("webhook", extra={"delivery": event["deliveryId"], "round": event["round"], "state": outcome.state})
    if outcome.next_attempt_at_ms is None:
        return {"state": outcome.state}
    return {"state": outcome.state, "nextAttemptAt": iso_from_ms(outcome.next_attempt_at_ms)}
