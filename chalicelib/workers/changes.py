"""The Lambda behind the tables' streams. A record that fails is handed back alone, and comes again.

What AWS refused may be done later, and holds up what comes after it for as long. A record that fails for any other
reason would fail for ever, and hold up its stream for half a day: it is laid aside with the dead letters.
"""

import logging
from typing import Any

from chalice.app import Blueprint

from chalicelib.deployment import Deployment, current
from chalicelib.domain import reactions
from chalicelib.domain.outages import is_of_aws
from chalicelib.store.namespaces import NamespaceRecord
from chalicelib.store.table import Item, decode
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
                # The outermost edge: what is not AWS's fault is ours, or of whoever wrote the item.
                logger.exception("a change was not reacted to")
                if is_of_aws(error) or not _laid_aside(record, error):
                    failures.append({"itemIdentifier": record["dynamodb"]["SequenceNumber"]})
    return {"batchItemFailures": failures}


def _laid_aside(record: dict[str, Any], error: Exception) -> bool:
    """Put a record's identifiers with the dead letters; ``False`` when that failed, and the record must come again."""
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
        if not is_of_aws(failure):
            raise
        logger.exception("a dead letter was not taken")
        return False
    count("ChangesLaidAside")
    return True


def _react(record: dict[str, Any]) -> None:
    change = record["dynamodb"]
    keys = decode(change["Keys"])
    with about(
        namespace=keys.get("namespace") or (keys.get("name") if "version" not in keys else None),
        session=keys.get("sessionId"),
        delivery=keys.get("deliveryId"),
    ):
        _react_to(current(), record, change)


def _react_to(atoll: Deployment, record: dict[str, Any], change: dict[str, Any]) -> None:
    table = record["eventSourceARN"].split("/")[1]
    old, new = _image(change, "OldImage"), _image(change, "NewImage")
    if table == atoll.sessions.name:
        reactions.to_session(atoll, atoll.sessions.record(old), atoll.sessions.record(new))
    elif table == atoll.namespaces.name:
        reactions.to_namespace(
            atoll, NamespaceRecord.from_item(old) if old else None, NamespaceRecord.from_item(new) if new else None
        )
    elif table == atoll.registry.name:
        _react_to_agent(atoll, new)
    else:
        _react_to_delivery(atoll, old, new)


def _react_to_agent(atoll: Deployment, new: Item | None) -> None:
    if new is not None and not new.get("taskDefinitions"):
        reactions.to_agent(atoll, new["name"], new["version"])


def _react_to_delivery(atoll: Deployment, old: Item | None, new: Item | None) -> None:
    if new is not None and (old is None or old.get("round") != new.get("round")):
        reactions.to_delivery(atoll, new["deliveryId"], int(new["round"]))


def _image(change: dict[str, Any], name: str) -> Item | None:
    return decode(change[name]) if name in change else None
