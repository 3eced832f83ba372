"""Every path of Coral's API, in every status that Atoll answers, validated against Coral's document."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chalicelib.domain import agent_secrets
from infra.local.stack import LocalStack
from tests.client import Answer, Client, agent, eventually, session, sleeper
from tests.contract import coral
from tests.contract.coral import Coral, Operation
from tests.mcp_world import Later

pytestmark = pytest.mark.xdist_group("contract")

SESSION = "/api/v1/local/session"
NAMESPACE = "/api/v1/local/namespace"

#: Statuses of the document that Atoll never answers, and why.
NEVER = {
    ("GET", "/api/v1/registry/marketplace/{agentName}/{agentVersion}", "200"): "there is no marketplace",
    ("GET", "/api/v1/registry/linked/{linkedServerName}/{agentName}/{agentVersion}", "200"): "no server is linked",
    ("POST", "/api/v1/agent-rpc/rental-claim", "404"): "no session is remote",
    ("POST", "/api/v1/agent-rental/reserve", "200"): "nothing is for rent: 404",
    ("POST", "/api/v1/agent-rental/reserve", "400"): "nothing is for rent: 404",
    ("GET", "/api/v1/agent-rental/wallet", "200"): "there is no wallet: 403",
}


class Recorder:
    """Makes requests, checks each answer against the document, and remembers what was seen."""

    def __init__(self, document: Coral) -> None:
        self._document = document
        self.seen: set[tuple[str, str, str]] = set()

    def __call__(self, client: Client, status: int, method: str, path: str, body: Any = None) -> Answer:
        answer = client.call(method, path, body)
        assert answer.status == status, (method, path, answer)
        operation: Operation = self._document.check(method, path, answer)
        self.seen.add((*operation, str(status)))
        return answer


@pytest.fixture(scope="module")
def record(request: pytest.FixtureRequest, document: Coral) -> Iterator[Recorder]:
    """A recorder for all tests of this module, after which each status of the document was seen or is `NEVER`."""
    recorder = Recorder(document)
    yield recorder
    run = {
        item.originalname
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module
    }
    if run == {name for name in vars(request.module) if name.startswith("test_")}:
        offered = {
            (*operation, status)
            for operation, described in document.operations.items()
            for status in described["answers"]
        }
        assert offered - recorder.seen == set(NEVER), "statuses that no test has seen, or was not to see"


Call = Callable[..., Answer]


@pytest.mark.skipif(not coral.DOCUMENT.exists(), reason=f"Coral's OpenAPI document is not at {coral.DOCUMENT}")
def test_what_is_stated_is_what_the_document_says() -> None:
    stated = coral.stated(json.loads(coral.DOCUMENT.read_text()))
    assert json.loads(coral.FACTS.read_text()) == stated, "run: python -m tests.contract.coral"


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ("SessionIdentifier", {"namespace": "n", "sessionId": "s", "more": 1}),
        ("SessionIdentifier", {"namespace": "n", "sessionId": 1}),
        ("SessionStateBase", {"status": {"type": "executed", "executionTime": 5}}),
        ("SessionStateBase", {"status": {"type": "unheard-of"}}),
        ("SessionStateBase", {"annotations": {"a": 1}}),
        ("SessionStateExtended", {"agents": [{"status": {"type": "stopped", "reason": "exited"}}]}),
        ("SessionStateExtended", {"agents": [{"status": {"type": "running", "startTime": 5}}]}),
        ("RouteException", {"message": "m", "detail": "d"}),
        ("RestrictedRegistryAgent", {"registryAgent": {"runtimes": {"executable": {"command": ["sh"]}}}}),
        ("RestrictedRegistryAgent", {"registryAgent": {"options": {"A": {"validation": {"max_size": {"size": 1}}}}}}),
        ("SessionNamespaceStateBase[]", [{"deleteOnLastSessionExit": "yes"}]),
        ("SessionEndReport", {"sessionState": {"type": "extended", "state": {"threads": [{"participantCount": 1}]}}}),
        ("SessionEvent", {"type": "runtime_stopped", "name": "a", "reason": "exited"}),
        ("LocalSessionManagerEvent", {"type": "session_gone"}),
        ("LoggingEvent", {"type": "info", "tags": [{"type": "stdout", "io": "in"}]}),
    ],
)
def test_an_answer_that_differs_is_noticed_without_the_document(document: Coral, shape: str, value: Any) -> None:
    assert len(list(document.faults(shape, value))) == 1


def test_sessions(record: Call, client: Client, narrow: Client, namespace: str) -> None:
    hold = {"mode": "hold_after_exit", "duration": 60_000}
    request = session(sleeper(), sleeper("b"), namespace=namespace, persistenceMode=hold)
    request["annotations"] = {"team": "red"}
    path = f"{SESSION}/{namespace}/{record(client, 200, 'POST', SESSION, request).body['sessionId']}"
    record(client, 400, "POST", SESSION, {})
    record(narrow, 403, "POST", SESSION, request)
    record(client, 400, "POST", SESSION, session(agent("a", "nobody"), namespace=namespace))
    record(client, 200, "GET", path)
    eventually(lambda: _statuses(client, path) == ["running", "running"])
    record(client, 200, "GET", f"{path}/extended")
    record(client, 200, "GET", f"{NAMESPACE}/{namespace}")
    record(client, 200, "GET", f"{NAMESPACE}/{namespace}/extended")
    record(client, 200, "GET", f"{NAMESPACE}/extended")
    record(client, 400, "POST", path, {})
    record(client, 200, "DELETE", path)
    record(client, 200, "GET", path)
    eventually(lambda: _statuses(client, path) == ["stopped", "stopped"])
    record(client, 200, "GET", f"{path}/extended")
    for method, suffix, body in (("GET", "", None), ("POST", "", {}), ("DELETE", "", None), ("GET", "/extended", None)):
        record(client, 404, method, f"{SESSION}/{namespace}/unknown{suffix}", body)
        record(client, 404, method, f"{SESSION}/unknown/unknown{suffix}", body)


def test_deferred_sessions(record: Call, client: Client, namespace: str) -> None:
    request = session(sleeper(), namespace=namespace, defer=True)
    path = f"{SESSION}/{namespace}/{record(client, 200, 'POST', SESSION, request).body['sessionId']}"
    record(client, 200, "GET", path)
    record(client, 200, "GET", f"{path}/extended")
    record(client, 200, "POST", path, {"ttl": 60_000})
    record(client, 400, "POST", path, {"ttl": 60_000})


def test_namespaces(record: Call, client: Client, narrow: Client, namespace: str) -> None:
    request = {"name": namespace, "deleteOnLastSessionExit": False, "annotations": {"a": "b"}}
    record(client, 200, "POST", NAMESPACE, request)
    record(client, 400, "POST", NAMESPACE, request)
    record(narrow, 403, "POST", NAMESPACE, request)
    record(client, 200, "GET", NAMESPACE)
    record(client, 200, "GET", f"{NAMESPACE}/extended")
    record(client, 200, "GET", f"{NAMESPACE}/{namespace}")
    record(client, 200, "DELETE", f"{NAMESPACE}/{namespace}")
    for method, suffix in (("GET", ""), ("GET", "/extended"), ("DELETE", "")):
        record(client, 404, method, f"{NAMESPACE}/{namespace}{suffix}")


#: An agent with all that one can say of itself.
WHOLE = """
edition = 4
[agent]
name = "whole"
version = "1.0.0"
description = "d"
summary = "s"
readme = "r"
license = { type = "spdx", expression = "MIT" }
keywords = ["k"]
links = { source = "https://example.com" }
capabilities = ["resources"]
[runtimes.docker]
image = "whole"
command = ["run"]
[runtimes.executable]
path = "sh"
arguments = ["-c", "true"]
[options.TEXT]
type = "string"
default = "x"
display = { label = "l", description = "d", group = "g" }
[options.FILES]
type = "list[blob]"
default = ["AA=="]
validation = { min_size = "1 B", max_size = { size = 1.5, unit = "KiB" } }
[[llm.proxies]]
name = "MAIN"
format.type = "OpenAI"
models = ["m"]
[marketplace]
keywords = ["k"]
pricing = { description = "d", recommendations = { min = 0, max = 1 } }
[marketplace.identities.erc8004]
wallet = "11111111111111111111111111111111"
endpoints = [{ name = "a2a", endpoint = "https://agent.example" }]
"""


def test_the_registry(record: Call, client: Client) -> None:
    record(client, 200, "GET", "/api/v1/registry")
    toml = {"Content-Type": "application/toml"}
    assert client.call("PUT", "/api/v1/registry/local/whole/1.0.0", WHOLE.encode(), toml).status == 200
    shown = record(client, 200, "GET", "/api/v1/registry/local/whole/1.0.0").body["registryAgent"]
    assert {"llm", "marketplace"} <= set(shown)
    record(client, 200, "GET", "/api/v1/registry/local/sleeper/1.0.0")
    record(client, 404, "GET", "/api/v1/registry/local/sleeper/9.9.9")
    record(client, 404, "GET", "/api/v1/registry/marketplace/sleeper/1.0.0")
    record(client, 404, "GET", "/api/v1/registry/linked/server/sleeper/1.0.0")


def test_puppets(record: Call, client: Client, namespace: str) -> None:
    request = session(sleeper(), sleeper("b"), sleeper("c"), namespace=namespace)
    session_id = client.call("POST", SESSION, request).body["sessionId"]
    path = f"{SESSION}/{namespace}/{session_id}"
    puppet = f"/api/v1/puppet/{namespace}/{session_id}/a"
    stranger = f"/api/v1/puppet/{namespace}/{session_id}/nobody"
    opening = {"threadName": "talk", "participantNames": ["b"]}
    thread = record(client, 200, "POST", f"{puppet}/thread", opening).body["thread"]["id"]
    record(client, 404, "POST", f"{stranger}/thread", opening)
    message = {"threadId": thread, "content": "hello", "mentions": ["b"]}
    record(client, 200, "POST", f"{puppet}/thread/message", message)
    record(client, 404, "POST", f"{puppet}/thread/message", {**message, "mentions": ["c"]})
    record(client, 400, "POST", f"{puppet}/thread/message", {**message, "mentions": ["a"]})
    participant = {"threadId": thread, "participantName": "c"}
    for method, unknown in (("POST", "unknown"), ("DELETE", "unknown")):
        record(client, 200, method, f"{puppet}/thread/participant", participant)
        record(client, 400, method, f"{puppet}/thread/participant", participant)
        record(client, 404, method, f"{puppet}/thread/participant", {**participant, "threadId": unknown})
    record(client, 200, "GET", f"{path}/extended")
    closing = {"threadId": thread, "summary": "all said"}
    record(client, 200, "DELETE", f"{puppet}/thread", closing)
    record(client, 400, "DELETE", f"{puppet}/thread", closing)
    record(client, 404, "DELETE", f"{puppet}/thread", {**closing, "threadId": "unknown"})
    record(client, 200, "GET", f"{path}/extended")
    eventually(lambda: _statuses(client, path) == ["running"] * 3)
    record(client, 200, "DELETE", puppet)
    record(client, 200, "DELETE", puppet)
    record(client, 404, "DELETE", stranger)
    pending = client.create(session(sleeper(), namespace=namespace, defer=True))
    record(client, 400, "DELETE", f"{pending.replace('/local/session/', '/puppet/')}/a")
    record(client, 400, "POST", f"{puppet}/thread/message", message)


def test_agents_that_are_connected(record: Call, stack: LocalStack, client: Client, namespace: str) -> None:
    path = client.create(session(sleeper(), sleeper("b"), namespace=namespace))
    eventually(lambda: _statuses(client, path) == ["running"] * 2)

    def ask(method: str, **params: Any) -> Answer:
        endpoint = f"/mcp/v1/{_secret(stack, path)}/mcp"
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return client.call("POST", endpoint, message, {"Accept": "application/json"})

    def communication() -> Any:
        [connection, _] = [agent["status"]["connectionStatus"] for agent in extended().body["agents"]]
        return connection.get("communicationStatus", {}).get("type")

    def extended() -> Answer:
        return record(client, 200, "GET", f"{path}/extended")

    assert ask("ping").status == 200
    assert communication() == "thinking"
    waiting = {"name": "coral_wait_for_message", "arguments": {"currentUnixTime": 0, "maxWaitMs": 1_000}}
    wait = Later(lambda: ask("tools/call", **waiting))
    eventually(lambda: communication() == "waiting_message")
    assert wait.result().status == 200


def test_payments(record: Call, stack: LocalStack, client: Client, keyless: Client, namespace: str) -> None:
    for path in ("rental-claim", "x402"):
        record(keyless, 401, "POST", f"/api/v1/agent-rpc/{path}", {})
        record(client, 401, "POST", f"/api/v1/agent-rpc/{path}", {})
    record(keyless, 404, "POST", "/api/v1/agent-rental/reserve", {})
    record(keyless, 403, "GET", "/api/v1/agent-rental/wallet")
    assert record(keyless, 200, "GET", "/api/v1/agent-rental/catalog").body == []


def test_an_agent_claims_of_its_budget_and_has_calls_made(
    record: Call, stack: LocalStack, client: Client, namespace: str
) -> None:
    path = client.create(session({**sleeper(), "budget": {"usd": 1}}, namespace=namespace))
    eventually(lambda: _statuses(client, path) == ["running"])
    asking = Client(stack.url, _secret(stack, path))
    claim = "/api/v1/agent-rpc/rental-claim"
    left = record(asking, 200, "POST", claim, {"amount": {"type": "usd", "amount": 0.25}}).body
    assert left == {"remainingBudget": 750_000, "coralUsdPrice": 1.0}
    record(asking, 400, "POST", claim, {"amount": {"type": "usd", "amount": 0.76}})
    proxied = {"endpoint": f"{stack.url}/api_v1.json", "method": "GET", "body": {}}
    answer = record(asking, 200, "POST", "/api/v1/agent-rpc/x402", proxied).body
    assert (answer["code"], json.loads(answer["body"])["openapi"]) == (200, "3.1.0")


def test_every_path_needs_a_key(record: Call, document: Coral, keyless: Client) -> None:
    for method, path in document.operations:
        if not path.startswith("/api/v1/agent-rental/"):
            record(keyless, 401, method, path.replace("{", "").replace("}", ""), {} if method == "POST" else None)


def _secret(stack: LocalStack, path: str) -> str:
    """Return the secret of a session's agent ``a``."""
    namespace, session_id = path.rsplit("/", 2)[1:]
    return agent_secrets.mint(stack.services.secrets.get("agent-key"), namespace, session_id, "a")


def _statuses(client: Client, path: str) -> list[str]:
    return [one["status"]["type"] for one in client.call("GET", f"{path}/extended").body["agents"]]
