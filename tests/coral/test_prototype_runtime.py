"""Coral's PrototypeRuntimeTest: agents that are prompts talk, and call tools of their graph and of other servers."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.client import Client, agent, eventually, session
from tests.integration.agents.prototypes import Call, Question, ToolServer, serving_tools, thinks
from tests.integration.webhooks.receivers import receiving
from tests.offline_models import Answers, OfflineModels

pytestmark = pytest.mark.xdist_group("coral")

FILE = """
edition = 4
[agent]
name = "{name}"
version = "1.0.0"
[[llm.proxies]]
name = "MAIN"
format.type = "{format}"
models = ["{model}"]
[runtimes.prototype]
proxy = "MAIN"
volatile = true
iterations = 10
"""


@pytest.fixture(scope="module")
def tools() -> Iterator[ToolServer]:
    with serving_tools() as serving:
        yield serving


def registers(client: Client, name: str, *lines: str, model: str = "large") -> None:
    kind = "Anthropic" if model == "claude" else "OpenAI"
    text = "\n".join([FILE.format(name=name, format=kind, model=model), *lines])
    answer = client.call(
        "PUT", f"/api/v1/registry/local/{name}/1.0.0", text.encode(), {"Content-Type": "application/toml"}
    )
    assert answer.status == 200, answer.body


def prototype(name: str, kind: str, **options: Any) -> dict[str, Any]:
    return {**agent(name, kind, **options), "provider": {"type": "local", "runtime": "prototype"}}


def last_wait(question: Question) -> list[Call]:
    """Wait for a mention, as the state says it."""
    return [("coral_wait_for_mention", {"currentUnixTime": 0, "maxWaitMs": 60_000})]


def _thinks_for_both(question: Question) -> Sequence[Call]:
    """``rob`` asks ``steve`` for what only that knows, and posts it; both do what they are told to do next."""
    results = question.results
    if 'Your name is "rob"' in question.system:
        if not results:
            return [("coral_create_thread", {"threadName": "payload", "participantNames": ["steve"]})]
        if len(results) == 1:
            thread = json.loads(results[0])["thread"]["id"]
            asked = {"threadId": thread, "content": "What is the payload?", "mentions": ["steve"]}
            return [("coral_send_message", asked), *last_wait(question)]
        heard = json.loads(results[2].splitlines()[0])
        return [("post_payload", {"payload": heard["message"]["text"]})] if len(results) == 3 else last_wait(question)
    if not results:
        return last_wait(question)
    heard = json.loads(results[-1].splitlines()[0]).get("message")
    payload = question.system.rpartition("payload = ")[2]
    if heard is None or len(results) > 1:
        return last_wait(question)
    return [
        ("coral_send_message", {"threadId": heard["threadId"], "content": payload, "mentions": ["rob"]}),
        *last_wait(question),
    ]


@pytest.mark.parametrize("model", ["large", "claude"])
@pytest.mark.coral("PrototypeRuntimeTest.testMultiAgentPayload")
def test_one_asks_another_for_what_only_that_has(
    provider: OfflineModels, client: Client, namespace: str, model: str
) -> None:
    provider.usual = thinks(_thinks_for_both)
    registers(client, "receives", 'prompts.loop.initial.extra = "Ask steve for the payload, and post it."', model=model)
    registers(client, "sends", 'prompts.system.extra = "payload = 4711"', model=model)
    schema = {"type": "object", "properties": {"payload": {"type": "string"}}, "required": ["payload"]}
    request = session(prototype("rob", "receives"), prototype("steve", "sends"), namespace=namespace)
    request["agentGraphRequest"]["agents"][0]["customToolAccess"] = ["post_payload"]
    request["agentGraphRequest"]["customTools"] = {
        "post_payload": {"transport": {"type": "http", "url": ""}, "inputSchema": schema}
    }
    with receiving() as receiver:
        receiver.answer(200, body=b"received")
        request["agentGraphRequest"]["customTools"]["post_payload"]["transport"]["url"] = receiver.url
        path = client.create(request)
        eventually(lambda: receiver.received, what="the payload was posted")
    assert json.loads(receiver.received[0].body) == {"payload": "4711"}
    calls = [each for each in client.call("GET", f"{path}/events").body if each["type"] == "llm_proxy_call"]
    assert {each["agentName"] for each in calls} == {"rob", "steve"}
    client.call("DELETE", path)


def test_what_ends_an_agent_is_its_reason_and_in_its_log(
    provider: OfflineModels, client: Client, namespace: str
) -> None:
    provider.forget()
    provider.usual = Answers(503)
    registers(client, "dies")
    path = client.create(
        session(
            prototype("a", "dies"), namespace=namespace, persistenceMode={"mode": "hold_after_exit", "duration": 60_000}
        )
    )
    client.wait_for_status(path, "closing")
    status = client.call("GET", f"{path}/agent").body[0]["status"]
    assert (status["type"], "has answered 503" in status["reason"]) == ("stopped", True)
    assert any("has answered 503" in line["text"] for line in client.call("GET", f"{path}/logs?agent=a").body)
    mine = [asked for asked in provider.asked if asked.target == "/v1/chat/completions"]
    assert len(mine) == 1, "it is not tried again"


def _calls_the_tool(question: Question) -> Sequence[Call]:
    secret = str(question.messages[0]).partition("with this input: ")[2][:8]
    return last_wait(question) if question.results else [("test_tool", {"input": secret})]


AUTHS = {
    "NoAuth": (None, '{{ type = "mcp_streamable_http", url = "{url}/mcp" }}'),
    "UrlAuth": (
        "hunter22",
        '{{ type = "mcp_streamable_http", url = {{ type = "composed_url", base = "{url}/mcp", parts = '
        '[{{ type = "query_parameter", name = "authToken", value = {{ type = "option", name = "TOKEN" }} }}] }} }}',
    ),
    "BearerAuth": (
        "hunter22",
        '{{ type = "mcp_streamable_http", url = "{url}/mcp", auth = '
        '{{ type = "bearer", token = {{ type = "option", name = "TOKEN" }} }} }}',
    ),
}


@pytest.mark.parametrize(
    "auth",
    [pytest.param(auth, marks=pytest.mark.coral(f"PrototypeRuntimeTest.testCustomMcpServer{auth}")) for auth in AUTHS],
)
def test_a_tool_of_another_server_is_called(
    provider: OfflineModels, tools: ToolServer, client: Client, namespace: str, auth: str
) -> None:
    tools.token, server = AUTHS[auth]
    tools.given.clear()
    provider.usual = thinks(_calls_the_tool)
    registers(
        client,
        "calls",
        'prompts.loop.initial.extra = "Call the tool test_tool with this input: 1234abcd"',
        f"tools = [{server.format(url=tools.url)}]",
        "[options.TOKEN]",
        'type = "string"\nsecret = true',
    )
    options = {"TOKEN": ("string", tools.token)} if tools.token else {}
    path = client.create(session(prototype("test", "calls", **options), namespace=namespace))
    eventually(lambda: tools.given, what="the tool was called")
    assert tools.given == ["1234abcd"]
    assert client.call("GET", f"{path}/agent").body[0]["status"]["type"] == "running"
    client.call("DELETE", path)
