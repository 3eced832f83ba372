"""The Lambda behind the streams of sessions, namespaces, the registry and deliveries."""

from collections.abc import Sequence
from typing import Any

from chalice.app import Blueprint

from chalicelib.reactions import changes as reactions
from chalicelib.services import current
from chalicelib.store import changes
from chalicelib.workers import streams

lambdas = Blueprint(__name__)


@lambdas.lambda_function(name="on_change")
def on_change(event: dict[str, Any], context: Any) -> Any:
    """React to a batch of DynamoDB stream records, each by itself; answers ``{"batchItemFailures"}``."""
    return streams.react(([record] for record in event["Records"]), _react, context, in_order=False)


def _react(records: Sequence[streams.Record]) -> None:
    services = current()
    match changes.read(records[0], services.settings.table):
        case changes.SessionChange(old, new):
            reactions.to_session(services, old, new)
        case changes.NamespaceChange(old, new):
            reactions.to_namespace(services, old, new)
        case changes.RegistryChange(_, new) if new is not None and not new.task_definitions:
            reactions.to_agent(services, new.name, new.version)
        case changes.DeliveryChange(old, new) if new is not None and (old is None or old.round != new.round):
            reactions.to_delivery(services, new.delivery_id, new.round)
