"""EventBridge: the bus on which Atoll publishes what happened."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chalicelib.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

SOURCE = "atoll.sessions"


class NotPublished(Exception):
    """EventBridge did not take an event."""


class Bus:
    """The bus of this deployment."""

    def __init__(self, client: "EventBridgeClient", settings: Settings) -> None:
        self._client = client
        self._name = settings.prefix

    def publish(self, detail_type: str, detail: Mapping[str, Any]) -> None:
        """Publish one event; raise `NotPublished` when it was not taken."""
        answer = self._client.put_events(
            Entries=[
                {
                    "EventBusName": self._name,
                    "Source": SOURCE,
                    "DetailType": detail_type,
                    "Detail": json.dumps(detail),
                }
            ]
        )
        if answer["FailedEntryCount"]:
            raise NotPublished(f"{detail_type}: {answer['Entries'][0].get('ErrorCode', 'unknown error')}")
