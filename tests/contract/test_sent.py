"""What Atoll sends by itself: end reports to webhooks and events to the bus, each in Coral's shape to the key."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.stack import LocalStack
from tests.client import Client, agent, eventually, session
from tests.contract.coral import Coral
from tests.integration.webhooks.receivers import Received, receiving

pytestmark = pytest.mark.xdist_group("contract")

SEED = Path(__file__).parents[2] / "agents" / "seed"


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    """What was put on any bus, in EventBridge's envelope."""
    return []


@pytest.fixture(scope="module")
def stack(events: list[dict[str, Any]]) -> Iterator[LocalStack]:
    with LocalStack(agents=[SEED], on_event=events.append) as running:
        yield running


def reported(client: Client, namespace: str, *, extended: bool) -> Received:
    """Run a session of a seed with one message, annotated everywhere; return what its webhook received."""
    with receiving() as receiver:
        seed = agent("seed", "seed", START_DELAY=("u32", 100), SEED_MESSAGE_COUNT=("u32", 1))
        settings: dict[str, Any] = {"extendedEndReport": extended, "webhooks": {"sessionEnd": {"url": receiver.url}}}
        request = session(seed | {"annotations": {"agentAnnotation": "1"}}, namespace=namespace, **settings)
        request["annotations"] = {"sessionAnnotation": "2"}
        request["namespaceProvider"]["namespaceRequest"]["annotations"] = {"namespaceAnnotation": "3"}
        client.create(request)
        eventually(lambda: receiver.received, 20, "the report comes")
        return receiver.received[0]


def test_an_extended_report_is_signed_and_in_corals_shape(
    stack: LocalStack, client: Client, document: Coral, namespace: str
) -> None:
    received = reported(client, namespace, extended=True)
    signature = hmac.new(stack.webhook_secret.encode(), received.body, hashlib.sha256).hexdigest()
    assert received.headers["x-coral-signature"] == signature
    report = json.loads(received.body)
    assert list(document.faults("SessionEndReport", report)) == []
    assert report["namespaceState"]["annotations"] == {"namespaceAnnotation": "3"}
    [run] = report["agentStats"]
    assert run["annotations"] == {"agentAnnotation": "1"}
    state = report["sessionState"]["state"]
    assert (report["sessionState"]["type"], state["base"]["annotations"]) == ("extended", {"sessionAnnotation": "2"})
    assert [len(thread["messages"]) for thread in state["threads"]] == [1]


def test_a_short_report_is_in_corals_shape(client: Client, document: Coral, namespace: str) -> None:
    report = json.loads(reported(client, namespace, extended=False).body)
    assert list(document.faults("SessionEndReport", report)) == []
    assert report["sessionState"]["type"] == "base"


def test_events_of_sessions_and_namespaces_are_in_corals_shape(
    client: Client, document: Coral, events: list[dict[str, Any]], namespace: str
) -> None:
    path = client.create(session(agent("seed", "seed"), namespace=namespace))
    client.wait_for_status(path, None)

    def told() -> list[dict[str, Any]]:
        details = [event["detail"] for event in events if event["source"] != "aws.ecs"]
        return [detail for detail in details if namespace in json.dumps(detail) and "deliveryId" not in detail]

    eventually(lambda: "namespace_closed" in [event["type"] for event in told()])
    # Namespaces have a stream of their own: that one was made may be told a moment late.
    kinds = [event["type"] for event in told()]
    kinds.remove("namespace_created")
    assert kinds == ["session_created", "session_running", "session_closing", "session_closed", "namespace_closed"]
    assert [fault for event in told() for fault in document.faults("LocalSessionManagerEvent", event)] == []
