"""The Lambda tasks of the `session-lifecycle` state machine. What goes in and out are identifiers and times."""

from contextlib import AbstractContextManager
from typing import Any

from chalice.app import Blueprint

from chalicelib.reactions import lifecycle
from chalicelib.services import current
from chalicelib.telemetry import about, request_id
from chalicelib.wire.base import iso_from_ms

lambdas = Blueprint(__name__)

Event = dict[str, Any]


@lambdas.lambda_function(name="run_agents")
def run_agents(event: Event, context: Any) -> Event:
    """Start the agents of ``{"namespace", "sessionId", "taskToken"}``."""
    with _about(event, context):
        lifecycle.run_agents(current(), event["namespace"], event["sessionId"], event["taskToken"])
    return {}


@lambdas.lambda_function(name="close_session")
def close_session(event: Event, context: Any) -> Event:
    """End the run of ``{"namespace", "sessionId", "error"}``; answers ``{"holdUntil"}``."""
    with _about(event, context):
        until_ms = lifecycle.close_session(current(), event["namespace"], event["sessionId"], event.get("error", ""))
    return {"holdUntil": iso_from_ms(until_ms)}


@lambdas.lambda_function(name="remove_session")
def remove_session(event: Event, context: Any) -> Event:
    """Remove a slice of ``{"namespace", "sessionId"}``; answers ``{"done"}``."""
    with _about(event, context):
        return {"done": lifecycle.remove_session(current(), event["namespace"], event["sessionId"])}


def _about(event: Event, context: Any) -> AbstractContextManager[None]:
    return about(namespace=event["namespace"], session=event["sessionId"], request=request_id(context))
