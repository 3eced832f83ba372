"""Nothing of one namespace can be read, listed, guessed or changed with a key of another, through any path."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

import app
from chalicelib.api.routing import ROUTES
from chalicelib.reactions import deliveries
from infra.local.stack import LocalStack
from tests.client import Client, session, sleeper

pytestmark = pytest.mark.xdist_group("api")

#: Names that a key for ``tenant`` and ``tenant-*`` must not reach, however alike they look.
FOREIGN = "tenan"
NEIGHBOURS = ["tenant2", "Tenant", "tenant ", " tenant", "tenant/x", "xtenant-a", "tenant\u200b", "te\u0301nant", "*"]

#: What the owner has put into the foreign namespace: all of it must stay unseen.
SECRETS = ["hushed", "whispered", "unspoken"]


@pytest.fixture(scope="module")
def victim(stack: LocalStack) -> Iterator[dict[str, str]]:
    """A session in a foreign namespace with a thread, a message and a delivery; the names in its paths."""
    owner = Client(stack.url, stack.key)
    hold = {"mode": "hold_after_exit", "duration": 600_000}
    request = session(sleeper(), sleeper("b"), namespace=FOREIGN, persistenceMode=hold)
    request["annotations"] = {"team": SECRETS[0]}
    request["agentGraphRequest"]["budget"] = {"usd": "1"}
    session_id = owner.call("POST", "/api/v1/local/session", request).body["sessionId"]
    puppet = f"/api/v1/puppet/{FOREIGN}/{session_id}/a"
    thread = owner.call("POST", f"{puppet}/thread", {"threadName": SECRETS[1], "participantNames": ["b"]}).body[
        "thread"
    ]
    message = {"threadId": thread["id"], "content": SECRETS[2], "mentions": ["b"]}
    assert owner.call("POST", f"{puppet}/thread/message", message).status == 200
    deliveries.freeze(
        stack.services,
        delivery_id="foreign-end",
        namespace=FOREIGN,
        session_id=session_id,
        url="http://127.0.0.1:1/",
        body=SECRETS[0].encode(),
    )
    yield {
        "namespace": FOREIGN,
        "sessionId": session_id,
        "agentName": "a",
        "threadId": thread["id"],
        "deliveryId": "foreign-end",
        "agentVersion": "1.0.0",
        "endpointId": "e",
    }
    owner.call("DELETE", f"/api/v1/local/namespace/{FOREIGN}")


def body_of(path: str, names: dict[str, str]) -> dict[str, Any]:
    """A body with which the owner's request would do something."""
    everything = {
        **session(sleeper(), namespace=names["namespace"]),
        "name": names["namespace"],
        "threadId": names["threadId"],
        "threadName": "x",
        "participantNames": ["b"],
        "participantName": "b",
        "content": "x",
        "mentions": [],
        "summary": "x",
        "agents": {"a": {"usd": "0.5"}},
    }
    return everything if path != "/api/v1/local/namespace" else {"name": names["namespace"]}


assert app.app.routes, "the routes are registered when the app is imported"

NAMESPACED = [
    (route.method, route.path)
    for route in ROUTES
    if "{namespace}" in route.path
    or (route.method, route.path) in {("POST", f"/api/v1/local/{kind}") for kind in ("session", "namespace")}
]


def seen(client: Client, names: dict[str, str]) -> Any:
    """All that the owner can see of a session."""
    path = f"/api/v1/local/session/{names['namespace']}/{names['sessionId']}"
    state = client.call("GET", f"{path}/extended").body
    assert client.call("GET", f"{path}/thread/{names['threadId']}/message").body[0]["text"] == SECRETS[2]
    return [
        client.call("GET", f"{path}/budget").body,
        state["threads"],
        [agent["status"]["type"] == "stopped" for agent in state["agents"]],
        state["base"]["status"],
    ]


@pytest.mark.parametrize(("method", "path"), NAMESPACED, ids=lambda part: part)
def test_every_path_of_a_foreign_namespace_is_forbidden(
    method: str, path: str, client: Client, narrow: Client, victim: dict[str, str]
) -> None:
    before = seen(client, victim)
    filled = re.sub(r"{(\w+)}", lambda name: victim[name[1]], path)
    body = body_of(path, victim) if method in ("POST", "DELETE") else None
    answer = narrow.call(method, filled, body)
    assert answer.status == 403, answer
    assert not any(secret in str(answer.body) for secret in SECRETS)
    assert seen(client, victim) == before


@pytest.mark.parametrize(("method", "path"), NAMESPACED, ids=lambda part: part)
def test_a_foreign_session_is_unknown_under_a_namespace_of_ones_own(
    method: str, path: str, client: Client, narrow: Client, victim: dict[str, str]
) -> None:
    if "{sessionId}" not in path and "{deliveryId}" not in path:
        return
    narrow.call("POST", "/api/v1/local/namespace", {"name": "tenant", "deleteOnLastSessionExit": False})
    before = seen(client, victim)
    names = {**victim, "namespace": "tenant"}
    filled = re.sub(r"{(\w+)}", lambda name: names[name[1]], path)
    answer = narrow.call(method, filled, body_of(path, names) if method in ("POST", "DELETE") else None)
    assert answer.status == 404, answer
    assert not any(secret in str(answer.body) for secret in SECRETS)
    assert seen(client, victim) == before


