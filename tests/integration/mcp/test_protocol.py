"""The protocol itself: what each era asks for, what each kind of wrong request is answered, and with which status."""

import json
from typing import Any

import pytest

from chalicelib.clock import Clock
from chalicelib.mcp.endpoint import MAX_BODY_BYTES, Request, handle
from chalicelib.wire import base64url
from tests.mcp_world import World

V2026 = "2026-07-28"


def request(method: str, params: Any = None, *, id: Any = 1) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": id, "method": method}
    return message if params is None else {**message, "params": params}


def modern(method: str, params: dict[str, Any] | None = None, *, version: str = V2026) -> dict[str, Any]:
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return request(method, {**(params or {}), "_meta": meta})


def headers(method: str, name: str | None = None, version: str = V2026) -> dict[str, str]:
    found = {"mcp-protocol-version": version, "mcp-method": method}
    return found if name is None else {**found, "mcp-name": name}


def ask(here: World, message: Any, sent: dict[str, str] | None = None) -> tuple[int, Any]:
    answer = here.post("ann", message, sent)
    return answer.status, json.loads(answer.body) if answer.body else None


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2024-11-05", "2024-11-05"),
        ("2024-10-07", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("tomorrow", "2025-11-25"),
    ],
)
def test_initialize_agrees_on_a_version(here: World, asked: str, agreed: str) -> None:
    client = {"name": "c", "version": "1"}
    params = {"protocolVersion": asked, "capabilities": {}, "clientInfo": client}
    status, answer = ask(here, request("initialize", params))
    assert status == 200
    result = answer["result"]
    assert (result["protocolVersion"], result["serverInfo"]["name"]) == (agreed, "Coral Agent Server")
    changed = {"listChanged": True}  # the lists change never: nothing that this promises fails to come
    assert result["capabilities"] == {"tools": changed, "resources": changed, "prompts": changed, "logging": {}}
    assert "resultType" not in result


@pytest.mark.parametrize("method", ["ping", "logging/setLevel"])
def test_an_empty_answer_is_empty(here: World, method: str) -> None:
    assert ask(here, request(method, {"level": "info"})) == (200, {"jsonrpc": "2.0", "id": 1, "result": {}})


def test_notifications_and_answers_are_accepted_and_get_none(here: World) -> None:
    assert ask(here, {"jsonrpc": "2.0", "method": "notifications/initialized"}) == (202, None)
    assert ask(here, {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}) == (202, None)
    assert ask(here, {"jsonrpc": "2.0", "id": 7, "result": {}}) == (202, None)


@pytest.mark.parametrize(
    ("message", "status", "code"),
    [
        (b"{", 400, -32700),
        (b"\xff", 400, -32700),
        (b"[" * 100_000, 400, -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":NaN}}', 400, -32700),
        (b"1" * 5_000, 400, -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":1e999}}', 400, -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}', 400, -32700),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":{"y":1,"y":2}}}]', 400, -32700),
        ({}, 400, -32600),
        ("ping", 400, -32600),
        ({"jsonrpc": "1.0", "id": 1, "method": "ping"}, 400, -32600),
        ({"jsonrpc": "2.0", "id": None, "method": "ping"}, 400, -32600),
        ({"jsonrpc": "2.0", "id": 1.5, "method": "ping"}, 400, -32600),
        ({"jsonrpc": "2.0", "id": True, "method": "ping"}, 400, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": 5}, 400, -32600),
        (request("ping", []), 200, -32602),
        (request("nope"), 200, -32601),
        (request("server/discover"), 200, -32601),
        (request("initialize", {}), 200, -32602),
        (request("tools/call", {}), 200, -32602),
        (request("tools/call", {"name": "coral_create_thread", "arguments": []}), 200, -32602),
        (request("tools/list", {"cursor": "x"}), 200, -32602),
        (request("logging/setLevel", {"level": "loud"}), 200, -32602),
        (request("resources/read", {"uri": "coral://nope"}), 200, -32002),
        (request("resources/read", {}), 200, -32602),
        (request("resources/subscribe", {"uri": "coral://nope"}), 200, -32002),
        (request("resources/unsubscribe", {"uri": "coral://nope"}), 200, -32002),
        (request("resources/subscribe", {}), 200, -32602),
        (request("prompts/get", {"name": "nope"}), 200, -32602),
    ],
)
def test_wrong_messages_of_the_2025_era(here: World, message: Any, status: int, code: int) -> None:
    found, answer = ask(here, message)
    assert (found, answer["error"]["code"]) == (status, code)


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_a_call_of_an_unknown_tool_is_a_result_that_names_it(here: World, version: str) -> None:
    call = request("tools/call", {"name": "nope", "arguments": {}})
    status, answer = ask(here, call, {"mcp-protocol-version": version})
    assert (status, answer["result"]["isError"]) == (200, True)
    assert "nope" in answer["result"]["content"][0]["text"]


