"""Requests that cannot be served now: each client gets an answer that it outlives, and learns when to try again."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.mcp.endpoint import Request, handle
from tests.integration.mcp.test_paused_waits import Stream, begin, come_back
from tests.mcp_world import TestClock, World

V2026 = "2026-07-28"
SAID = "try again in 1 s"


@pytest.fixture
def throttle(here: World) -> Iterator[Callable[[str], None]]:
    """Have DynamoDB refuse calls of a kind until the test's end, or until it is said that it does no more."""

    def refuse(kind: str) -> None:
        def call(name: str, params: dict[str, Any]) -> None:
            if name == kind:
                raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, name)

        here.before_call = call

    yield refuse
    here.before_call = lambda name, params: None


def message(method: str, id: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


CALL = message("tools/call", name="coral_create_thread", arguments={"threadName": "t", "participantNames": []})


@pytest.mark.parametrize("kind", ["BatchGetItem", "PutItem"], ids=["before it is known who asks", "in the tool"])
@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-11-25", None])
def test_a_tool_call_is_answered_as_a_tool_that_failed(
    here: World, throttle: Callable[[str], None], kind: str, version: str | None
) -> None:
    here.rpc("ann", "ping")
    throttle(kind)
    answer = here.post("ann", CALL, {"mcp-protocol-version": version} if version else {})
    result = json.loads(answer.body)["result"]
    assert (answer.status, json.loads(answer.body)["id"]) == (200, 1)
    assert (result["isError"], SAID in result["content"][0]["text"]) == (True, True)
    assert SAID in result["structuredContent"]["error"]


def test_a_custom_tool_that_failed_has_no_structured_content(here: World, throttle: Callable[[str], None]) -> None:
    """Its schema is not known here, and clients hold an error's structured content against it."""
    throttle("BatchGetItem")
    answer = here.post("ann", message("tools/call", name="weather", arguments={}))
    result = json.loads(answer.body)["result"]
    assert (result["isError"], "structuredContent" in result) == (True, False)


def test_any_other_request_is_answered_with_an_error(here: World, throttle: Callable[[str], None]) -> None:
    throttle("BatchGetItem")
    for method in ("initialize", "tools/list", "resources/read"):
        answer = here.post("ann", message(method, "x"))
        found = json.loads(answer.body)
        assert (answer.status, found["id"], found["error"]["code"]) == (200, "x", -32603)
        assert SAID in found["error"]["message"]


def test_a_notification_is_accepted(here: World, throttle: Callable[[str], None]) -> None:
    throttle("BatchGetItem")
    for sent in ({"jsonrpc": "2.0", "method": "notifications/initialized"}, {"jsonrpc": "2.0", "id": 7, "result": {}}):
        answer = here.post("ann", sent)
        assert (answer.status, answer.body) == (202, b"")


def test_what_is_wrong_in_any_case_is_refused_as_ever(here: World, throttle: Callable[[str], None]) -> None:
    throttle("BatchGetItem")
    assert here.post("ann", b"{").status == 400
    assert here.post("ann", CALL, {"content-type": "text/plain"}).status == 415


@pytest.mark.parametrize("kind", ["BatchGetItem", "PutItem"])
def test_a_batch_says_of_each_of_its_messages_what_became_of_it(
    here: World, throttle: Callable[[str], None], kind: str
) -> None:
    here.rpc("ann", "ping")
    throttle(kind)
    batch = [message("ping", 1), CALL | {"id": 2}, {"jsonrpc": "2.0", "method": "notifications/x"}]
    answer = here.post("ann", batch)
    pinged, called = json.loads(answer.body)
    assert (answer.status, called["id"], called["result"]["isError"]) == (200, 2, True)
    assert ("error" in pinged) == (kind == "BatchGetItem")


def test_a_client_that_takes_only_events_gets_one(here: World, throttle: Callable[[str], None]) -> None:
    throttle("BatchGetItem")
    answer = here.post("ann", CALL, {"accept": "text/event-stream"})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
    assert answer.body.startswith(b"event: message\ndata: {")


def test_the_stateless_era_has_a_status_for_it(here: World, throttle: Callable[[str], None]) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": V2026, "io.modelcontextprotocol/clientCapabilities": {}}
    sent = {"mcp-protocol-version": V2026, "mcp-method": "tools/list"}
    throttle("BatchGetItem")
    answer = here.post("ann", message("tools/list", _meta=meta), sent)
    found = json.loads(answer.body)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert (found["id"], found["error"]["code"], SAID in found["error"]["message"]) == (1, -32603, True)


def test_a_client_that_comes_back_for_its_wait_is_asked_to_come_back_again(
    here: World, throttle: Callable[[str], None]
) -> None:
    clock = TestClock()
    with here.on(clock, mcp_wait_hold_ms=1_000):
        thread = here.thread("ann", "bob")
        stream = Stream.of(begin(here, "bob"))
        here.send("ann", thread, "meanwhile")
        throttle("BatchGetItem")
        again = Stream.of(come_back(here, "bob", stream.event_id))
        assert (again.event_id, again.rest_ms) == (stream.event_id, 1_000)
        here.before_call = lambda name, params: None
        answer = Stream.of(come_back(here, "bob", again.event_id)).answer
        assert answer["result"]["structuredContent"]["message"]["text"] == "meanwhile"
        throttle("BatchGetItem")
        assert come_back(here, "bob", "nonsense").status == 400


def test_what_is_no_message_gets_the_status(here: World, throttle: Callable[[str], None]) -> None:
    throttle("BatchGetItem")
    answer = handle(here.services, Request("DELETE", here.secret("ann")))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
