"""The rules of event buses: moto keeps them and matches events, and is asked for them by its API."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextvars import Context
from typing import Any

from botocore.hooks import BaseEventHooks
from moto.events.models import EventPattern

log = logging.getLogger(__name__)

Target = dict[str, Any]
Event = dict[str, Any]

#: Calls after which what is known of the rules is not true any more.
CHANGES = ("PutRule", "DeleteRule", "EnableRule", "DisableRule", "PutTargets", "RemoveTargets")

#: Services that events are handed to.
SERVED = ("lambda", "states", "sqs", "events")


class Rules:
    """The rules of one account and region, read once a bus and again when they have changed."""

    def __init__(self, client: Callable[[], Any]) -> None:
        """
        Parameters
        ----------
        client
            Returns the boto3 client of EventBridge.
        """
        self._client = client
        self._lock = threading.Lock()
        self._buses: dict[str, list[tuple[EventPattern, list[Target]]]] = {}
        self._age = 0

    def follow(self, events: BaseEventHooks) -> None:
        """Notice when a client, or any client that a session makes from here on, changes rules."""
        for name in CHANGES:
            events.register(f"after-call.eventbridge.{name}", self._changed)

    def leave(self, events: BaseEventHooks) -> None:
        """Notice it no more."""
        for name in CHANGES:
            events.unregister(f"after-call.eventbridge.{name}", self._changed)

    def targets(self, bus: str, event: Event) -> list[Target]:
        """Return the targets of the rules of a bus that an event matches."""
        with self._lock:
            rules, age = self._buses.get(bus), self._age
        if rules is None:
            # In EventBridge's own name: callers of PutEvents need no permission for these calls.
            rules = Context().run(list, self._read(bus))
            with self._lock:
                if age == self._age:
                    self._buses[bus] = rules
        return [target for pattern, targets in rules if pattern.matches_event(event) for target in targets]  # type: ignore[arg-type]

    def _changed(self, **_: Any) -> None:
        with self._lock:
            self._age += 1
            self._buses.clear()

    def _read(self, bus: str) -> Iterator[tuple[EventPattern, list[Target]]]:
        client = self._client()
        for page in client.get_paginator("list_rules").paginate(EventBusName=bus):
            for rule in page["Rules"]:
                # A schedule's rule has no pattern, and matches no event.
                if rule["State"] != "DISABLED" and "EventPattern" in rule:
                    name = rule["Name"]
                    pages = client.get_paginator("list_targets_by_rule").paginate(Rule=name, EventBusName=bus)
                    targets = [target for each in pages for target in each["Targets"] if _is_served(name, target)]
                    yield EventPattern.load(rule["EventPattern"]), targets


def service_of(target: Target) -> str:
    """Return the service of a target: ``lambda``, ``states`` …"""
    return str(target["Arn"]).split(":")[2]


def _is_served(rule: str, target: Target) -> bool:
    if service_of(target) in SERVED:
        return True
    log.warning("the local stack hands no events to %s, a target of the rule %s", target["Arn"], rule)
    return False
