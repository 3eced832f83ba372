"""The Lambda behind the tables' streams. A record that fails is handed back alone, and comes again.

A record that AWS refused is retried, and blocks the records after it meanwhile. A record that fails for any other
reason would fail for ever, and block its stream for half a day: it goes to the dead-letter queue.
"""

import logging
from typing import Any

from chalice.app import Blueprint

from chalicelib.aws.errors import is_aws_error
from chalicelib.reactions import changes as reactions
from chalicelib.services import current
from chalicelib.store import changes
from chalicelib.telemetry import about, count, request_id

lambdas = Blueprint(__name__)
logger = logging.getLogger(__name__)


@lambdas.lambda_function(name="on_change")
def on_change(event: dict[str, Any], context: Any) -> Any:
    """React to a batch of DynamoDB stream records; answers ``{"batchItemFailures"}``."""
    failures = []
    with about(request=request_id(context)):
        for record in event["Records"]:
            try:
                _react(record)
            except Exception as error:
                # The outermost edge: an error that is not AWS's is a bug here.
                logger.exception("a change was not reacted to")
                if is_aws_error(error) or not _dead_lettered(record, error):
                    failures.append({"itemIdentifier": record["dynamodb"]["SequenceNumber"]})
    return {"batchItemFailures": failures}


def _dead_lettered(record: dict[str, Any], error: Exception) -> bool:
    """Send a record's identifiers to the dead-letter queue; ``False`` when that failed: then retry the record."""
    letter = {
        "eventSourceARN": record.get("eventSourceARN"),
        "eventID": record.get("eventID"),
        "eventName": record.get("eventName"),
        "sequenceNumber": record["dynamodb"]["SequenceNumber"],
        "keys": record["dynamodb"].get("Keys"),
        "error": type(error).__name__,
    }
    try:
        current().dead_letters.put(letter)
    except Exception as failure:
        if not is_aws_error(failure):
            raise
        logger.exception("a dead letter was not taken")
        return False
    count("ChangesDeadLettered")
    return True


def _react(record: dict[str, Any]) -> None:
    with about(**changes.ids_of(record)):
        services = current()
        match changes.read(record, services.settings.table):
            case changes.SessionChange(old, new):
                reactions.to_session(services, old, new)
            case changes.NamespaceChange(old, new):
                reactions.to_namespace(services, old, new)
            case changes.RegistryChange(_, new) if new is not None and not new.task_definitions:
                reactions.to_agent(services, new.name, new.version)
            case changes.DeliveryChange(old, new) if new is not None and (old is None or old.round != new.round):
                reactions.to_delivery(services, new.delivery_id, new.round)
