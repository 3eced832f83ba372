"""Invalid requests are refused with the reason, never with a 5xx, and leave no part of a session."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from infra.local.stack import LocalStack
from tests.client import Answer, Client, agent, session, sleeper
from tests.integration.api.calls import calls_to_aws

pytestmark = pytest.mark.xdist_group("api")

SESSION = "/api/v1/local/session"
NAMESPACE = "/api/v1/local/namespace"

Request = dict[str, Any]
Refused = Callable[[Request | bytes], Answer]


@pytest.fixture
def refused(client: Client) -> Refused:
    """Asks for a session (as a request, or the bytes of one), and asserts that nothing was written for it."""

    client.call("GET", "/api/v1/registry")  # the use of the key is noted once in an hour

    def ask(request: Request | bytes) -> Answer:
        with calls_to_aws() as made:
            answer = client.call("POST", SESSION, request)
        # A Scan lists the agents that there are, for who names another.
        assert set(made) <= {"GetItem", "BatchGetItem", "Scan"}, (answer, made)
        return answer

    return ask


def changed(request: Request, path: str, value: Any) -> Request:
    """Return a request with one value changed: the path's parts are keys and places."""
    whole: Request = json.loads(json.dumps(request))
    part: Any = whole
    *way, last = [int(each) if each.isdigit() else each for each in path.split(".")]
    for each in way:
        part = part[each]
    part[last] = value
    return whole


AGENT = "agentGraphRequest.agents.0"
RUNTIME = "execution.runtimeSettings"
DAY_MS = 24 * 3_600_000
YEAR_MS = 365 * DAY_MS

TOOL = {"transport": {"type": "http", "url": "http://127.0.0.1:1/"}, "inputSchema": {"type": "object"}}

