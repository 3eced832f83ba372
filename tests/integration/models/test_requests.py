"""What an agent asks of its models: each check of the route, and what its provider gets (contract, C.3)."""

import json
import logging
from typing import Any

import pytest

from chalicelib.models.forwarding import ModelAnswer
from tests.integration.models.conftest import ANTHROPIC_KEY, JSON, OPENAI_KEY, Agents
from tests.mcp_world import NAMESPACE, SESSION
from tests.offline_models import Answers, Says, lies_about_length

pytestmark = pytest.mark.xdist_group("models")

CHAT, MESSAGES = "MAIN/v1/chat/completions", "CLAUDE/v1/messages"
BODY = b'{ "model": "large",  "messages": [] }'


def said(answer: ModelAnswer) -> Any:
    return json.loads(answer.read())


# The checks, in their order: each of these requests breaks the rule of its row and those of all rows below.

TEXT = ("Content-Type", "text/plain")


@pytest.mark.parametrize(
    ("secret", "target", "method", "header", "status", "message"),
    [
        ("forged", "NONE", "PUT", TEXT, 401, "Invalid agent secret"),
        ("", "NONE", "PUT", TEXT, 404, "Not found"),
        (None, "NONE", "PUT", TEXT, 405, "Unsupported proxy method"),
        (None, "NONE", "DELETE", TEXT, 405, "Unsupported proxy method"),
        (None, "NONE", "POST", TEXT, 415, "JSON"),
        (None, "NONE", "POST", ("X", "y"), 415, "JSON"),
        (None, "NONE", "POST", JSON, 400, "Unknown proxy name"),
        (None, "NONE", "GET", JSON, 400, "Unknown proxy name"),
        (None, "MAIN", "POST", JSON, 413, "at most 100 bytes"),
    ],
)
def test_a_request_is_refused_by_the_first_rule_that_it_breaks(
    agents: Agents, secret: str | None, target: str, method: str, header: tuple[str, str], status: int, message: str
) -> None:
    agents.configure(maxRequestSize=100)
    answer = agents.ask(f"{target}/v1", b"x" * 101, [header], method=method, secret=secret)
    assert answer.status == status
    assert message in said(answer)["message"]
    assert agents.provider.asked == []
    assert agents.events() == []


def test_a_body_that_says_that_it_is_too_large_is_not_read(agents: Agents) -> None:
    agents.configure(maxRequestSize=100)
    assert agents.ask(CHAT, b"", [JSON, ("Content-Length", "101")]).status == 413
    assert agents.ask(CHAT, b"", [JSON, ("Content-Length", "9" * 40)]).status == 413
    assert agents.ask(CHAT, BODY, [JSON, ("Content-Length", "100")]).status == 200


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"])
def test_json_is_taken_under_each_of_its_names(agents: Agents, kind: str) -> None:
    assert agents.ask(CHAT, BODY, [("content-type", kind)]).status == 200
    assert agents.provider.asked[0].header("content-type") == kind


@pytest.mark.parametrize("kind", ["application/jsonx", "text/json", "application/+json", "json", ""])
def test_what_is_no_json_by_its_name_is_refused(agents: Agents, kind: str) -> None:
    assert agents.ask(CHAT, BODY, [("content-type", kind)]).status == 415


@pytest.mark.parametrize("change", ["stopped", "closing", "gone"])
def test_the_secret_of_what_is_over_is_invalid(agents: Agents, change: str) -> None:
    services = agents.world.services
    if change == "stopped":
        services.agents.stop(SESSION, "ann", now_ms=1, reason="ended")
    elif change == "closing":
        services.sessions.close(NAMESPACE, SESSION, now_ms=1, reason="closed_by_user")
    else:
        services.sessions.remove(NAMESPACE, SESSION, status="executed")
    answer = agents.ask(CHAT, BODY)
    assert (answer.status, said(answer)) == (401, {"message": "Invalid agent secret"})
    assert agents.provider.asked == []


# What the provider gets


