"""The Lambda behind the tables' streams. A record that fails is handed back alone, and comes again."""

from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from chalice.app import Blueprint

from chalicelib.deployment import Deployment, current
from chalicelib.domain import reactions
from chalicelib.store.namespaces import NamespaceRecord
from chalicelib.store.sessions import SessionRecord
from chalicelib.store.table import Item, decode
from chalicelib.telemetry import about, request_id

lambdas = Blueprint(__name__)

_processor = BatchProcessor(event_type=EventType.DynamoDBStreams, raise_on_entire_batch_failure=False)


@lambdas.lambda_function(name="on_change")
def on_change(event: dict[str, Any], context: Any) -> Any:
    """React to a batch of DynamoDB stream records; answers ``{"batchItemFailures"}``."""
    with about(request=request_id(context)):
        return process_partial_response(event=event, record_handler=_react, processor=_processor, context=context)


def _react(record: Any) -> None:
    change = record.raw_event["dynamodb"]
    keys = decode(change["Keys"])
    with about(
        namespace=keys.get("namespace") or keys.get("name"),
        session=keys.get("sessionId"),
        delivery=keys.get("deliveryId"),
    ):
        _react_to(current(), record, change)


def _react_to(atoll: Deployment, record: Any, change: dict[str, Any]) -> None:
    table = record.event_source_arn.split("/")[1]
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
