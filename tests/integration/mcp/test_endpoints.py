"""The endpoints of one implementation of threads: the puppet API, MCP behind API Gateway, MCP behind a Function URL."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from chalice.test import Client

import app
from chalicelib.domain import api_keys, threads
from chalicelib.services import use
from chalicelib.workers.mcp import mcp
from tests.mcp_world import SESSION, World

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.fixture
def client(here: World) -> Iterator[Client]:
    use(here.services)
    here.services.known_keys.clear()
    api_keys.put(here.services, "dev", "test")
    with Client(app.app) as made:
        yield made
    use(None)


def puppet(
    client: Client, method: str, path: str, body: Any = None, *, agent: str = "ann", session: str = SESSION
) -> Any:
    headers = {"Authorization": "Bearer dev", "Content-Type": "application/json"}
    text = b"" if body is None else json.dumps(body).encode()
    return client.http.request(method, f"/api/v1/puppet/ns/{session}/{agent}{path}", headers=headers, body=text)


def test_a_puppet_does_all_that_an_agent_can(here: World, client: Client) -> None:
    made = puppet(client, "POST", "/thread", {"threadName": "t", "participantNames": ["bob"]})
    assert made.status_code == 200
    thread = made.json_body["thread"]["id"]
    adding = {"threadId": thread, "participantName": "cem"}
    assert puppet(client, "POST", "/thread/participant", adding).status_code == 200
    sent = puppet(client, "POST", "/thread/message", {"threadId": thread, "content": "hi", "mentions": ["bob"]})
    assert sent.json_body["message"]["senderName"] == "ann"
    assert here.tool("bob", "coral_wait_for_mention", currentUnixTime=0)["message"] == sent.json_body["message"]
    assert puppet(client, "DELETE", "/thread/participant", adding).status_code == 200
    assert puppet(client, "DELETE", "/thread", {"threadId": thread, "summary": "done"}).status_code == 200
    (view,) = threads.views(here.services, SESSION)
    assert (view.participants, view.state.to_wire()["summary"]) == (["ann", "bob"], "done")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/thread", {"threadName": "t", "participantNames": ["zoe"]}, 404),
        ("POST", "/thread", {"threadName": "t" * 257, "participantNames": []}, 400),
        ("POST", "/thread", {"participantNames": []}, 400),
        ("POST", "/thread/message", {"threadId": "nope", "content": "x", "mentions": []}, 404),
        ("POST", "/thread/message", {"threadId": "OPEN", "content": "x", "mentions": ["cem"]}, 404),
        ("POST", "/thread/message", {"threadId": "OPEN", "content": "x", "mentions": ["ann"]}, 400),
        ("POST", "/thread/message", {"threadId": "CLOSED", "content": "x", "mentions": []}, 400),
        ("POST", "/thread/message", {"threadId": "OPEN", "content": "x" * 300_001, "mentions": []}, 400),
        ("DELETE", "/thread", {"threadId": "CLOSED", "summary": "x"}, 400),
        ("DELETE", "/thread", {"threadId": "nope", "summary": "x"}, 404),
        ("POST", "/thread/participant", {"threadId": "OPEN", "participantName": "bob"}, 400),
        ("POST", "/thread/participant", {"threadId": "OPEN", "participantName": "zoe"}, 404),
        ("DELETE", "/thread/participant", {"threadId": "OPEN", "participantName": "cem"}, 400),
    ],
)
def test_what_a_puppet_cannot_do(
    here: World, client: Client, method: str, path: str, body: dict[str, Any], status: int
) -> None:
    ids = {"OPEN": here.thread("ann", "bob"), "CLOSED": here.thread("ann", "bob")}
    here.tool("ann", "coral_close_thread", threadId=ids["CLOSED"], summary="")
    sent = {name: ids.get(value, value) if isinstance(value, str) else value for name, value in body.items()}
    answer = puppet(client, method, path, sent)
    assert (answer.status_code, list(answer.json_body)) == (status, ["message"])


def test_an_agent_or_session_that_is_not_there_has_no_puppet(here: World, client: Client) -> None:
    body = {"threadName": "t", "participantNames": []}
    assert puppet(client, "POST", "/thread", body, agent="zoe").status_code == 404
    assert puppet(client, "POST", "/thread", body, session="nope").status_code == 404
    here.services.sessions.close("ns", SESSION, now_ms=1, reason="closed_by_user")
    assert puppet(client, "POST", "/thread", body).status_code == 400


def test_a_puppet_that_was_ended_can_be_ended_again(here: World, client: Client) -> None:
    here.services.tasks = NoTasks()  # type: ignore[assignment]
    assert [puppet(client, "DELETE", "").status_code for _ in range(2)] == [200, 200]
    found = here.services.agents.find(SESSION, "ann")
    assert found is not None
    assert (found.status, found.secret_hash) == ("stopped", None)


class NoTasks:
    """ECS that is asked for nothing: the agent has no task."""


def test_a_puppet_needs_a_key(here: World, client: Client) -> None:
    answer = client.http.post(f"/api/v1/puppet/ns/{SESSION}/ann/thread", body=b"{}")
    assert answer.status_code == 401


def gateway(here: World, client: Client, method: str, body: bytes = b"", **headers: str) -> Any:
    sent = {"Content-Type": "application/json", **headers}
    return client.http.request(method, f"/mcp/v1/{here.secret('ann')}/mcp", headers=sent, body=body)


def test_mcp_behind_api_gateway(here: World, client: Client) -> None:
    answer = gateway(here, client, "POST", json.dumps(PING).encode())
    assert (answer.status_code, answer.json_body) == (200, {"jsonrpc": "2.0", "id": 1, "result": {}})
    assert answer.headers["Content-Type"] == "application/json"
    events = gateway(here, client, "POST", json.dumps(PING).encode(), Accept="text/event-stream")
    assert events.body.startswith(b"event: message\ndata: {")
    assert gateway(here, client, "POST", b'{"jsonrpc":"2.0","method":"notifications/x"}').status_code == 202
    assert gateway(here, client, "GET").status_code == 405
    assert gateway(here, client, "DELETE").status_code == 200
    assert client.http.post("/mcp/v1/nope/mcp", body=b"{}").status_code == 401


def function_url(path: str, body: str | None, *, method: str = "POST", encoded: bool = False) -> dict[str, Any]:
    """An event as a Function URL makes it (payload format 2.0)."""
    return {
        "version": "2.0",
        "rawPath": path,
        "headers": {"content-type": "application/json", "accept": "application/json"},
        "requestContext": {"http": {"method": method, "path": path}},
        "body": body,
        "isBase64Encoded": encoded,
    }


def test_mcp_behind_a_function_url(here: World, client: Client) -> None:
    path = f"/mcp/v1/{here.secret('ann')}/mcp"
    for text, encoded in [(json.dumps(PING), False), (base64.b64encode(json.dumps(PING).encode()).decode(), True)]:
        answer = mcp(function_url(path, text, encoded=encoded), None)
        assert (answer["statusCode"], json.loads(answer["body"])["result"]) == (200, {})
    assert mcp(function_url(path, None, method="GET"), None)["statusCode"] == 405
    assert mcp(function_url("/mcp/v1/nope/mcp", "{}"), None)["statusCode"] == 401
    assert mcp(function_url("/", None, method="GET"), None)["statusCode"] == 404
