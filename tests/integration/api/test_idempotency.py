"""``Idempotency-Key``: one request creates one session, whatever happens in between."""

import itertools
import threading
from typing import Any

import pytest

from infra.local.stack import LocalStack
from tests.client import Answer, Client, eventually, session, sleeper
from tests.integration.api.calls import calls_to_aws

pytestmark = pytest.mark.xdist_group("api")

SESSION = "/api/v1/local/session"
_KEYS = itertools.count()


@pytest.fixture
def key() -> dict[str, str]:
    return {"Idempotency-Key": f"key {next(_KEYS)}"}


def create(client: Client, key: dict[str, str], namespace: str, **settings: Any) -> Answer:
    return client.call("POST", SESSION, session(sleeper(), namespace=namespace, **settings), key)


def listed(client: Client, namespace: str) -> list[str]:
    answer = client.call("GET", f"/api/v1/local/namespace/{namespace}")
    return [each["id"] for each in answer.body] if answer.status == 200 else []


def test_the_same_request_gives_the_same_session(client: Client, namespace: str, key: dict[str, str]) -> None:
    first, second = create(client, key, namespace), create(client, key, namespace)
    assert (first.status, second.status) == (200, 200)
    assert first.body == second.body
    assert listed(client, namespace) == [first.body["sessionId"]]


def test_other_keys_and_no_key_make_other_sessions(client: Client, namespace: str, key: dict[str, str]) -> None:
    bodies = [create(client, each, namespace).body["sessionId"] for each in (key, {"Idempotency-Key": "other"}, {}, {})]
    assert len(set(bodies)) == 4


def test_another_body_under_the_same_key_is_refused(client: Client, namespace: str, key: dict[str, str]) -> None:
    create(client, key, namespace)
    answer = create(client, key, namespace, ttl=1_000)
    assert answer.status == 409
    assert "Idempotency-Key" in answer.body["message"]


def test_a_body_is_the_same_in_another_order_and_spacing(client: Client, namespace: str, key: dict[str, str]) -> None:
    request = session(sleeper(), namespace=namespace)
    turned = dict(reversed(request.items()))
    answers = [client.call("POST", SESSION, each, key).body for each in (request, turned)]
    assert answers[0] == answers[1]


def test_a_key_outlives_its_session(client: Client, namespace: str, key: dict[str, str]) -> None:
    first = create(client, key, namespace)
    path = f"{SESSION}/{namespace}/{first.body['sessionId']}"
    client.call("DELETE", path)
    client.wait_for_status(path, None)
    eventually(lambda: client.call("GET", f"/api/v1/local/namespace/{namespace}").status == 404)
    assert create(client, key, namespace).body == first.body
    assert listed(client, namespace) == []


def test_a_key_is_forgotten_after_a_day(
    client: Client, stack: LocalStack, namespace: str, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = create(client, key, namespace, ttl=60_000)
    now_ms = stack.services.clock.now_ms() + 24 * 3_600_000 + 1_000
    monkeypatch.setattr(stack.services.clock, "now_ms", lambda: now_ms)
    later = create(client, key, namespace, ttl=60_000)
    assert later.status == 200
    assert later.body != first.body


def test_a_refused_request_does_not_use_its_key_up(client: Client, namespace: str, key: dict[str, str]) -> None:
    request = session(sleeper(), namespace=namespace)
    request["namespaceProvider"] = {"type": "use_existing", "name": namespace}
    assert client.call("POST", SESSION, request, key).status == 404
    client.call("POST", "/api/v1/local/namespace", {"name": namespace})
    assert client.call("POST", SESSION, request, key).status == 200


def test_twins_that_come_at_once_create_one_session(client: Client, namespace: str, key: dict[str, str]) -> None:
    answers: list[Answer] = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        answers.append(create(client, key, namespace))

    threads = [threading.Thread(target=ask, name=f"asking {number}") for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 8
    assert len({answer.body["sessionId"] for answer in answers}) == 1
    assert listed(client, namespace) == [answers[0].body["sessionId"]]


@pytest.mark.parametrize("after", [False, True], ids=["not made", "answer lost"])
@pytest.mark.parametrize("call", range(6))
def test_whatever_call_is_cut_off_trying_again_ends_with_one_session(
    client: Client,
    stack: LocalStack,
    namespace: str,
    key: dict[str, str],
    call: int,
    after: bool,
) -> None:
    client.call("GET", "/api/v1/registry")  # so that the API key is known and takes no call
    with calls_to_aws(fail_at=call, after=after) as made:
        assert create(client, key, namespace).status == 503, made
    answers = [create(client, key, namespace) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].body == answers[1].body
    assert listed(client, namespace) == [answers[0].body["sessionId"]]


def test_only_the_header_costs_more_calls(client: Client, namespace: str, key: dict[str, str]) -> None:
    client.call("POST", "/api/v1/local/namespace", {"name": namespace})
    request = session(sleeper(), sleeper("b"), sleeper("c"), namespace=namespace)
    with calls_to_aws() as plain:
        assert client.call("POST", SESSION, request).status == 200
    with calls_to_aws() as keyed:
        assert client.call("POST", SESSION, request, key).status == 200
    assert plain == ["BatchGetItem", "BatchWriteItem", "PutItem", "GetItem"]
    assert keyed == ["GetItem", "BatchGetItem", "BatchWriteItem", "TransactWriteItems", "GetItem"]


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_its_limits(client: Client, namespace: str, key: str) -> None:
    answer = create(client, {"Idempotency-Key": key}, namespace)
    assert answer.status == 400
    assert "255" in answer.body["message"]