@pytest.mark.parametrize(("encoded", "name"), [(quote(name, safe=""), name) for name in NEIGHBOURS])
def test_names_that_look_alike_are_foreign(narrow: Client, encoded: str, name: str) -> None:
    assert narrow.call("GET", f"/api/v1/local/namespace/{encoded}").status == 403
    assert narrow.call("POST", "/api/v1/local/namespace", {"name": name}).status == 403
    assert narrow.call("POST", "/api/v1/local/session", session(sleeper(), namespace=name)).status == 403
    existing = session(sleeper())
    existing["namespaceProvider"] = {"type": "use_existing", "name": name}
    assert narrow.call("POST", "/api/v1/local/session", existing).status == 403


@pytest.mark.parametrize("path", ["tenant%2F..%2Ftenan", "tenant-/../tenan", "%74enan", "tenant%00", "tenan%E2%80%8B"])
def test_no_spelling_of_a_path_leads_there(narrow: Client, victim: dict[str, str], path: str) -> None:
    for suffix in ("", "/extended"):
        answer = narrow.call("GET", f"/api/v1/local/namespace/{path}{suffix}")
        assert answer.status in (403, 404), answer
        assert not any(secret in str(answer.body) for secret in SECRETS)


def test_listings_leave_out_what_a_key_does_not_reach(
    client: Client, narrow: Client, stack: LocalStack, victim: dict[str, str]
) -> None:
    for name in ("tenant", "tenant-a"):
        narrow.call("POST", "/api/v1/local/namespace", {"name": name, "deleteOnLastSessionExit": False})
    assert FOREIGN in [each["name"] for each in client.call("GET", "/api/v1/local/namespace").body]
    for path in ("", "/extended", "?limit=1", "?annotations=team:hushed", "/extended?limit=1"):
        answer = narrow.call("GET", f"/api/v1/local/namespace{path}")
        assert answer.status == 200
        assert FOREIGN not in [each.get("name", each.get("base", {}).get("name")) for each in answer.body]
        assert not any(secret in str(answer.body) for secret in SECRETS)


def test_a_cursor_of_one_namespace_opens_no_other(client: Client, narrow: Client, victim: dict[str, str]) -> None:
    for _ in range(2):
        assert (
            client.call("POST", "/api/v1/local/session", session(sleeper(), namespace=FOREIGN, defer=True)).status
            == 200
        )
    narrow.call("POST", "/api/v1/local/namespace", {"name": "tenant", "deleteOnLastSessionExit": False})
    cursor = client.call("GET", f"/api/v1/local/namespace/{FOREIGN}?limit=1").headers["Next-Cursor"]
    assert narrow.call("GET", f"/api/v1/local/namespace/tenant?cursor={cursor}").status == 400
    assert client.call("GET", f"/api/v1/local/namespace/tenant?cursor={cursor}").status == 400
    assert client.call("GET", f"/api/v1/local/namespace?cursor={cursor}").status == 400


def test_one_keys_idempotency_keys_are_not_anothers(client: Client, narrow: Client) -> None:
    request = session(sleeper(), namespace="tenant-a", defer=True)
    mine = narrow.call("POST", "/api/v1/local/session", request, {"Idempotency-Key": "k"})
    others = client.call("POST", "/api/v1/local/session", request, {"Idempotency-Key": "k"})
    assert (mine.status, others.status) == (200, 200)
    assert mine.body["sessionId"] != others.body["sessionId"]


@pytest.mark.parametrize(("method", "path"), [("PUT", "sleeper/1.0.0"), ("DELETE", "sleeper/1.0.0")])
def test_a_limited_key_does_not_change_the_registry_that_all_share(narrow: Client, method: str, path: str) -> None:
    answer = narrow.call(method, f"/api/v1/registry/local/{path}", b"x", {"Content-Type": "application/toml"})
    assert answer.status == 403


def test_an_agents_secret_is_no_api_key(stack: LocalStack, victim: dict[str, str]) -> None:
    from chalicelib.domain import agent_secrets

    secret = agent_secrets.mint(stack.services.secrets.get("agent-key"), FOREIGN, victim["sessionId"], "a")
    agent = Client(stack.url, secret)
    assert agent.call("GET", f"/api/v1/local/session/{FOREIGN}/{victim['sessionId']}").status == 401


def test_an_api_key_is_no_agents_secret(client: Client) -> None:
    assert client.call("POST", f"/mcp/v1/{client.key}/mcp", {}).status == 401
    assert client.call("GET", "/api/v1/agent/options").status == 401
