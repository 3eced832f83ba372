"""The Lambda behind the subscription to the log of the REST API's function: it keeps the lines of the audit log."""

import base64
import gzip
import json
from typing import Any

from chalice.app import Blueprint

from chalicelib.services import current

lambdas = Blueprint(__name__)


@lambdas.lambda_function(name="on_audit")
def on_audit(event: dict[str, Any], context: Any) -> None:
    """Copy lines of the audit log into its own log group; a batch that comes again is written again.

    The event is CloudWatch Logs' (its User Guide, "Subscription filters with AWS Lambda").
    """
    batch = json.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"])))
    if batch["messageType"] == "DATA_MESSAGE":
        current().audit_log.write([(line["timestamp"], line["message"]) for line in batch["logEvents"]])
