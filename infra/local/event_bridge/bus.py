"""EventBridge: moto matches events against rules; targets that it lacks (Lambda, Step Functions) are served here."""

import copy
import datetime
import json
import logging
import re
import uuid
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from moto.events.models import EventsBackend, Rule

from infra.local.background import Background

log = logging.getLogger(__name__)

#: Retries of a target without a ``RetryPolicy`` (EventBridge guide, "Retrying event delivery").
MOST_RETRIES = 185

#: The longest pause between two tries, in s.
LONGEST_PAUSE_S = 60.0

_UNITS_S = {"minute": 60, "hour": 3600, "day": 86400}

Target = dict[str, Any]


class Bus:
    """The rules of this process, and the clock of the scheduled ones."""

    def __init__(
        self,
        background: Background,
        *,
        invoke: Callable[[str, Any], Any],
        start_execution: Callable[[str, str, str], None],
        dead_letter: Callable[[str, str], None],
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        """
        Parameters
        ----------
        invoke
            Hands an event to a function by its ARN. How the function fares with it is no matter of the bus.
        start_execution
            Starts a state machine by its ARN, with a name and an input.
        dead_letter
            Sends a text to a queue, by its ARN.
        tell
            Sees every event that is put, in AWS's envelope.
        """
        self._background = background
        self._invoke = invoke
        self._start_execution = start_execution
        self._dead_letter = dead_letter
        self._tell = tell

    def patches(self) -> Iterable[AbstractContextManager[Any]]:
        """Return the patches that bring moto's rules to our targets."""
        put_events = EventsBackend.put_events
        send_to_targets = Rule.send_to_targets

        def put(backend: EventsBackend, events: list[dict[str, Any]]) -> Any:
            answer = put_events(backend, events)
            for event, entry in zip(events, answer, strict=False):
                if "EventId" in entry:
                    self._tell(_told(event, entry["EventId"], backend.account_id, backend.region_name))
            return answer

        def send(rule: Rule, event: Any, transform_input: bool = True) -> None:
            # moto lets a schedule's rule, which has no pattern, match every event of its bus.
            if rule.state == "DISABLED" or (rule.scheduled_expression and not rule.event_pattern.get_pattern()):
                return
            ours = [target for target in rule.targets if _service(target) in ("lambda", "states")]
            if ours and rule.event_pattern.matches_event(event):
                for target in ours:
                    self.send(target, _envelope(event))
            theirs = copy.copy(rule)
            theirs.targets = [target for target in rule.targets if target not in ours]
            send_to_targets(theirs, event, transform_input)

        return [patch.object(EventsBackend, "put_events", put), patch.object(Rule, "send_to_targets", send)]

    def schedule(self, expression: str, arn: str, targets: list[Target]) -> None:
        """Send an event to targets again and again, as ``rate(5 minutes)`` says."""
        match = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression)
        if match is None:
            raise ValueError(f"the local stack knows no schedule {expression!r}")

        def tick() -> None:
            for target in targets:
                self.send(target, _scheduled_event(arn))

        self._background.every(int(match[1]) * _UNITS_S[match[2]], tick)

    def send(self, target: Target, event: dict[str, Any]) -> None:
        """Hand an event to a target in the background, again and again until it takes it."""
        retries = target.get("RetryPolicy", {}).get("MaximumRetryAttempts", MOST_RETRIES)
        self._background.run(self._try, target, _input(target, event), 0, retries)

    def _try(self, target: Target, content: Any, tried: int, retries: int) -> None:
        try:
            if _service(target) == "lambda":
                self._invoke(target["Arn"], content)
            else:
                self._start_execution(target["Arn"], f"{uuid.uuid4()}_{uuid.uuid4()}", json.dumps(content))
        except Exception as error:
            if tried >= retries:
                log.warning("gave up on %s: %s", target["Arn"], error)
                if "DeadLetterConfig" in target:
                    self._dead_letter(target["DeadLetterConfig"]["Arn"], json.dumps(content))
                return
            pause_s = min(LONGEST_PAUSE_S, 0.5 * 2 ** min(tried, 10))
            self._background.after(pause_s, self._try, target, content, tried + 1, retries)


def _service(target: Target) -> str:
    return str(target["Arn"]).split(":")[2]


def _input(target: Target, event: dict[str, Any]) -> Any:
    if "Input" in target:
        return json.loads(target["Input"])
    if "InputPath" in target:
        part: Any = event
        for name in target["InputPath"].split(".")[1:]:
            part = part[name]
        return part
    if "InputTransformer" in target:
        raise ValueError("the local stack transforms no input of Lambda and Step Functions targets")
    return event


def _envelope(event: dict[str, Any]) -> dict[str, Any]:
    """Return moto's event as targets get it: with its time as text, and without the time of its arrival."""
    envelope = {name: value for name, value in event.items() if name != "ingestion-time"}
    envelope["time"] = _time(event.get("time"))
    return envelope


def _told(event: dict[str, Any], event_id: str, account: str, region: str) -> dict[str, Any]:
    return {
        "version": "0",
        "id": event_id,
        "detail-type": event["DetailType"],
        "source": event["Source"],
        "account": account,
        "time": _time(event.get("Time")),
        "region": region,
        "resources": event.get("Resources", []),
        "detail": json.loads(event["Detail"]),
    }


def _scheduled_event(arn: str) -> dict[str, Any]:
    _, _, _, region, account, _ = arn.split(":", 5)
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": account,
        "time": _time(None),
        "region": region,
        "resources": [arn],
        "detail": {},
    }


def _time(moment: Any) -> str:
    """Return a time as EventBridge writes it, to the second."""
    if isinstance(moment, str):
        return moment
    if isinstance(moment, (int, float)):
        moment = datetime.datetime.fromtimestamp(moment, tz=datetime.UTC)
    moment = moment or datetime.datetime.now(tz=datetime.UTC)
    return str(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
