"""What a local stack with data knows after a kill: files that are copied while it runs are those of a killed one."""

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from chalicelib.domain import api_keys
from chalicelib.domain import deliveries as asked
from chalicelib.reactions import deliveries
from infra.local import recovery
from infra.local.stack import KEYS, LocalStack
from tests.client import Client, eventually, session, sleeper
from tests.integration.local.runs import killed, run
from tests.integration.webhooks.receivers import Receiver, receiving

pytestmark = pytest.mark.xdist_group("data")

#: A hold that no test sees the end of.
HOLD = {"mode": "hold_after_exit", "duration": 600_000}


@dataclass
class Left:
    """What the first run has left, and the second one that goes on with it."""

    client: Client
    stack: LocalStack
    receiver: Receiver
    key: str
    paths: dict[str, str]
    keys: list[str]
    webhook_secret: str


def _fill(stack: LocalStack, client: Client, receiver: Receiver) -> tuple[dict[str, str], str]:
    """Do one of everything, and wait until it is under way."""
    key, _ = api_keys.make(stack.services, "shop's", ["shop"])
    request = {"name": "shop", "deleteOnLastSessionExit": False, "annotations": {"a": "b"}}
    assert client.call("POST", "/api/v1/local/namespace", request).status == 200
    hook: dict[str, Any] = {"webhooks": {"sessionEnd": {"url": receiver.url}}}
    paths = {
        "dies": client.create(session(sleeper("a"), namespace="shop", persistenceMode=HOLD)),
        "runs": client.create(session(sleeper("a"), sleeper("b"), namespace="shop", **hook)),
        "held": client.create(session(sleeper("a", 0.1), namespace="shop", persistenceMode=HOLD)),
        "pending": client.create(session(sleeper("a"), namespace="shop", defer=True)),
        "over": client.create(session(sleeper("a", 0.1), namespace="shop")),
    }
    client.wait_for_status(paths["over"], None)
    client.wait_for_status(paths["held"], "closing")
    kinds = ("runtime_started", "runtime_started")
    eventually(lambda: tuple(e["type"] for e in client.call("GET", f"{paths['runs']}/events").body) == kinds)
    eventually(lambda: client.call("GET", f"{paths['dies']}/events").body)
    for delivery_id, size in (("again", 10), ("large", 400_000)):
        receiver.answer(500)
        body = json.dumps("x" * size).encode()
        deliveries.freeze(
            stack.services, delivery_id=delivery_id, namespace="shop", session_id="s", url=receiver.url, body=body
        )
        eventually(functools.partial(_is_pending, stack, delivery_id))
    return paths, key


def _is_pending(stack: LocalStack, delivery_id: str) -> bool:
    return _attempts(stack, delivery_id) == ("pending", 1, 1)


def _attempts(stack: LocalStack, delivery_id: str) -> tuple[str, int, int]:
    delivery = asked.find(stack.services, "shop", delivery_id)
    return delivery.state, delivery.round, len(delivery.attempts)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    folder = tmp_path_factory.mktemp("data")
    with receiving() as receiver:
        with run(folder / "first", "old key") as first:
            paths, key = _fill(first, Client(first.url, first.key), receiver)
            keys, webhook_secret = [first.services.secrets.get(name) for name in KEYS], first.webhook_secret
            killed(first, folder / "second")
        receiver.received.clear()
        with run(folder / "second") as second:
            client = Client(second.url, second.key)
            yield Left(client, second, receiver, key, paths, keys, webhook_secret)


@pytest.fixture
def client(left: Left) -> Client:
    return left.client


def events(client: Client, path: str) -> list[dict[str, Any]]:
    *_, namespace, session_id = path.split("/")
    answer = client.call("GET", f"/api/v1/local/namespace/{namespace}/history/{session_id}/events")
    return list(answer.body) if answer.status == 200 else []


def test_a_session_whose_agents_died_has_ended_and_reported(left: Left, client: Client) -> None:
    session_id = left.paths["runs"].rpartition("/")[2]
    reports = eventually(lambda: [r for r in left.receiver.received if r.headers["webhook-id"] == f"{session_id}-end"])
    assert [stats["name"] for stats in json.loads(reports[0].body)["agentStats"]] == ["a", "b"]
    client.wait_for_status(left.paths["runs"], None)
    kinds = [event["type"] for event in events(client, left.paths["runs"])]
    assert kinds == ["runtime_started", "runtime_started", "runtime_stopped", "runtime_stopped"]
    # To the second, nothing is sent twice.
    assert len(reports) == 1


def test_an_agent_that_died_says_why(left: Left, client: Client) -> None:
    client.wait_for_status(left.paths["dies"], "closing")
    [died] = client.call("GET", f"{left.paths['dies']}/agent").body
    assert died["status"] == {"type": "stopped", "startTime": died["status"]["startTime"], "reason": recovery.REASON}


def test_a_namespace_is_as_it_was(client: Client) -> None:
    [shop] = client.call("GET", "/api/v1/local/namespace").body
    assert shop == {"name": "shop", "deleteOnLastSessionExit": False, "annotations": {"a": "b"}}


def test_a_session_that_has_not_begun_can_begin(left: Left, client: Client) -> None:
    path = left.paths["pending"]
    assert client.status(path) == "pending_execution"
    assert client.call("POST", path, {"mode": "immediate", "runtimeSettings": {"persistenceMode": HOLD}}).status == 200
    eventually(lambda: [e["type"] for e in client.call("GET", f"{path}/events").body] == ["runtime_started"])
    assert client.call("DELETE", path).status == 200


def test_a_session_on_hold_is_on_hold(left: Left, client: Client) -> None:
    assert client.status(left.paths["held"]) == "closing"


def test_the_history_is_there(left: Left, client: Client) -> None:
    kinds = [event["type"] for event in events(client, left.paths["over"])]
    assert kinds == ["runtime_started", "runtime_stopped"]


@pytest.mark.parametrize("delivery_id", ["again", "large"])
def test_a_delivery_goes_on_where_it_was(left: Left, delivery_id: str) -> None:
    eventually(lambda: _attempts(left.stack, delivery_id) == ("delivered", 1, 2))
    assert [r.headers["webhook-id"] for r in left.receiver.received].count(delivery_id) == 1


def test_keys_reach_what_they_did_and_the_stacks_former_one_nothing(left: Left) -> None:
    url = left.stack.url
    assert Client(url, left.key).call("GET", "/api/v1/local/namespace/shop").status == 200
    assert Client(url, left.key).call("GET", "/api/v1/local/namespace/other").status == 403
    assert Client(url, "old key").call("GET", "/api/v1/local/namespace/shop").status == 401


def test_what_signs_and_encrypts_is_as_it_was(left: Left) -> None:
    assert left.stack.webhook_secret == left.webhook_secret
    assert [left.stack.services.secrets.get(name) for name in KEYS] == left.keys