REFUSED = [
    ("namespaceProvider.namespaceRequest.name", "", "1 to 128"),
    ("namespaceProvider.namespaceRequest.name", "ü" * 65, "1 to 128"),
    ("namespaceProvider.namespaceRequest.name", "a\x00b", "control"),
    ("namespaceProvider.namespaceRequest.name", "a\nb", "control"),
    ("namespaceProvider.namespaceRequest.name", 7, "string"),
    ("namespaceProvider.namespaceRequest.annotations", {str(each): "x" for each in range(51)}, "50"),
    ("namespaceProvider.type", "other", "create_if_not_exists"),
    ("namespaceProvider", {"type": "use_existing", "name": ""}, "1 to 128"),
    ("annotations", {"a" * 129: "x"}, "128"),
    ("annotations", {"a": "x" * 1_025}, "1024"),
    ("annotations", {"a": 7}, "string"),
    ("annotations", {str(each): "x" for each in range(51)}, "50"),
    (f"{RUNTIME}.ttl", -1, "greater"),
    (f"{RUNTIME}.ttl", YEAR_MS + 1, "less"),
    (f"{RUNTIME}.ttl", 10**30, "less"),
    (f"{RUNTIME}.ttl", 1.5, "integer"),
    (f"{RUNTIME}.ttl", "60", "integer"),
    (f"{RUNTIME}.ttl", True, "integer"),
    (f"{RUNTIME}.persistenceMode", {"mode": "hold_after_exit", "duration": -1}, "greater"),
    (f"{RUNTIME}.persistenceMode", {"mode": "hold_after_exit", "duration": YEAR_MS + 1}, "less"),
    (f"{RUNTIME}", {"ttl": YEAR_MS}, "together"),
    (f"{RUNTIME}", {"persistenceMode": {"mode": "hold_after_exit", "duration": YEAR_MS - 7 * DAY_MS}}, "together"),
    (f"{RUNTIME}", {"persistenceMode": {"mode": "minimum_time", "time": YEAR_MS}}, "together"),
    (f"{RUNTIME}.persistenceMode", {"mode": "minimum_time", "time": YEAR_MS + 1}, "less"),
    (f"{RUNTIME}.persistenceMode", {"mode": "minimum_time"}, "required"),
    (f"{RUNTIME}.persistenceMode", {"mode": "for_ever"}, "mode"),
    (f"{RUNTIME}.webhooks", {"sessionEnd": {"url": "ftp://x"}}, "http:// or https://"),
    (f"{RUNTIME}.webhooks", {"sessionEnd": {"url": "http://" + "x" * 2_048}}, "2048"),
    (f"{RUNTIME}.webhooks", {"sessionEnd": {"url": "http://[::1"}}, "not a URL"),
    (f"{RUNTIME}.webhooks", {"sessionEnd": {"url": "http://127.0.0.1:99999/"}}, "not a URL"),
    (f"{RUNTIME}.webhooks", {"sessionEnd": {"url": f"http://{'a' * 300}.x/"}}, "not a URL"),
    (f"{RUNTIME}.webhooks", {"sessionEnd": {"url": "http://:80"}}, "with a host"),
    (f"{RUNTIME}.webhooks", {"sessionEnd": {"url": "http://user:secret@example.com/"}}, "credentials"),
    (f"{RUNTIME}.webhooks", {"sessionEnd": {"url": "http://example.com/\0"}}, "control"),
    ("agentGraphRequest.customTools", {"": TOOL}, "empty"),
    ("agentGraphRequest.customTools", {"coral_send_message": TOOL}, "Coral's"),
    ("agentGraphRequest.customTools", {"t": {**TOOL, "transport": {"type": "http", "url": "nope"}}}, "with a host"),
    ("execution", {"mode": "later"}, "mode"),
    ("agentGraphRequest.groups", [["a", "nobody"]], "'nobody'"),
    ("agentGraphRequest.groups", [["a"] * 129], "128"),
    ("agentGraphRequest.groups", [["a"]] * 1_001, "1000"),
    ("agentGraphRequest.agents", [sleeper(f"a{each}") for each in range(129)], "128"),
    ("agentGraphRequest.agents", [sleeper(), sleeper()], "more than once"),
    (f"{AGENT}.name", "", "1 to 128"),
    (f"{AGENT}.name", "a\x00", "control"),
    (f"{AGENT}.name", "x" * 129, "1 to 128"),
    (f"{AGENT}.description", "x" * 1_025, "1024"),
    (f"{AGENT}.systemPrompt", "x" * 8_193, "8192"),
    (f"{AGENT}.systemPrompt", "a\0b", "NUL"),
    (f"{AGENT}.customToolAccess", ["nothing"], "'nothing'"),
    (f"{AGENT}.plugins", [{"type": "other"}], "close_session_tool"),
    (f"{AGENT}.id.name", "", "1"),
    (f"{AGENT}.id.name", "nobody", "nobody"),
    (f"{AGENT}.id.name", "\x00", "\\x00"),
    (f"{AGENT}.id.version", "9.9.9", "9.9.9"),
    (f"{AGENT}.id.registrySourceId", {"type": "marketplace"}, "marketplace"),
    (f"{AGENT}.id.registrySourceId", {"type": "linked", "linkedServerId": "s"}, "linked"),
    (f"{AGENT}.provider.runtime", "docker", "docker"),
    (f"{AGENT}.provider.runtime", "function", "function"),
    (f"{AGENT}.provider.runtime", "phala", "executable"),
    (f"{AGENT}.options", {"UNKNOWN": {"type": "string", "value": "x"}}, "UNKNOWN"),
    (f"{AGENT}.options", {"SECONDS_TO_LIVE": {"type": "string", "value": "x"}}, "SECONDS_TO_LIVE"),
]


@pytest.mark.parametrize(("path", "value", "reason"), REFUSED, ids=lambda part: str(part)[:40])
def test_a_request_that_cannot_be_honoured_says_why(
    client: Client,
    namespace: str,
    refused: Refused,
    path: str,
    value: Any,
    reason: str,
) -> None:
    answer = refused(changed(session(sleeper(), namespace=namespace), path, value))
    assert answer.status == 400, answer
    assert reason in answer.body["message"]


def test_names_of_python_are_unknown_keys_and_ignored(client: Client, namespace: str) -> None:
    request = {"name": namespace, "delete_on_last_session_exit": "ignored", "annotations": {"mine": namespace}}
    answer = client.call("POST", NAMESPACE, request)
    assert answer.status == 200
    assert answer.headers["Atoll-Warning"] == (
        "not known, and without effect: delete_on_last_session_exit (is deleteOnLastSessionExit meant?)"
    )
    [found] = client.call("GET", f"{NAMESPACE}?annotations=mine:{namespace}").body
    assert found["deleteOnLastSessionExit"] is True