@pytest.mark.parametrize("method", ["resources/subscribe", "resources/unsubscribe"])
@pytest.mark.parametrize("uri", ["coral://state", "coral://instruction"])
def test_a_subscription_is_accepted(here: World, method: str, uri: str) -> None:
    assert ask(here, request(method, {"uri": uri})) == (200, {"jsonrpc": "2.0", "id": 1, "result": {}})


def test_a_byte_order_mark_is_read_over(here: World) -> None:
    answer = here.post("ann", b'\xef\xbb\xbf{"jsonrpc": "2.0", "id": 1, "method": "ping"}')
    assert (answer.status, json.loads(answer.body)["result"]) == (200, {})


def test_an_unknown_version_in_the_header_is_refused(here: World) -> None:
    status, answer = ask(here, request("ping"), {"mcp-protocol-version": "2024-10-07"})
    assert (status, answer["error"]["code"]) == (400, -32600)


def test_the_stateless_era_discovers_what_is_there(here: World) -> None:
    status, answer = ask(here, modern("server/discover"), headers("server/discover"))
    result = answer["result"]
    assert status == 200
    assert (result["supportedVersions"], result["resultType"]) == ([V2026], "complete")
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "Coral Agent Server"
    assert (result["ttlMs"] > 0, result["cacheScope"]) == (True, "private")


@pytest.mark.parametrize(
    ("user_agent", "hold_ms", "offered"),
    [
        ("python-httpx2/2.16.2", 2_000, "2025-11-25"),
        ("python-httpx2/2.16.2", None, V2026),
        ("python-httpx2/2.16.2", 60_000, V2026),
        ("node", 2_000, V2026),
        ("ai-sdk/2.0.99 runtime/node.js/20", 2_000, V2026),
        ("", 2_000, V2026),
    ],
)
def test_a_client_that_falls_back_is_offered_what_has_pauses(
    here: World, user_agent: str, hold_ms: int | None, offered: str
) -> None:
    with here.on(Clock(), mcp_wait_hold_ms=hold_ms):
        sent = {**headers("server/discover"), "user-agent": user_agent}
        status, answer = ask(here, modern("server/discover"), sent)
        assert (status, answer["result"]["supportedVersions"]) == (200, [offered])
        # Who asks for the version all the same is served.
        assert ask(here, modern("tools/list"), {**headers("tools/list"), "user-agent": user_agent})[0] == 200


def test_a_call_of_the_stateless_era(here: World) -> None:
    call = modern("tools/call", {"name": "coral_create_thread", "arguments": {"threadName": "t"}})
    status, answer = ask(here, call, headers("tools/call", "coral_create_thread"))
    assert (status, answer["result"]["resultType"]) == (200, "complete")
    assert answer["result"]["structuredContent"]["thread"]["name"] == "t"
    name = "=?base64?Y29yYWw6Ly9zdGF0ZQ==?="
    read = modern("resources/read", {"uri": "coral://state"})
    assert ask(here, read, headers("resources/read", name))[0] == 200


