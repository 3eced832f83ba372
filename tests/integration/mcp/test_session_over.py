"""The end of a session as its agents' clients see it: what is still answered, and what says that it is over."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.domain import agent_secrets
from chalicelib.mcp.endpoint import Request, Response, handle
from tests.mcp_world import AGENT_KEY, NAMESPACE, SESSION, World

V2026 = "2026-07-28"
CREATE = {"name": "coral_create_thread", "arguments": {"threadName": "t", "participantNames": []}}
FORGED = agent_secrets.mint("a guess", NAMESPACE, SESSION, "ann")


def message(method: str, id: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def close(here: World) -> None:
    """Close the session as the API does, and let go of the secrets as the lifecycle does a moment later."""
    here.services.sessions.close(NAMESPACE, SESSION, now_ms=1, reason="closed_by_user")
    for name in ("ann", "bob", "cem"):
        here.services.agents.stop(SESSION, name, now_ms=1, reason="x")


def remove(here: World) -> None:
    """Remove the session with all that is of it."""
    close(here)
    here.clear()


def is_over(response: Response, id: Any = 1) -> bool:
    found = json.loads(response.body)
    return (response.status, found["id"], found["error"]["code"]) == (404, id, -32600)


@pytest.mark.parametrize("end", [close, remove])
def test_a_call_after_the_end_is_404(here: World, end: Any) -> None:
    here.rpc("ann", "ping")
    end(here)
    for call in (message("tools/call", **CREATE), message("resources/read", "x", uri="coral://state")):
        assert is_over(here.post("ann", call), call["id"])


def test_what_clients_ask_beside_their_calls_is_answered_while_the_session_is_held(here: World) -> None:
    """Some list the tools after each call: that of `coral_close_session` is done, and not to be reported as failed."""
    tools = here.rpc("ann", "tools/list")
    close(here)
    assert here.rpc("ann", "tools/list") == tools
    assert here.rpc("ann", "ping")["result"] == {}
    initialized = here.rpc("bob", "initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}})
    assert initialized["result"]["protocolVersion"] == "2025-06-18"
    assert here.post("bob", {"jsonrpc": "2.0", "method": "notifications/initialized"}).status == 202
    assert handle(here.services, Request("DELETE", here.secret("bob"))).status == 200
    assert here.services.agents.find(SESSION, "bob").connected_at_ms is None  # type: ignore[union-attr]
    assert [entry.event["type"] for entry in here.services.log.read(SESSION)] == ["agent_connected"]


def test_a_held_session_describes_itself_in_the_stateless_era_too(here: World) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": V2026, "io.modelcontextprotocol/clientCapabilities": {}}
    close(here)
    for method, status in (("server/discover", 200), ("tools/list", 200), ("resources/list", 404)):
        sent = {"mcp-protocol-version": V2026, "mcp-method": method}
        assert here.post("ann", message(method, _meta=meta), sent).status == status


def test_nothing_is_left_of_a_session_that_was_removed(here: World) -> None:
    remove(here)
    for method in ("tools/list", "ping", "initialize"):
        assert is_over(here.post("ann", message(method)))
    assert here.post("ann", {"jsonrpc": "2.0", "method": "notifications/initialized"}).status == 404
    assert handle(here.services, Request("GET", here.secret("ann"))).status == 404


def test_a_batch_with_a_call_is_404_in_a_held_session(here: World) -> None:
    close(here)
    assert here.post("ann", [message("ping", 1), message("tools/call", 2, **CREATE)]).status == 404
    assert here.post("ann", [message("ping", 1), message("tools/list", 2)]).status == 200


def test_an_agent_that_was_stopped_is_told_the_same(here: World) -> None:
    here.services.agents.stop(SESSION, "ann", now_ms=1, reason="x")
    assert is_over(here.post("ann", message("tools/list")))
    assert here.post("bob", message("ping")).status == 200


@pytest.mark.parametrize("end", [None, close, remove])
def test_a_forged_secret_is_401_and_nothing_is_read_for_it(here: World, end: Any) -> None:
    if end:
        end(here)
    with here.counting() as calls:
        for method in ("POST", "GET", "DELETE"):
            body = json.dumps(message("tools/list")).encode()
            assert handle(here.services, Request(method, FORGED, {"last-event-id": "x"}, body)).status == 401
    assert calls == []


def test_a_rotation_of_the_key_affects_no_agent_that_runs(here: World) -> None:
    secrets = here.services.client("secretsmanager")
    del here.services.agent_keys  # another process, which has read no key
    secrets.put_secret_value(SecretId="atoll-test/agent-key", SecretString="a new key")
    try:
        assert here.post("ann", message("ping")).status == 200
        assert here.post("ann", message("ping"), secret=FORGED).status == 401
        new = agent_secrets.mint("a new key", NAMESPACE, SESSION, "ann")
        assert is_over(here.post("ann", message("ping"), secret=new))  # made here, and not what this agent was given
    finally:
        secrets.put_secret_value(SecretId="atoll-test/agent-key", SecretString=AGENT_KEY)
        del here.services.agent_keys


def test_an_agent_is_asked_to_try_again_while_the_key_cannot_be_read(here: World) -> None:
    class Busy:
        def get_secret_value(self, **_: Any) -> None:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, "GetSecretValue")

    keys = here.services.agent_keys
    usual, keys._client = keys._client, Busy()  # type: ignore[assignment]
    try:
        assert here.post("ann", message("ping")).status == 200  # by the key that is known
        keys.known.clear()
        found = json.loads(here.post("ann", message("ping")).body)
        assert "try again" in found["error"]["message"]
    finally:
        keys._client = usual