def test_every_body_of_a_model_is_looked_at_for_unknown_keys(client: Client, namespace: str) -> None:
    """One of each kind that is taken, with a key too many; and none without one."""
    path = client.create(session(sleeper("a"), sleeper("b"), namespace=namespace, defer=True))
    puppet = f"{path.replace('/local/session/', '/puppet/')}/a/thread"
    opened = {"threadName": "t", "participantNames": []}
    thread = client.call("POST", puppet, opened).body["thread"]["id"]
    bodies: dict[tuple[str, str], dict[str, Any]] = {
        ("POST", path): {"ttl": 60_000},
        ("POST", NAMESPACE): {"name": f"{namespace}-2"},
        ("POST", puppet): opened,
        ("POST", f"{puppet}/message"): {"threadId": thread, "content": "x", "mentions": []},
        ("POST", f"{puppet}/participant"): {"threadId": thread, "participantName": "b"},
        ("DELETE", f"{puppet}/participant"): {"threadId": thread, "participantName": "b"},
        ("DELETE", puppet): {"threadId": thread, "summary": "s"},
    }
    warned = {}
    for (method, where), body in bodies.items():
        answer = client.call(method, where, body | {"unheard": [1]})
        assert answer.status == 200, (method, where, answer)
        warned[method, where] = answer.headers.get("Atoll-Warning")
    assert warned == dict.fromkeys(bodies, "not known, and without effect: unheard")
    again = client.call("POST", puppet, opened)
    assert again.status == 409 or "Atoll-Warning" not in again.headers
    client.call("DELETE", f"{NAMESPACE}/{namespace}-2")


def test_the_document_says_which_answers_warn(client: Client) -> None:
    """All whose body is of a model, and those that look themselves (a body that is not JSON)."""
    paths = client.call("GET", "/api_v1.json").body["paths"]
    warns, takes = set(), set()
    for path, operations in paths.items():
        for method, operation in operations.items():
            name = f"{method.upper()} {path}"
            success = next(answer for status, answer in operation["responses"].items() if status[0] in "234")
            warns |= {name} if "Atoll-Warning" in success.get("headers", {}) else set()
            takes |= {name} if "application/json" in operation.get("requestBody", {}).get("content", {}) else set()
    assert takes <= warns
    assert warns - takes == {"PUT /api/v1/registry/local/{agentName}/{agentVersion}"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{NAMESPACE}//extended"),
        ("GET", f"{NAMESPACE}//deliveries"),
        ("POST", f"{NAMESPACE}/x/deliveries//resend"),
        ("GET", f"{SESSION}//x"),
        ("GET", f"{SESSION}/x//extended"),
        ("DELETE", "/api/v1/registry/local//1.0.0"),
    ],
)
def test_nothing_has_an_empty_name(client: Client, method: str, path: str) -> None:
    assert client.call(method, path).status == 404


def test_an_unexpected_body_has_a_limit_too(client: Client, namespace: str) -> None:
    path = client.create(session(sleeper(), namespace=namespace, defer=True))
    answer = client.call("DELETE", path, b"x" * 1_100_000)
    assert (answer.status, "1000000" in answer.body["message"]) == (413, True)
    assert client.status(path) == "pending_execution"


def test_a_namespace_of_the_name_of_a_listing_can_be_deleted(client: Client) -> None:
    assert client.call("POST", NAMESPACE, {"name": "extended"}).status == 200
    assert client.call("DELETE", f"{NAMESPACE}/extended").status == 200
    assert client.call("DELETE", f"{NAMESPACE}/extended").status == 404


