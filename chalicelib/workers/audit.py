"""The Lambda behind the subscription to the log of the REST API's function: it keeps the lines of the audit log."""

from typing import Any

from chalice.app import Blueprint

from chalicelib.services import current
from chalicelib.workers import subscriptions

lambdas = Blueprint(__name__)


@lambdas.lambda_function(name="on_audit")
def on_audit(event: dict[str, Any], context: Any) -> None:
    """Copy lines of the audit log into its own log group; a batch that comes again is written again."""
    if batch := subscriptions.batch_of(event):
        current().audit_log.write([(line["timestamp"], line["message"]) for line in batch["logEvents"]])