def test_a_body_that_is_right_arrives_byte_by_byte(agents: Agents) -> None:
    answer = agents.ask(CHAT, BODY)
    assert answer.status == 200
    [asked] = agents.provider.asked
    assert (asked.method, asked.target, asked.body) == ("POST", "/v1/chat/completions", BODY)


def test_path_and_query_arrive_as_they_came(agents: Agents) -> None:
    agents.provider.usual = Answers()
    agents.ask("MAIN/v1/a%2Fb%20c/?limit=20&after=abc&tag=x&tag=y&q=%2520+", method="GET")
    agents.ask("MAIN", method="GET")
    agents.ask("MAIN/", BODY)
    assert [asked.target for asked in agents.provider.asked] == [
        "/v1/a%2Fb%20c/?limit=20&after=abc&tag=x&tag=y&q=%2520+",
        "/",
        "/",
    ]


def test_a_base_url_with_a_path_is_what_the_agents_path_comes_behind(agents: Agents) -> None:
    config = agents.world.services.llm_proxy.config()
    providers = [
        provider.model_copy(update={"base_url": f"{provider.base_url}/openai/"}) for provider in config.providers
    ]
    agents.world.services.llm_proxy.write(config.model_copy(update={"providers": providers}))
    agents.world.services.llm_proxy._known = None
    agents.ask(CHAT, BODY)
    assert agents.provider.asked[0].target == "/openai/v1/chat/completions"


#: Headers of an agent, and whether its provider gets them.
HEADERS = {
    "User-Agent": True,
    "Accept": True,
    "X-Own": True,
    "OpenAI-Beta": True,
    "Authorization": False,
    "x-api-key": False,
    "Cookie": False,
    "Connection": False,
    "X-Of-The-Connection": False,
    "Keep-Alive": False,
    "Proxy-Authenticate": False,
    "Proxy-Authorization": False,
    "TE": False,
    "Trailer": False,
    "Upgrade": False,
    "Expect": False,
}


@pytest.mark.parametrize(("target", "is_anthropic"), [(CHAT, False), (MESSAGES, True)])
def test_only_what_is_for_the_provider_arrives(agents: Agents, target: str, is_anthropic: bool) -> None:
    values = dict.fromkeys(HEADERS, "agents-own") | {"Connection": "keep-alive, X-Of-The-Connection"}
    mine = [*values.items(), JSON, ("Host", "agents-own"), ("Accept-Encoding", "br"), ("anthropic-version", "2099")]
    agents.ask(target, BODY, [*mine, ("X-Own", "twice"), ("Transfer-Encoding", "gzip"), ("Content-Length", "5")])
    [asked] = agents.provider.asked
    arrived = {name for name, value in asked.headers if value in ("agents-own", "twice")}
    assert arrived == {name.lower() for name, passes in HEADERS.items() if passes}
    assert [value for name, value in asked.headers if name == "x-own"] == ["agents-own", "twice"]
    assert asked.header("accept-encoding") == "identity"
    assert asked.header("host") == agents.provider.url.removeprefix("http://")
    assert asked.header("transfer-encoding") is None
    if is_anthropic:
        assert (asked.header("x-api-key"), asked.header("authorization")) == (ANTHROPIC_KEY, None)
        assert asked.header("anthropic-version") == "2023-06-01"
    else:
        assert (asked.header("authorization"), asked.header("x-api-key")) == (f"Bearer {OPENAI_KEY}", None)
        assert asked.header("anthropic-version") == "2099"


def test_the_session_is_told_where_the_operator_says_so(agents: Agents) -> None:
    forged = ("X-Coral-SessionId", "forged")
    agents.configure(sendSessionHeaders=True)
    agents.ask(CHAT, BODY, [JSON, forged])
    agents.configure()
    agents.ask(CHAT, BODY, [JSON])
    assert [asked.header("x-coral-sessionid") for asked in agents.provider.asked] == [SESSION, None]


# The model is the one that was resolved