def test_a_deployment_says_how_long_sessions_may_live(
    stack: LocalStack, client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pending one too, when it is executed; one that says nothing ends after the deployment's default."""
    services = stack.services
    monkeypatch.setattr(services, "settings", services.settings.model_copy(update={"max_session_days": 5}))
    day_ms = 24 * 3_600_000
    pending = client.create(session(sleeper(), namespace=namespace, defer=True))
    refused = client.call("POST", pending, {"ttl": 5 * day_ms + 1})
    assert refused.status == 400
    assert "ttl" in refused.body["message"]
    assert "the 5 days" in refused.body["message"]
    long = session(sleeper(), namespace=namespace, ttl=5 * day_ms + 1)
    assert client.call("POST", "/api/v1/local/session", long).status == 400
    assert client.call("POST", pending, {}).status == 200
    found = services.sessions.find(namespace, pending.rsplit("/", 1)[1])
    assert found
    assert found.executed_at_ms
    assert found.expires_at * 1000 - found.executed_at_ms < (5 + 2) * day_ms + 1_000, "5 of 7 days, and the retention"
    client.call("DELETE", f"/api/v1/local/namespace/{namespace}")


def test_no_time_to_live_is_over_at_once(client: Client, namespace: str) -> None:
    path = client.create(session(sleeper(), namespace=namespace, ttl=0))
    client.wait_for_status(path, None)


COST = {"type": "coral", "amount": 1.5}
SERVER = {
    "address": "example.com",
    "port": 443,
    "secure": True,
    "attributes": [{"format": "string", "type": "geographic_location", "value": "EU"}],
}
PROVIDERS = [
    {"type": "linked", "linkedServerName": "other", "runtime": "docker"},
    {
        "type": "remote",
        "runtime": "docker",
        "server": SERVER,
        "wallet": "w",
        "maxCost": COST,
        "paymentSessionId": "p",
    },
    {
        "type": "remote_request",
        "runtime": "docker",
        "maxCost": COST,
        "serverSource": {"type": "servers", "servers": [SERVER]},
        "serverScoring": {
            "type": "custom",
            "scorers": [{"op": "is_true", "type": "attested_by", "effect": {"type": "flat", "amount": 1.0}}],
        },
    },
]


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider["type"])
def test_providers_elsewhere_are_refused_in_so_many_words(
    client: Client, namespace: str, refused: Refused, provider: Request
) -> None:
    answer = refused(session({**sleeper(), "provider": provider}, namespace=namespace))
    assert answer.status == 400
    assert f"{provider['type']!r}: only 'local' is offered" in answer.body["message"]


def test_a_request_with_every_field_of_coral_is_taken(client: Client, namespace: str) -> None:
    request = session(sleeper(), sleeper("b"), namespace=namespace, ttl=60_000, extendedEndReport=True)
    request["agentGraphRequest"]["agents"][0] |= {
        "description": "Sleeps.",
        "systemPrompt": "Sleep well.",
        "blocking": True,
        "customToolAccess": ["tool"],
        "plugins": [{"type": "close_session_tool"}],
        "x402Budgets": [{"priority": 1, "resource": "r", "remainingBudget": 5}],
        "annotations": {"k": "v"},
        "unknown": {"to": "be", "ignored": [None]},
    }
    request["agentGraphRequest"]["customTools"] = {
        "tool": {
            "transport": {"type": "http", "url": "http://127.0.0.1:1/", "signatureHeader": "X-Mine"},
            "inputSchema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            "outputSchema": {"type": "object", "properties": {"b": {"type": "string"}}},
            "description": "Does it.",
            "title": "It",
            "annotations": {"readOnlyHint": True},
        },
        "older": {"transport": {"type": "http", "url": "http://127.0.0.1:1/"}, "schema": {"type": "object"}},
        "bare": {"transport": {"type": "http", "url": "http://127.0.0.1:1/"}},
    }
    request |= {"annotations": {"é": "ünïcode \U0001f3dd"}, "unknown": 1}
    answer = client.call("POST", "/api/v1/local/session", request)
    assert "x402Budgets: nobody pays" in answer.headers["Atoll-Warning"]
    path = f"/api/v1/local/session/{namespace}/{answer.body['sessionId']}"
    assert client.call("GET", path).body["annotations"] == {"é": "ünïcode \U0001f3dd"}
    assert client.call("GET", f"{path}/extended").body["agents"][0]["description"] == "Sleeps."


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


