"""Deliveries as a client sees them: listed with their attempts, looked at, sent again."""

import base64
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from chalice.test import Client
from standardwebhooks import Webhook, WebhookVerificationError

from app import app
from chalicelib.api.deliveries import MAX_SIGNED_BYTES
from chalicelib.domain import api_keys
from chalicelib.reactions import deliveries
from chalicelib.services import Services, use
from chalicelib.settings import DAY_S
from chalicelib.wire.base import iso_from_ms
from tests.integration.webhooks.conftest import SECRET, HeldClock
from tests.integration.webhooks.receivers import Receiver

BASE = "/api/v1/local/namespace/demo/deliveries"
OTHERS = BASE.replace("demo", "other")


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
    api_keys.put(services, "viewer", "who looks on", role="viewer")
    use(services)
    with Client(app) as client:
        yield Api(client)
    use(None)


def freeze(
    services: Services, url: str, delivery_id: str = "d1", namespace: str = "demo", body: bytes = b"{}", **about: str
) -> None:
    deliveries.freeze(
        services,
        delivery_id=delivery_id,
        namespace=namespace,
        session_id=f"s-{delivery_id}",
        url=url,
        body=body,
        **about,
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


def key_of(secret: str) -> str:
    return "whsec_" + base64.b64encode(secret.encode()).decode()


@pytest.mark.parametrize("size", [0, 1_000, deliveries.MAX_ITEM_BODY_BYTES + 1])
def test_a_delivery_is_signed_as_it_was_sent(api: Api, services: Services, receiver: Receiver, size: int) -> None:
    freeze(services, receiver.url, body=("é" * (size // 2) + "{}").encode(), reduced="large", history_path="/h")
    deliveries.attempt(services, "d1", 1, "x")
    before = api.call("GET", f"{BASE}/d1")
    status, signed = api.call("POST", f"{BASE}/d1/sign")
    [sent] = receiver.received
    assert (status, signed["deliveryId"], signed["body"].encode()) == (200, "d1", sent.body)
    headers = {name.lower(): value for name, value in signed["headers"].items()}
    assert headers == {name: sent.headers[name] for name in headers}, "the clock has stood"
    assert {"webhook-signature", "x-coral-signature", "x-atoll-report-reduced", "x-atoll-history"} <= headers.keys()
    assert api.call("GET", f"{BASE}/d1") == before, "nothing of it has changed"
    assert len(receiver.received) == 1, "nothing was sent"


def test_a_signature_is_of_the_time_at_which_it_is_asked_for(api: Api, services: Services, clock: HeldClock) -> None:
    now_ms = clock.time_ms
    clock.time_ms -= 3_600_000
    freeze(services, "http://receiver.test/")
    clock.time_ms = now_ms
    _, signed = api.call("POST", f"{BASE}/d1/sign")
    assert int(signed["headers"]["webhook-timestamp"]) == now_ms // 1000
    Webhook(key_of(SECRET)).verify(signed["body"], signed["headers"])


def test_a_signature_is_by_the_secret_of_the_namespace(api: Api, services: Services) -> None:
    services.secrets.webhook_secrets["namespaces"] = {"demo": {"current": "demo's own"}}  # type: ignore[attr-defined]
    freeze(services, "http://receiver.test/")
    freeze(services, "http://receiver.test/", "d2", "other")
    for path, secret, wrong in ((f"{BASE}/d1", "demo's own", SECRET), (f"{OTHERS}/d2", SECRET, "demo's own")):
        _, signed = api.call("POST", f"{path}/sign")
        Webhook(key_of(secret)).verify(signed["body"], signed["headers"])
        with pytest.raises(WebhookVerificationError):
            Webhook(key_of(wrong)).verify(signed["body"], signed["headers"])


def test_a_body_that_is_too_large_for_an_answer_is_not_read(api: Api, services: Services) -> None:
    freeze(services, "http://receiver.test/", body=b"x" * MAX_SIGNED_BYTES)
    assert api.call("POST", f"{BASE}/d1/sign")[0] == 200
    freeze(services, "http://receiver.test/", "d2", body=b"x" * (MAX_SIGNED_BYTES + 1))
    freeze(services, "http://receiver.test/", "d3", body=b'"' * (MAX_SIGNED_BYTES // 2))
    with patch.object(services.bodies, "find", wraps=services.bodies.find) as read:
        for delivery, size, reads in (("d2", MAX_SIGNED_BYTES + 1, 0), ("d3", MAX_SIGNED_BYTES // 2, 1)):
            status, refusal = api.call("POST", f"{BASE}/{delivery}/sign")
            assert (status, read.call_count) == (413, reads)
            assert f"'{delivery}' has {size} bytes" in refusal["message"]
            assert "resend" in refusal["message"]


def test_a_body_that_is_gone_is_not_there(api: Api, services: Services) -> None:
    freeze(services, "http://receiver.test/", body=b"x" * (deliveries.MAX_ITEM_BODY_BYTES + 1))
    record = services.deliveries.find("d1")
    assert record is not None
    services.bodies.delete([str(record.body_key)])
    status, refusal = api.call("POST", f"{BASE}/d1/sign")
    assert (status, "'d1' is not kept any more" in refusal["message"]) == (404, True)


def test_who_looks_on_gets_no_signature(api: Api, services: Services) -> None:
    freeze(services, "http://receiver.test/")
    assert api.call("GET", f"{BASE}/d1", "viewer")[0] == 200
    status, refusal = api.call("POST", f"{BASE}/d1/sign", "viewer")
    assert (status, "webhook-signature" in str(refusal)) == (403, False)


def test_a_signature_is_in_the_audit_log(api: Api, services: Services, caplog: pytest.LogCaptureFixture) -> None:
    freeze(services, "http://receiver.test/")
    api.call("POST", f"{BASE}/d1/sign")
    assert "sign_delivery: done" in caplog.messages


def test_the_sink_takes_any_webhook(api: Api, services: Services) -> None:
    assert api.call("POST", "/api/v1/webhooks/sink", key="") == (200, None)


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("GET", BASE, "", 401),
        ("GET", BASE, "wrong", 401),
        ("GET", BASE, "narrow", 403),
        ("GET", f"{BASE}/d1", "narrow", 403),
        ("POST", f"{BASE}/d1/resend", "narrow", 403),
        ("POST", f"{BASE}/d1/sign", "", 401),
        ("POST", f"{BASE}/d1/sign", "narrow", 403),
        ("POST", f"{BASE}/unknown/sign", "dev", 404),
        ("POST", f"{OTHERS}/d1/sign", "dev", 404),
        ("POST", f"{OTHERS}/d1/sign", "narrow", 404),
        ("GET", f"{BASE}/unknown", "dev", 404),
        ("POST", f"{BASE}/unknown/resend", "dev", 404),
        ("GET", f"{OTHERS}/d1", "dev", 404),
        ("POST", f"{OTHERS}/d1/resend", "dev", 404),
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
