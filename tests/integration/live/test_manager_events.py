"""Coral's socket of the manager's events: sessions and namespaces that come and go."""

import base64
import json
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from infra.local.stack import LocalStack
from tests.client import Client, eventually, session, sleeper
from tests.contract.coral import Coral
from tests.integration.live.conftest import Connect

pytestmark = pytest.mark.xdist_group("live")


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def test_the_life_of_a_session_is_pushed(client: Client, follow: Connect, namespace: str) -> None:
    """Coral's WebSocketEventTest.testLsmEvents."""
    socket = follow(f"lsm?namespaceFilter={namespace}")
    path = client.create(session(sleeper(seconds=0), namespace=namespace))

    found = socket.until("namespace_closed")

    assert [fault for event in found for fault in Coral().faults("LocalSessionManagerEvent", event)] == []
    # The namespace's own events come from a stream of their own: the first may be a moment late.
    kinds = [event["type"] for event in found if event["type"] != "namespace_created"]
    assert kinds == ["session_created", "session_running", "session_closing", "session_closed", "namespace_closed"]
    by_kind = {event["type"]: event for event in found}
    created, running, closing = (by_kind[kind] for kind in ("namespace_created", "session_running", "session_closing"))
    assert next(iter(created)) == "type"
    assert created["initialState"]["name"] == running["namespaceState"]["name"] == namespace
    assert running["sessionState"]["status"]["type"] == "executed"
    assert closing["sessionState"]["id"] == path.rsplit("/", 1)[1]


def test_a_namespace_can_be_asked_for_by_its_annotations(client: Client, follow: Connect, namespace: str) -> None:
    """Coral's WebSocketEventTest.testLsmEventsWithAnnotationFilter."""
    socket = follow(f"lsm?namespaceAnnotationFilters={encoded({'tier': 'gold'}).rstrip('=')}")
    for name, annotations in ((f"{namespace}-1", {"tier": "tin"}), (f"{namespace}-2", {"tier": "gold", "a": "b"})):
        body = {"name": name, "annotations": annotations}
        assert client.call("POST", "/api/v1/local/namespace", body).status == 200

    event = socket.next()

    assert (event["type"], event["initialState"]["name"]) == ("namespace_created", f"{namespace}-2")
    for number in (1, 2):
        client.create(session(sleeper(), namespace=f"{namespace}-{number}", defer=True))
    event = socket.next()
    assert (event["type"], event["namespaceState"]["name"]) == ("session_created", f"{namespace}-2")


def test_both_filters_must_hold(client: Client, follow: Connect, namespace: str) -> None:
    gold = encoded({"tier": "gold"})
    socket = follow(f"lsm?namespaceFilter={namespace}-2&namespaceAnnotationFilters={gold}")
    for name, annotations in (
        (f"{namespace}-1", {"tier": "gold"}),
        (f"{namespace}-2", {"tier": "gold"}),
    ):
        client.call("POST", "/api/v1/local/namespace", {"name": name, "annotations": annotations})
    assert socket.next()["initialState"]["name"] == f"{namespace}-2"


def test_a_key_sees_the_namespaces_that_it_reaches(client: Client, follow: Connect) -> None:
    socket = follow("lsm", "narrow")
    for name in ("another", "tenant-1"):
        client.call("POST", "/api/v1/local/namespace", {"name": name})
    assert socket.next()["initialState"]["name"] == "tenant-1"


@pytest.mark.parametrize("filter_", ["!", "bm8", encoded([1]), encoded({"a": 1}), "é"])
def test_a_filter_of_another_form_is_refused(follow: Connect, filter_: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        follow(f"lsm?namespaceAnnotationFilters={filter_}")
    assert refused.value.response.status_code == 400


@pytest.mark.parametrize(("key", "message"), [("wrong", "Invalid token"), (None, "Unauthorized")])
def test_who_has_no_key_is_refused(follow: Connect, key: str | None, message: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        follow("lsm", key)
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body or b"") == {"message": message}


def test_who_is_gone_is_forgotten(client: Client, stack: LocalStack, follow: Connect, namespace: str) -> None:
    follow(f"lsm?namespaceFilter={namespace}").connection.close()
    client.call("POST", "/api/v1/local/namespace", {"name": namespace})

    def names() -> set[Any]:
        return {wanted.get("namespace") for _, wanted in stack.services.followers.of_topic("manager")}

    eventually(lambda: namespace not in names(), 10, "the follower is forgotten")