BODIES = [
    (b"", "JSON"),
    (b"{", "JSON"),
    (b"null", "body"),
    (b"[]", "body"),
    (b'"x"', "body"),
    (b"\xff\xfe", "JSON"),
    (b'{"name": "\xff"}', ""),
    ('{"name": "x"}'.encode("utf-16"), ""),
    (b'{"name": "a", "name": "b"}', "twice"),
    (b'{"name": "a", "annotations": {"k": "1", "k": "2"}}', "twice"),
    (b'{"name": "a", "x": NaN}', "NaN"),
    (b'{"name": "a", "x": 1e999}', "range"),
    (b'{"name": "a", "x": ' + b"9" * 5_000 + b"}", ""),
    (b'{"name": "\\ud800"}', ""),
    (f'{{"name": "a", "x": {deep(100_000)}}}'.encode(), "JSON"),
    (f'{{"name": "a", "x": {deep(500)}}}'.encode(), ""),
    (b'{"name": null}', "name"),
    (b"{}", "name"),
]


@pytest.mark.parametrize(("body", "reason"), BODIES, ids=lambda part: str(part)[:30])
def test_a_body_that_is_not_as_it_should_be_is_refused(client: Client, body: bytes, reason: str) -> None:
    answer = client.call("POST", NAMESPACE, body)
    assert answer.status == 400, answer
    assert reason in answer.body["message"]
    assert client.call("GET", f"{NAMESPACE}/a").status == 404


def test_a_body_of_more_than_a_megabyte_is_too_large(client: Client, namespace: str, refused: Refused) -> None:
    whole = json.dumps(session(sleeper(), namespace=namespace)).encode()
    answer = refused(whole + b" " * (1_000_001 - len(whole)))
    assert answer.status == 413
    assert "1000000" in answer.body["message"]
    assert client.call("POST", SESSION, whole + b" " * (1_000_000 - len(whole))).status == 200


def test_a_byte_order_mark_is_read_over(client: Client, namespace: str) -> None:
    body = b"\xef\xbb\xbf" + json.dumps({"name": namespace}).encode()
    assert client.call("POST", NAMESPACE, body).status == 200
    assert client.call("GET", f"{NAMESPACE}/{namespace}").status == 200


def test_a_definition_that_no_item_holds_is_too_large(client: Client, namespace: str, refused: Refused) -> None:
    request = session({**sleeper(), "customToolAccess": ["tool"]}, namespace=namespace)
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {"description": "x" * 380_000}}}
    tool = {"transport": {"type": "http", "url": "http://127.0.0.1:1/"}, "inputSchema": schema}
    request["agentGraphRequest"]["customTools"] = {"tool": tool}
    answer = refused(request)
    assert answer.status == 413
    assert "380000" in answer.body["message"]
    schema["properties"]["a"]["description"] = "x" * 375_000
    assert client.call("POST", SESSION, request).status == 200


def test_groups_that_no_item_holds_are_too_large(client: Client, namespace: str, refused: Refused) -> None:
    names = [f"{number:03d}" + "n" * 60 for number in range(100)]
    request = session(*map(sleeper, names), namespace=namespace)
    request["agentGraphRequest"]["groups"] = [names[number:] for number in range(50)]
    answer = refused(request)
    assert answer.status == 413
    assert "200000" in answer.body["message"]


def test_the_largest_record_that_is_allowed_fits_its_item(client: Client, namespace: str) -> None:
    notes = {f"{number:03d}" + "k" * 125: "v" * 1_024 for number in range(50)}
    names = [f"{number:03d}" + "n" * 125 for number in range(128)]
    request = session(*({**sleeper(name), "annotations": {}} for name in names), namespace=namespace, defer=True)
    request["agentGraphRequest"]["groups"] = [names, *([name] * 128 for name in names[:11])]
    request["annotations"] = notes
    request["namespaceProvider"]["namespaceRequest"]["annotations"] = notes
    assert client.call("POST", SESSION, request).status == 200


