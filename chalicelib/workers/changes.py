"""The Lambda behind the tables' streams. A record that fails is handed back alone, and comes again."""

import logging
from typing import Any

from chalice.app import Blueprint

from chalicelib.deployment import Deployment, current
from chalicelib.domain import reactions
from chalicelib.store.namespaces import NamespaceRecord
from chalicelib.store.sessions import SessionRecord
from chalicelib.store.table import Item, decode
from chalicelib.telemetry import about, request_id

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
            except Exception:
                # The outermost edge: the record comes again, its neighbours need not.
                logger.exception("a change was not reacted to")
                failures.append({"itemIdentifier": record["dynamodb"]["SequenceNumber"]})
    return {"batchItemFailures": failures}


def _react(record: dict[str, Any]) -> None:
    change = record["dynamodb"]
    keys = decode(change["Keys"])
    with about(
        namespace=keys.get("namespace") or keys.get("name"),
        session=keys.get("sessionId"),
        delivery=keys.get("deliveryId"),
    ):
        _react_to(current(), record, change)


def _react_to(atoll: Deployment, record: dict[str, Any], change: dict[str, Any]) -> None:
    table = record["eventSourceARN"].split("/")[1]
    old, new = _image(change, "OldImage"), _image(change, "NewImage")
    if table == atoll.sessions.name:
        reactions.to_session(
            atoll, SessionRecord.from_item(old) if old else None, SessionRecord.from_item(new) if new else None
        )
    elif table == atoll.namespaces.name:
        reactions.to_namespace(
            atoll, NamespaceRecord.from_item(old) if old else None, NamespaceRecord.from_item(new) if new else None
        )
    else:
        _react_to_delivery(atoll, old, new)


def _react_to_delivery(atoll: Deployment, old: Item | None, new: Item | None) -> None:
    if new is not None and (old is None or old.get("round") != new.get("round")):
        reactions.to_delivery(atoll, new["deliveryId"], int(new["round"]))


def _image(change: dict[str, Any], name: str) -> Item | None:
    return decode(change[name]) if name in change else None
