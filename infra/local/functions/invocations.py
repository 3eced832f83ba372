"""Lambda's asynchronous invocations: retries, then the failure destination."""

import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chalicelib.wire.base import iso_from_ms
from infra.local.functions.functions import FunctionError
from infra.local.scheduler import Scheduler

log = logging.getLogger(__name__)

#: Pauses before the second and the third call, in s (Lambda guide, "How Lambda handles errors and retries with
#: asynchronous invocation").
PAUSES_S = (60.0, 120.0)


@dataclass(frozen=True)
class InvokeConfig:
    """An ``AWS::Lambda::EventInvokeConfig``: the properties that matter where no function is throttled."""

    most_retries: int = len(PAUSES_S)
    #: ARN of the dead-letter queue (the destination on failure).
    on_failure: str | None = None

    @classmethod
    def of(cls, properties: dict[str, Any]) -> "InvokeConfig":
        """Read the properties of the resource."""
        return cls(
            most_retries=int(properties.get("MaximumRetryAttempts", len(PAUSES_S))),
            on_failure=properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"),
        )


class Invocations:
    """Asynchronous calls of functions."""

    def __init__(
        self, scheduler: Scheduler, *, call: Callable[[str, Any], Any], send: Callable[[str, str], None]
    ) -> None:
        """
        Parameters
        ----------
        call
            Calls a function by its ARN with an event and waits for its answer.
        send
            Sends a text to a queue, by its ARN.
        """
        self._scheduler = scheduler
        self._call = call
        self._send = send
        self._configs: dict[str, InvokeConfig] = {}

    def configure(self, properties: dict[str, Any]) -> None:
        """Treat a function as an ``AWS::Lambda::EventInvokeConfig`` says from here on."""
        self._configs[properties["FunctionName"]] = InvokeConfig.of(properties)

    def invoke(self, arn: str, event: Any) -> None:
        """Call a function, and again later if it fails.

        Raises
        ------
        LookupError
            when there is no such function: it was not handed its event.
        """
        self._attempt(arn, event, 1)

    def _attempt(self, arn: str, event: Any, count: int) -> None:
        config = self._configs.get(arn.rsplit(":", 1)[-1], InvokeConfig())
        try:
            self._call(arn, event)
        except FunctionError as error:
            if count <= config.most_retries:
                self._scheduler.after(int(PAUSES_S[count - 1] * 1000), self._attempt, arn, event, count + 1)
                return
            log.warning("gave up on an event of %s: %s", arn, error)
            if config.on_failure:
                self._send(config.on_failure, json.dumps(self._given_up(arn, event, count, error.answer)))

    def _given_up(self, arn: str, event: Any, count: int, answer: dict[str, Any]) -> dict[str, Any]:
        """Return what Lambda sends to a destination about an event on which a function failed for the last time.

        Parameters
        ----------
        count
            How often the function was called.
        answer
            What it answered last: ``errorType``, ``errorMessage``.
        """
        return {
            "version": "1.0",
            "timestamp": iso_from_ms(self._scheduler.now_ms),
            "requestContext": {
                "requestId": str(uuid.uuid4()),
                "functionArn": f"{arn}:$LATEST",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": count,
            },
            "requestPayload": event,
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "responsePayload": answer,
        }