ODD_NAMES = [
    "a/b",
    "a b",
    "a+b",
    "a%2Fb",
    "ü",
    "日本",
    "\U0001f3dd",
    "a?b",
    "a#b",
    "..",
    ".",
    "a;b",
    "a&b=c",
    "'\"<>",
    "a\\b",
    "extended",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_that_need_encoding_are_names_as_any_other(client: Client, name: str) -> None:
    path = f"{NAMESPACE}/{quote(name, safe='').replace('.', '%2E')}"
    assert client.call("POST", NAMESPACE, {"name": name, "deleteOnLastSessionExit": False}).status == 200
    session_id = client.call("POST", SESSION, session(sleeper(name), namespace=name)).body["sessionId"]
    if name != "extended":  # Coral's own path is in the way
        assert [each["id"] for each in client.call("GET", path).body] == [session_id]
    inside = f"{quote(name, safe='').replace('.', '%2E')}/{session_id}"
    state = client.call("GET", f"{SESSION}/{inside}/extended").body
    assert (state["base"]["namespace"], state["agents"][0]["name"]) == (name, name)
    puppet = f"/api/v1/puppet/{inside}/{quote(name, safe='').replace('.', '%2E')}/thread"
    assert client.call("POST", puppet, {"threadName": name, "participantNames": []}).status == 200
    assert client.call("DELETE", path).status in ({200} if name != "extended" else {200, 405})


PARTS = ["%00", "%ff", "%", "%zz", "%ed%a0%80", "a" * 3_000, "%F0%9F%8F%9D" * 500, "..%2f..", "%20"]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part[:20])
@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/local/namespace/{}",
        "/api/v1/local/session/{}/x",
        "/api/v1/local/session/x/{}/extended",
        "/api/v1/local/session/x/x/thread/{}/message",
        "/api/v1/registry/local/{}/1.0.0",
        "/api/v1/registry/local/sleeper/{}",
        "/api/v1/local/namespace/x/deliveries/{}",
        "/api/v1/local/namespace/{}/deliveries/x",
        "/docs/{}",
    ],
)
def test_nothing_is_found_under_an_impossible_name(client: Client, path: str, part: str) -> None:
    answer = client.call("GET", path.format(part))
    assert answer.status == 404, answer
    assert set(answer.body) == {"message"}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part[:20])
def test_no_agents_secret_is_such(client: Client, part: str) -> None:
    assert client.call("POST", f"/mcp/v1/{part}/mcp", {}).status in (401, 404)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "", "x"]
)
def test_json_is_asked_for(client: Client, content_type: str) -> None:
    answer = client.call("POST", NAMESPACE, {"name": "a"}, {"Content-Type": content_type})
    assert answer.status == 415
    assert "application/json" in answer.body["message"]


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json ;x=y"]
)
def test_json_is_json_however_it_is_written(client: Client, namespace: str, content_type: str) -> None:
    answer = client.call("POST", NAMESPACE, {"name": namespace}, {"Content-Type": content_type})
    assert answer.status == 200


@pytest.mark.parametrize("content_type", ["text/plain", "", "x"])
def test_a_request_without_a_body_may_say_any_type(client: Client, content_type: str) -> None:
    assert client.call("GET", NAMESPACE, headers={"Content-Type": content_type}).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer"},
        {"Authorization": "Basic ZGV2OmRldg=="},
        {"Authorization": "dev"},
        {"Authorization": "Bearer \u00e9"},
        {"Cookie": "authSessionToken"},
        {"Cookie": "=;;="},
    ],
)
def test_what_is_no_credential_is_refused(stack: LocalStack, headers: dict[str, str]) -> None:
    answer = Client(stack.url, None).call("GET", NAMESPACE, headers=headers)
    assert answer.status == 401
    assert set(answer.body) == {"message"}


def test_a_runtime_that_an_agent_lacks_is_refused_with_those_it_has(client: Client, namespace: str) -> None:
    request = session(
        {**agent("a", "sleeper"), "provider": {"type": "local", "runtime": "docker"}}, namespace=namespace
    )
    assert "executable" in client.call("POST", SESSION, request).body["message"]


@pytest.mark.parametrize("other", [";other", "%3Bother", ";"])
def test_a_name_goes_on_behind_a_semicolon(client: Client, namespace: str, other: str) -> None:
    request = {"name": namespace, "deleteOnLastSessionExit": False}
    assert client.call("POST", NAMESPACE, request).status == 200
    assert client.call("DELETE", f"{NAMESPACE}/{namespace}{other}").status == 404
    assert client.call("GET", f"{NAMESPACE}/{namespace}").status == 200