@pytest.mark.parametrize(
    ("target", "body", "sent"),
    [
        (CHAT, {"model": "expensive", "n": 1, "temperature": 1.5}, {"model": "large", "n": 1, "temperature": 1.5}),
        (CHAT, {"messages": ["\N{GRINNING FACE} é"]}, {"messages": ["\N{GRINNING FACE} é"], "model": "large"}),
        ("MAIN/v1/responses", {"prompt": {"id": "stored"}}, {"prompt": {"id": "stored"}, "model": "large"}),
        ("MAIN/v1/%72esponses", {}, {"model": "large"}),
        ("MAIN/v1/any/other", {"model": "expensive"}, {"model": "large"}),
        ("MAIN/v1/any/other", {"a": 1}, {"a": 1}),
        (MESSAGES, {"model": "opus"}, {"model": "claude"}),
        (CHAT, {"stream": True}, {"stream": True, "model": "large", "stream_options": {"include_usage": True}}),
        (
            CHAT,
            {"stream": True, "model": "large", "stream_options": {"include_usage": False}},
            {"stream": True, "model": "large", "stream_options": {"include_usage": False}},
        ),
        (CHAT, {"stream": False, "model": "large"}, {"stream": False, "model": "large"}),
        (CHAT, {"stream": "true", "model": "large"}, {"stream": "true", "model": "large"}),
        ("MAIN/v1/responses", {"stream": True, "model": "large"}, {"stream": True, "model": "large"}),
        (MESSAGES, {"stream": True, "model": "claude"}, {"stream": True, "model": "claude"}),
    ],
)
def test_a_body_names_the_model_that_was_resolved(
    agents: Agents, target: str, body: dict[str, Any], sent: dict[str, Any]
) -> None:
    agents.provider.usual = Answers()
    agents.ask(target, json.dumps(body).encode()).read()
    [asked] = agents.provider.asked
    assert asked.json == sent


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'"text"',
        b'{"model": "large", "model": "expensive"}',
        b'{"model": "large", "mode\\u006c": "expensive"}',
        b'{"model": "large"} {}',
        b'\xef\xbb\xbf{"model": "large"}',
        '{"model": "large"}'.encode("utf-16"),
        b'{"a": NaN}',
        b'{"a": "\xff"}',
        b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}",
    ],
)
def test_a_body_in_which_a_model_could_hide_is_refused(agents: Agents, body: bytes) -> None:
    answer = agents.ask(CHAT, body)
    assert answer.status == 400
    assert "body" in said(answer)["message"]
    assert agents.provider.asked == []


@pytest.mark.parametrize(
    "path",
    [
        "MAIN/v1/batches",
        "CLAUDE/v1/messages/batches",
        "MAIN/v1/%62atches",
        "MAIN/v1/threads/t/runs",
        "MAIN/openai/deployments/expensive/chat/completions",
        "MAIN/v1/engines/expensive/completions",
        "MAIN/v1beta/models/expensive:generateContent",
        "MAIN/v1/../admin",
        "MAIN/v1/%2e%2E/admin",
        "MAIN/./v1/chat/completions",
        "MAIN/v1#x",
        "MAIN/v1\\x",
        "MAIN/v1\r\nX: y",
    ],
)
def test_a_path_that_leads_around_the_model_is_refused(agents: Agents, path: str) -> None:
    answer = agents.ask(path, b"{}")
    assert answer.status == 400
    assert agents.provider.asked == []


# What the log and the lines say


