"""Deliveries as a client sees them: listed with their attempts, looked at, sent again."""

from collections.abc import Iterator
from typing import Any

import pytest
from chalice.test import Client

from app import app
from chalicelib.domain import api_keys
from chalicelib.reactions import deliveries
from chalicelib.services import Services, use
from chalicelib.settings import DAY_S
from chalicelib.wire.base import iso_from_ms
from tests.integration.webhooks.conftest import HeldClock
from tests.integration.webhooks.receivers import Receiver

BASE = "/api/v1/local/namespace/demo/deliveries"


class Api:
    """A client with a key."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.cursor: str | None = None

    def call(self, method: str, path: str, key: str = "dev") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        answer = self._client.http.request(method, path, headers=headers)
        self.cursor = answer.headers.get("Next-Cursor")
        return answer.status_code, answer.json_body


@pytest.fixture
def api(services: Services) -> Iterator[Api]:
    api_keys.put(services, "dev", "everything")
    api_keys.put(services, "narrow", "another namespace's", ["other"])
    use(services)
    with Client(app) as client:
        yield Api(client)
    use(None)


def freeze(services: Services, url: str, delivery_id: str = "d1", namespace: str = "demo") -> None:
    deliveries.freeze(
        services, delivery_id=delivery_id, namespace=namespace, session_id=f"s-{delivery_id}", url=url, body=b"{}"
    )


def test_a_delivery_is_listed_with_its_attempts(
    api: Api, services: Services, receiver: Receiver, clock: HeldClock
) -> None:
    receiver.answer(503, {}, b"busy")
    freeze(services, receiver.url)
    created_ms = clock.now_ms()
    outcome = deliveries.attempt(services, "d1", 1, "x")
    status, body = api.call("GET", BASE)
    assert status == 200
    [listed] = body
    [attempt] = listed.pop("attempts")
    assert {name: attempt[name] for name in ("round", "status", "answer", "durationMs")} == {
        "round": 1,
        "status": 503,
        "answer": "busy",
        "durationMs": 0,
    }
    assert attempt["timestamp"] == listed["createdAt"]
    for time in ("createdAt", "nextAttemptAt", "expiresAt"):
        assert listed.pop(time).endswith("Z")
    assert listed == {
        "deliveryId": "d1",
        "namespace": "demo",
        "sessionId": "s-d1",
        "url": receiver.url,
        "state": "pending",
        "round": 1,
        "bodyBytes": 2,
    }
    assert outcome.next_attempt_at_ms is not None
    assert outcome.next_attempt_at_ms > created_ms
    status, one = api.call("GET", f"{BASE}/d1")
    assert (status, one) == (200, api.call("GET", BASE)[1][0])


def test_pages_go_from_the_newest_to_the_oldest(api: Api, services: Services, clock: HeldClock) -> None:
    for number in range(7):
        freeze(services, "http://receiver.test/", f"d{number}")
        clock.time_ms += number % 2  # two of them at the same time
    freeze(services, "http://receiver.test/", "elsewhere", "other")
    seen, query = [], "?limit=3"
    while query:
        status, page = api.call("GET", BASE + query)
        assert (status, len(page) <= 3) == (200, True)
        seen += [(listed["createdAt"], listed["deliveryId"]) for listed in page]
        query = f"?limit=3&cursor={api.cursor}" if api.cursor else ""
    assert {name for _, name in seen} == {f"d{number}" for number in range(7)}
    assert len(seen) == 7
    assert [time for time, _ in seen] == sorted((time for time, _ in seen), reverse=True)


def test_deliveries_are_there_for_30_days_whatever_became_of_the_session(
    api: Api, services: Services, clock: HeldClock
) -> None:
    # There is no table of sessions or namespaces here at all.
    freeze(services, "http://receiver.test/")
    clock.time_ms += 30 * 24 * 3600 * 1000 - 5000
    assert api.call("GET", f"{BASE}/d1")[0] == 200
    assert len(api.call("GET", BASE)[1]) == 1
    clock.time_ms += 10_000
    assert api.call("GET", f"{BASE}/d1")[0] == 404
    assert api.call("GET", BASE)[1] == []


def test_a_delivery_is_sent_again_and_not_while_it_is_pending(api: Api, services: Services, receiver: Receiver) -> None:
    freeze(services, receiver.url)
    assert api.call("POST", f"{BASE}/d1/resend")[0] == 409
    deliveries.attempt(services, "d1", 1, "x")
    status, again = api.call("POST", f"{BASE}/d1/resend")
    assert (status, again["state"], again["round"]) == (200, "pending", 2)
    assert api.call("POST", f"{BASE}/d1/resend")[0] == 409
    deliveries.attempt(services, "d1", 2, "y")
    assert api.call("GET", f"{BASE}/d1")[1]["state"] == "delivered"
    assert len(receiver.received) == 2


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("GET", BASE, "", 401),
        ("GET", BASE, "wrong", 401),
        ("GET", BASE, "narrow", 403),
        ("GET", f"{BASE}/d1", "narrow", 403),
        ("POST", f"{BASE}/d1/resend", "narrow", 403),
        ("GET", f"{BASE}/unknown", "dev", 404),
        ("POST", f"{BASE}/unknown/resend", "dev", 404),
        ("GET", BASE.replace("demo", "other") + "/d1", "dev", 404),
        ("POST", BASE.replace("demo", "other") + "/d1/resend", "dev", 404),
        ("GET", f"{BASE}?limit=0", "dev", 400),
        ("GET", f"{BASE}?limit=1001", "dev", 400),
        ("GET", f"{BASE}?limit=many", "dev", 400),
        ("GET", f"{BASE}?cursor=nonsense", "dev", 400),
        ("GET", f"{BASE}?cursor=12.", "dev", 400),
    ],
)
def test_what_is_refused(api: Api, services: Services, method: str, path: str, key: str, status: int) -> None:
    freeze(services, "http://receiver.test/")
    assert api.call(method, path, key)[0] == status


ENDPOINTS = "/api/v1/local/namespace/demo/webhook-endpoints"


def test_endpoints_that_fail_are_listed_and_enabled(
    api: Api, services: Services, receiver: Receiver, clock: HeldClock
) -> None:
    assert api.call("GET", ENDPOINTS) == (200, [])
    began_ms = clock.now_ms()
    for number in range(7):
        receiver.answer(500)
        freeze(services, receiver.url, f"d{number}")
        deliveries.attempt(services, f"d{number}", 1, "x")
        clock.time_ms += DAY_S * 1000
    status, [listed] = api.call("GET", ENDPOINTS)
    endpoint_id = listed.pop("endpointId")
    assert (status, len(receiver.received)) == (200, 6)
    assert listed == {
        "namespace": "demo",
        "url": receiver.url,
        "state": "disabled",
        "failingSince": iso_from_ms(began_ms),
        "lastFailureAt": iso_from_ms(began_ms + 5 * DAY_S * 1000),
        "failures": 6,
        "disabledAt": iso_from_ms(began_ms + 5 * DAY_S * 1000),
    }
    enable = f"{ENDPOINTS}/{endpoint_id}/enable"
    assert api.call("POST", enable, "narrow")[0] == 403
    assert api.call("POST", enable.replace("demo", "other"), "narrow")[0] == 404
    assert api.call("POST", enable)[0] == 200
    assert api.call("GET", ENDPOINTS) == (200, [])
    status, body = api.call("POST", enable)
    assert (status, endpoint_id in body["message"]) == (404, True)


def test_endpoints_are_listed_page_by_page(api: Api, services: Services, receiver: Receiver) -> None:
    for number in range(5):
        receiver.answer(500)
        freeze(services, f"{receiver.url}?{number}", f"d{number}")
        deliveries.attempt(services, f"d{number}", 1, "x")
    found, query = [], "?limit=2"
    while query:
        status, page = api.call("GET", ENDPOINTS + query)
        assert (status, len(page) <= 2) == (200, True)
        found += [each["url"] for each in page]
        query = f"?limit=2&cursor={api.cursor}" if api.cursor else ""
    assert sorted(found) == [f"{receiver.url}?{number}" for number in range(5)]


def test_public_keys_are_there_for_everybody(api: Api, services: Services) -> None:
    assert api.call("GET", "/api/v1/webhooks/keys", key="") == (200, {"keys": []})
    services.webhooks.publish_keys(["whpk_new", "whpk_old"])
    assert api.call("GET", "/api/v1/webhooks/keys", key="") == (200, {"keys": ["whpk_new", "whpk_old"]})
    assert api.call("GET", "/api/v1/local/namespace/%0A/webhook-endpoints") == (200, [])
