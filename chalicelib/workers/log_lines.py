"""The Lambda behind the subscription to the agents' log group: what agents print, for those who follow the log."""

from typing import Any

from chalice.app import Blueprint

from chalicelib.reactions import log_lines
from chalicelib.services import current
from chalicelib.telemetry import about, request_id
from chalicelib.workers import subscriptions

lambdas = Blueprint(__name__)


@lambdas.lambda_function(name="on_log_lines")
def on_log_lines(event: dict[str, Any], context: Any) -> None:
    """Push a batch of lines of one log stream to those who follow them."""
    if batch := subscriptions.batch_of(event):
        with about(request=request_id(context)):
            log_lines.push(current(), batch["logStream"], batch["logEvents"])