@pytest.mark.parametrize(
    ("message", "sent", "status", "code"),
    [
        (request("tools/list"), headers("tools/list"), 400, -32602),
        (request("tools/list", {"_meta": {}}), headers("tools/list"), 400, -32602),
        (modern("tools/list"), {"mcp-method": "tools/list"}, 400, -32020),
        (modern("tools/list"), headers("tools/list", version="2025-06-18"), 400, -32020),
        (modern("tools/list"), {"mcp-protocol-version": V2026}, 400, -32020),
        (modern("tools/list"), headers("tools/call"), 400, -32020),
        (modern("tools/list"), headers("tools/list, tools/list"), 400, -32020),
        (modern("tools/call", {"name": "a"}), headers("tools/call"), 400, -32020),
        (modern("tools/call", {"name": "a"}), headers("tools/call", "b"), 400, -32020),
        (modern("tools/call", {"name": "a"}), headers("tools/call", "=?base64?!?="), 400, -32020),
        (modern("tools/call", {"name": "a"}), headers("tools/call", "a"), 400, -32602),
        (modern("tools/list", version="2027-01-01"), headers("tools/list", version="2027-01-01"), 400, -32022),
        (modern("nope"), headers("nope"), 404, -32601),
        (modern("initialize"), headers("initialize"), 404, -32601),
        (modern("ping"), headers("ping"), 404, -32601),
        (modern("resources/subscribe"), headers("resources/subscribe"), 404, -32601),
        (modern("subscriptions/listen"), headers("subscriptions/listen"), 404, -32601),
        (modern("resources/read", {"uri": "x:y"}), headers("resources/read", "x:y"), 400, -32602),
        ([modern("tools/list")], headers("tools/list"), 400, -32600),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, headers("x"), 400, -32600),
    ],
)
def test_wrong_messages_of_the_stateless_era(
    here: World, message: Any, sent: dict[str, str], status: int, code: int
) -> None:
    found, answer = ask(here, message, sent)
    assert (found, answer["error"]["code"]) == (status, code)


def test_an_unsupported_version_is_refused_with_the_served_ones(here: World) -> None:
    message = modern("tools/list", version="2027-01-01")
    _, answer = ask(here, message, headers("tools/list", version="2027-01-01"))
    assert answer["error"]["data"] == {"supported": [V2026], "requested": "2027-01-01"}


def test_notifications_of_the_stateless_era_are_accepted(here: World) -> None:
    message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    assert ask(here, message, headers("notifications/cancelled")) == (202, None)


def test_the_version_that_has_batches_gets_them_answered(here: World) -> None:
    batch = [request("ping", id=1), {"jsonrpc": "2.0", "method": "notifications/initialized"}, request("nope", id="b")]
    for sent in ({}, {"mcp-protocol-version": "2025-03-26"}):
        status, answers = ask(here, batch, sent)
        assert status == 200
        assert [(answer["id"], "error" in answer) for answer in answers] == [(1, False), ("b", True)]
    assert ask(here, batch[1:2]) == (202, None)


@pytest.mark.parametrize(
    ("batch", "version"),
    [
        ([], "2025-03-26"),
        ([request("ping")] * 51, "2025-03-26"),
        ([request("initialize", {"protocolVersion": "2025-03-26"})], "2025-03-26"),
        ([request("ping")], "2025-06-18"),
    ],
)
def test_invalid_batches(here: World, batch: list[Any], version: str) -> None:
    status, answer = ask(here, batch, {"mcp-protocol-version": version})
    assert (status, answer["error"]["code"]) == (400, -32600)


def test_a_client_that_takes_only_events_gets_one(here: World) -> None:
    answer = here.post("ann", request("ping"), {"accept": "text/event-stream, application/json;q=0"})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
    assert answer.body == b'event: message\ndata: {"jsonrpc":"2.0","id":1,"result":{}}\n\n'
    both = here.post("ann", request("ping"), {"accept": "application/json, text/event-stream"})
    assert both.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"accept": "text/html"}, 406),
        ({"accept": "*/*"}, 200),
        ({"accept": ""}, 200),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_headers_of_http(here: World, sent: dict[str, str], status: int) -> None:
    assert here.post("ann", request("ping"), sent).status == status


def test_a_body_beyond_the_limit_is_refused_with_it(here: World) -> None:
    answer = here.post("ann", b" " * (MAX_BODY_BYTES + 1))
    assert (answer.status, str(MAX_BODY_BYTES) in answer.body.decode()) == (413, True)


def test_there_is_no_stream_and_no_session_to_end(here: World) -> None:
    get = handle(here.services, Request("GET", here.secret("ann")))
    assert (get.status, get.headers["Allow"]) == (405, "POST, DELETE")
    assert "Streamable HTTP" in json.loads(get.body)["message"]
    assert handle(here.services, Request("DELETE", here.secret("ann"))).status == 200