def test_a_call_is_in_the_log_of_its_session(agents: Agents) -> None:
    agents.provider.next(Says(input_tokens=15, output_tokens=5))
    agents.ask(CHAT, BODY)
    agents.ask(MESSAGES, b'{"model": "claude"}', name="bob")
    [first, second] = agents.events()
    assert first.pop("timestamp")
    assert first == {
        "type": "llm_proxy_call",
        "agentName": "ann",
        "modelName": "large",
        "providerRequestName": "MAIN",
        "statusCode": 200,
        "usage": {"inputTokens": 15, "outputTokens": 5},
    }
    assert (second["agentName"], second["modelName"], second["providerRequestName"]) == ("bob", "claude", "CLAUDE")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"not json", b'{"usage": 1}', b'{"usage": {"prompt_tokens": "1", "completion_tokens": -1}}', b"\xff"],
)
def test_an_answer_without_usage_has_none_in_the_log(agents: Agents, body: bytes) -> None:
    agents.provider.next(Answers(418, body, {"Content-Type": "text/x", "X-Y": "z", "Set-Cookie": "a"}))
    answer = agents.ask(CHAT, BODY)
    named = {name.lower(): value for name, value in answer.headers}
    assert (answer.status, answer.read()) == (418, body)
    assert (named["content-type"], named["x-y"]) == ("text/x", "z")
    assert not {"set-cookie", "content-length", "connection", "transfer-encoding"} & named.keys()
    [event] = agents.events()
    assert (event["statusCode"], event["usage"]) == (418, {})


@pytest.mark.parametrize(
    ("usage", "noted"),
    [
        ({"prompt_tokens": 1, "completion_tokens": 2}, {"inputTokens": 1, "outputTokens": 2}),
        ({"input_tokens": 1, "output_tokens": 2}, {"inputTokens": 1, "outputTokens": 2}),
        ({"inputTokens": 1, "outputTokens": 2}, {"inputTokens": 1, "outputTokens": 2}),
        ({"prompt_tokens": 1, "input_tokens": 9}, {"inputTokens": 1}),
        ({"completion_tokens": 0}, {"outputTokens": 0}),
        ({"prompt_tokens": True, "completion_tokens": 1.5}, {}),
    ],
)
def test_usage_is_read_under_each_of_its_names(agents: Agents, usage: dict[str, Any], noted: dict[str, int]) -> None:
    agents.provider.next(Answers(200, json.dumps({"usage": usage}).encode()))
    agents.ask(CHAT, BODY)
    assert agents.events()[0]["usage"] == noted


def test_a_get_is_passed_on_and_in_the_log(agents: Agents) -> None:
    answer = agents.ask("MAIN/v1/models", method="GET")
    assert said(answer)["object"] == "list"
    [asked] = agents.provider.asked
    assert (asked.method, asked.body, asked.header("content-length")) == ("GET", b"", None)
    assert agents.events()[0]["usage"] == {}


def test_neither_keys_nor_secrets_nor_contents_are_logged(agents: Agents, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="chalicelib"):
        agents.ask(CHAT, b'{"messages": ["hunter22-content"]}')
        agents.provider.next(Answers(500, b"hunter22-answer"), lies_about_length())
        agents.ask(CHAT, BODY)
        assert OPENAI_KEY not in agents.ask(CHAT, BODY).read().decode()
    lines = "".join(
        json.dumps(vars(record), default=str) for record in caplog.records if record.name.startswith("chalicelib")
    )
    assert "model called" in lines
    assert "call of a model failed" in lines
    assert "hunter22" not in lines + json.dumps(agents.events())
    assert agents.world.secret("ann") not in lines


def test_a_call_makes_two_dynamodb_calls_besides_the_read_of_who_calls(agents: Agents) -> None:
    agents.ask(CHAT, BODY)
    with agents.world.counting() as calls:
        agents.ask(CHAT, BODY)
    assert calls == ["BatchGetItem", "UpdateItem", "PutItem"]


def test_a_provider_that_is_not_configured_any_more_is_said_to_be_gone(agents: Agents) -> None:
    agents.world.services.llm_proxy.write(type(agents.world.services.llm_proxy.config())())
    agents.world.services.llm_proxy._known = None
    answer = agents.ask(CHAT, BODY)
    assert answer.status == 502
    assert "'one' is not configured any more" in said(answer)["message"]


def test_where_no_entry_can_be_written_the_answer_comes_all_the_same(agents: Agents) -> None:
    agents.world.services.log.seal(SESSION, expires_at=1 << 40)
    assert agents.ask(CHAT, BODY).status == 200
