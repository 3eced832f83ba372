"""EventBridge: takes events and hands them to the targets of the rules that they match."""

import json
import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from infra.local.event_bridge import transformer
from infra.local.event_bridge.rules import Event, Rules, Target, service_of
from infra.local.in_process import Operations, Request, ServiceError, operations
from infra.local.scheduler import Scheduler

log = logging.getLogger(__name__)

#: Retries of a target without a ``RetryPolicy`` (EventBridge guide, "Retrying event delivery").
MOST_RETRIES = 185

#: The first pause between two tries and the longest, in ms.
FIRST_PAUSE_MS = 500
LONGEST_PAUSE_MS = 60_000

#: Most entries of one PutEvents (EventBridge quotas).
MOST_ENTRIES = 10

#: Operations that are answered here; rules and buses are moto's.
OPERATIONS = ("PutEvents",)

#: Takes what is on its way, by a name of its own; ``None`` once it has arrived.
Keep = Callable[[str, str | None], None]

_REQUIRED = ("Source", "DetailType", "Detail")


class EventBridge:
    """The event buses of one account and region."""

    def __init__(
        self,
        account: str,
        region: str,
        scheduler: Scheduler,
        *,
        rules: Rules,
        invoke: Callable[[str, Any], Any],
        start_execution: Callable[[str, str, str], None],
        send_message: Callable[[str, str], None],
        on_event: Callable[[Event], None],
        latency_ms: int = 0,
        keep: Keep | None = None,
    ) -> None:
        """
        Parameters
        ----------
        invoke
            Hands an event to a function by its ARN. Whether the function succeeds does not matter to the bus.
        start_execution
            Starts a state machine by its ARN, with a name and an input.
        send_message
            Sends a text to a queue, by its ARN.
        on_event
            Sees every event that is put, in AWS's envelope.
        latency_ms
            How long an event is under way.
        keep
            Takes what is on its way to a target, to be sent in another process (`resend`).
        """
        self._account = account
        self._region = region
        self._scheduler = scheduler
        self._rules = rules
        self._invoke = invoke
        self._start_execution = start_execution
        self._send_message = send_message
        self._on_event = on_event
        self._latency_ms = latency_ms
        self._keep = keep

    @property
    def operations(self) -> Operations:
        """The operations that are answered here, by their API names."""
        return operations(self, *OPERATIONS)

    def put_events(self, request: Request) -> dict[str, Any]:
        """Take events; an invalid entry is refused alone; raise `ServiceError` for too many entries, or none."""
        if not 1 <= len(request["Entries"]) <= MOST_ENTRIES:
            raise ServiceError("ValidationException", f"1 to {MOST_ENTRIES} entries, not {len(request['Entries'])}")
        answers = [self._put(entry) for entry in request["Entries"]]
        return {"FailedEntryCount": sum("ErrorCode" in answer for answer in answers), "Entries": answers}

    def _put(self, entry: dict[str, Any]) -> dict[str, str]:
        for name in _REQUIRED:
            if not entry.get(name):
                reason = f"Parameter {name} is not valid. Reason: {name} is a required argument."
                return {"ErrorCode": "InvalidArgument", "ErrorMessage": reason}
        try:
            detail = json.loads(entry["Detail"])
        except ValueError:
            return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
        event = self._event(entry["DetailType"], entry["Source"], detail, entry.get("Resources"), entry.get("Time"))
        self._on_event(event)
        bus = entry.get("EventBusName", "default").rpartition("/")[2]
        for target in self._rules.targets(bus, event):
            self.send(target, event)
        return {"EventId": event["id"]}

    def send_scheduled(self, rule_arn: str, targets: list[Target]) -> None:
        """Hand the event of a schedule to its targets."""
        event = self._event("Scheduled Event", "aws.events", {}, [rule_arn])
        for target in targets:
            self.send(target, event)

    def send(self, target: Target, event: Event) -> None:
        """Hand an event to a target in the background, again and again until it takes it."""
        try:
            content, way = _input(target, event), uuid.uuid4().hex
        except transformer.InvalidInput as error:
            log.warning("nothing for %s: %s", target["Arn"], error)  # no other try would make another of it
            self._give_up(target, event)
            return
        if self._keep is not None:
            self._keep(way, json.dumps([target, content]))
        self._send(way, target, content)

    def resend(self, way: str, kept: str) -> None:
        """Send what was on its way in another process."""
        self._send(way, *json.loads(kept))

    def _send(self, way: str, target: Target, content: Any) -> None:
        retries = target.get("RetryPolicy", {}).get("MaximumRetryAttempts", MOST_RETRIES)
        if self._latency_ms:
            self._scheduler.after(self._latency_ms, self._try, way, target, content, 0, retries)
        else:
            self._scheduler.run(self._try, way, target, content, 0, retries)

    def _try(self, way: str, target: Target, content: Any, tried: int, retries: int) -> None:
        try:
            self._hand(target, content)
        except Exception as error:
            if tried < retries:
                pause_ms = min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** min(tried, 10))
                self._scheduler.after(pause_ms, self._try, way, target, content, tried + 1, retries)
                return
            log.warning("gave up on %s: %s", target["Arn"], error)
            self._give_up(target, content)
        if self._keep is not None:
            self._keep(way, None)

    def _give_up(self, target: Target, content: Any) -> None:
        if "DeadLetterConfig" in target:
            self._send_message(target["DeadLetterConfig"]["Arn"], json.dumps(content))

    def _hand(self, target: Target, content: Any) -> None:
        arn, service = target["Arn"], service_of(target)
        if service == "lambda":
            self._invoke(arn, content)
        elif service == "states":
            self._start_execution(arn, f"{uuid.uuid4()}_{uuid.uuid4()}", json.dumps(content))
        elif service == "sqs":
            self._send_message(arn, json.dumps(content))
        else:
            entry = {"EventBusName": arn, "Source": content["source"], "DetailType": content["detail-type"]}
            self._put({**entry, "Detail": json.dumps(content["detail"]), "Resources": content["resources"]})

    def _event(
        self, detail_type: str, source: str, detail: Any, resources: list[str] | None = None, time: Any = None
    ) -> Event:
        """Return an event in the envelope in which targets get it."""
        return {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": detail_type,
            "source": source,
            "account": self._account,
            "time": self._time(time),
            "region": self._region,
            "resources": resources or [],
            "detail": detail,
        }

    def _time(self, value: Any) -> str:
        """Return a time as EventBridge writes it, to the second."""
        if isinstance(value, str):
            return value
        epoch_s = value if isinstance(value, (int, float)) else self._scheduler.now_ms / 1000
        return datetime.fromtimestamp(epoch_s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _input(target: Target, event: Event) -> Any:
    if "Input" in target:
        return json.loads(target["Input"])
    if "InputPath" in target:
        part: Any = event
        for name in target["InputPath"].split(".")[1:]:
            part = part[name]
        return part
    if "InputTransformer" in target:
        return transformer.transformed(target["InputTransformer"], event)
    return event