@pytest.mark.parametrize("secret", ["", "x", "a.b", "WyJucyIsInMiLCJhIl0.00"])
def test_a_wrong_secret_is_401(here: World, secret: str) -> None:
    for method in ("POST", "GET", "DELETE"):
        answer = handle(here.services, Request(method, secret, body=json.dumps(request("ping")).encode()))
        assert answer.status == 401
        assert "message" in json.loads(answer.body)


@pytest.mark.parametrize(
    "names",
    [
        ["ns", "s", "a" * 1_100],
        ["n" * 1_400, "s", "a"],
        ["ns", "\ud800", "a"],
        ["ns", "s", "a\0b"],
        ["ns", "s", ["a"]],
        ["ns", "s", 10**400],
    ],
    ids=lambda names: str(names)[:20],
)
def test_a_forged_secret_is_401_and_nothing_is_read_for_it(here: World, names: list[Any]) -> None:
    forged = f"{base64url.encoded(json.dumps(names).encode())}.{'0' * 64}"
    with here.counting() as calls:
        assert handle(here.services, Request("POST", forged, body=json.dumps(request("ping")).encode())).status == 401
    assert calls == []


def test_a_secret_of_another_session_opens_nothing_here(here: World) -> None:
    other = "22222222-2222-4333-8444-555555555555"
    here.session("ann", session_id=other)
    thread = here.thread("ann", "bob")
    message = request("tools/call", {"name": "coral_send_message", "arguments": {"threadId": thread, "content": "x"}})
    answer = json.loads(here.post("ann", message, secret=here.secret("ann", other)).body)
    assert thread in answer["result"]["structuredContent"]["error"]


def test_internal_errors_are_not_disclosed(here: World, caplog: pytest.LogCaptureFixture) -> None:
    def fail(name: str, params: dict[str, Any]) -> None:
        if name == "UpdateItem":
            raise RuntimeError("inner detail")

    here.rpc("ann", "ping")
    thread = here.thread("ann", "bob")
    here.before_call = fail
    message = request("tools/call", {"name": "coral_send_message", "arguments": {"threadId": thread, "content": "pst"}})
    status, answer = ask(here, message)
    assert (status, answer["error"]) == (200, {"code": -32603, "message": "internal error"})
    assert here.secret("ann") not in caplog.text
    assert "pst" not in caplog.text


def call_of(arguments: str) -> bytes:
    return (
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", '
        b'"params": {"name": "coral_send_message", "arguments": ' + arguments.encode() + b"}}"
    )


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ('{"a": ' * 99 + "1" + "}" * 99, "deeper than 100 levels"),
        ('{"a": ' * 900 + "1" + "}" * 900, "deeper than 100 levels"),
        ("[" * 1_900_000, "deeper than 100 levels"),
        ('{"content": "a", "content": "b"}', "comes twice"),
        ('{"content": NaN}', "NaN is not a JSON number"),
        ('{"content": 1e999}', "1e999 is out of range"),
        ('{"content": ' + "9" * 5_000 + "}", "digits"),
    ],
    ids=["101 levels", "902 levels", "unclosed", "twice", "NaN", "1e999", "5,000 digits"],
)
def test_json_that_is_not_taken_is_refused_with_the_reason(here: World, arguments: str, why: str) -> None:
    answer = here.post("ann", call_of(arguments))
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (400, -32700)
    assert why in error["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        '{"a": ' * 98 + "1" + "}" * 98,
        "[" * 98 + "]" * 98,
        '{"content": ' + "9" * 4_000 + "}",
        '{"threadId": "\\ud800", "content": "\\udfff", "mentions": ["\\ud800"]}',
        '{"threadId": "' + "t" * 2_000 + '", "content": ""}',
        '{"mentions": "' + "[" * 5_000 + '"}',
        '{"mentions": [' + "[]," * 500_000 + "0]}",
        '{"\\u0000": 1, "__proto__": {}}',
    ],
    ids=["objects", "arrays", "4,000 digits", "surrogates", "long id", "JSON in a text", "wide", "odd keys"],
)
def test_any_json_that_is_taken_is_answered(here: World, arguments: str) -> None:
    answer = here.post("ann", call_of(arguments))
    body = json.loads(answer.body)
    assert answer.status == 200
    assert "result" in body or body["error"]["code"] == -32602, body
