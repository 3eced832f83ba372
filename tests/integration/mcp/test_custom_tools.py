"""Custom tools of a graph, called at a receiver that checks its requests."""

import dataclasses
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import quote, unquote

import pytest
from mcp_types import PARSE_ERROR
from pydantic import ValidationError

from chalicelib.services import Services, use
from chalicelib.settings import Settings
from chalicelib.wire.custom_tools import GraphAgentTool
from tests.mcp_world import World

OTHER = "22222222-2222-4333-8444-555555555555"
SECRET = "the custom-tool secret"


class Secrets:
    def get(self, name: str) -> str:
        assert name == "custom-tool-secret"
        return SECRET


class Tool(BaseHTTPRequestHandler):
    """A tool that answers as its path says."""

    got: ClassVar[list[tuple[str, dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers["content-length"]))
        self.got.append((self.path, headers, body))
        if self.path.startswith("/slow"):
            time.sleep(2)
        answer = (
            b"x" * 1_100_000
            if self.path.startswith("/huge")
            else b'{"degrees": 21.5}'
            if self.path.startswith("/json")
            else b"sunny"
        )
        if self.path.startswith("/beyond"):
            answer = b'{"degrees": 1e400}'
        self.send_response(500 if self.path.startswith("/broken") else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    Tool.got.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Tool)
    server.daemon_threads = True
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def call(
    here: World,
    url: str,
    *,
    name: str = "ann",
    namespace: str = "ns",
    described: dict[str, Any] | None = None,
    arguments: str = '{"city": "Köln"}',
    private: bool = True,
    wait_limit_ms: int = 25_000,
    **transport: str,
) -> Any:
    """List an agent's tools, call its custom one, and return what is listed of that and the answer."""
    tool = {"transport": {"type": "http", "url": url, **transport}, **(described or {"inputSchema": SCHEMA})}
    tools = json.dumps({"weather": GraphAgentTool.model_validate(tool).to_wire(), "coral_send_message": tool})
    here.session(name, session_id=OTHER, namespace=namespace, custom_tools=tools)
    usual, client = here.services, here.services.dynamodb
    here.services = Services(
        Settings(stage="test", allow_private_addresses=private, mcp_wait_limit_ms=wait_limit_ms), here.services.clock
    )
    here.services.dynamodb, here.services.secrets = client, Secrets()  # type: ignore[assignment]
    use(here.services)
    try:
        secret = here.secret(name, OTHER, namespace)
        listed = rpc(here, name, secret, '{"method": "tools/list"}')["result"]["tools"]
        (mine,) = [found for found in listed if found["name"] == "weather"]
        assert len(listed) == 9
        wanted = f'{{"method": "tools/call", "params": {{"name": "weather", "arguments": {arguments}}}}}'
        return mine, rpc(here, name, secret, wanted)
    finally:
        here.services = usual
        use(None)


def rpc(here: World, name: str, secret: str, message: str) -> Any:
    """Make a request that may hold what no JSON library of Python's would write."""
    body = f'{{"jsonrpc": "2.0", "id": 1, {message[1:]}'.encode()
    return json.loads(here.post(name, body, secret=secret).body)


def result_of(here: World, url: str, **how: Any) -> Any:
    return call(here, url, **how)[1]["result"]


def test_a_call_is_posted_signed_and_its_answer_is_the_result(here: World, url: str) -> None:
    result = result_of(here, url + "/tools/weather/")
    assert (result["content"], result["isError"]) == ([{"type": "text", "text": "sunny"}], False)
    ((path, headers, body),) = Tool.got
    assert path == f"/tools/weather/{OTHER}/ann"
    assert json.loads(body) == {"city": "Köln"}
    assert headers["x-coral-signature"] == hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert (headers["x-coral-namespace"], headers["x-coral-sessionid"]) == ("ns", OTHER)
    assert headers["x-coral-agentname"] == "ann"


def test_the_transport_may_name_the_header_of_the_signature(here: World, url: str) -> None:
    call(here, url, signatureHeader="X-My-Signature")
    ((_, headers, body),) = Tool.got
    assert headers["x-my-signature"] == hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert "x-coral-signature" not in headers


def test_a_second_signature_is_over_the_addressed_agent_and_the_time_too(here: World, url: str) -> None:
    """Coral's is over the body alone: who has seen one call could make it in the name of any agent."""
    call(here, url, name="Köln.ann", namespace="shop.a")
    ((path, headers, body),) = Tool.got
    time_s, _, signature = headers["x-atoll-signature"].removeprefix("t=").partition(",v1=")
    assert int(time_s) == here.services.clock.now_ms() // 1000
    signed = "\n".join([time_s, "shop.a", OTHER, "K%C3%B6ln.ann", ""]).encode() + body
    assert [headers[f"x-coral-{name}"] for name in ("namespace", "sessionid", "agentname")] == [
        "shop.a",
        OTHER,
        "K%C3%B6ln.ann",
    ]
    assert path == f"/{OTHER}/K%C3%B6ln.ann"
    assert signature == hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    "header",
    ["Content-Type", "content-length", "HOST", "Transfer-Encoding", "Connection", "X-Coral-Namespace",
     "x-coral-sessionid", "X-Coral-AgentName", "X-Atoll-Signature"],
)  # fmt: skip
def test_the_signature_takes_the_place_of_no_header_that_the_call_needs(header: str) -> None:
    transport = {"type": "http", "url": "https://tools.test/", "signatureHeader": header}
    with pytest.raises(ValidationError, match=f"{header}"):
        GraphAgentTool.model_validate({"transport": transport})


@pytest.mark.parametrize(
    ("path", "said"), [("/broken", "failed"), ("/huge", "1000000 bytes"), ("/slow", "did not answer")]
)
def test_a_tool_that_fails_is_an_error_without_detail(here: World, url: str, path: str, said: str) -> None:
    result = result_of(here, url + path, wait_limit_ms=500)
    assert result["isError"]
    assert said in result["structuredContent"]["error"]
    assert "sunny" not in json.dumps(result)
    assert url not in json.dumps(result)


def test_an_address_that_must_not_be_called_is_not(here: World, url: str) -> None:
    result = result_of(here, url, private=False)
    assert result["isError"]
    assert "must not be called" in result["structuredContent"]["error"]
    assert Tool.got == []


DESCRIBED = {
    "inputSchema": SCHEMA,
    "outputSchema": {"type": "object", "properties": {"degrees": {"type": "number"}}, "required": ["degrees"]},
    "title": "The weather",
    "description": "Says what the weather is like in a city.",
    "annotations": {"title": "Weather", "readOnlyHint": True, "idempotentHint": False},
}


def test_all_that_describes_a_tool_is_listed(here: World, url: str) -> None:
    listed, _ = call(here, url, described=DESCRIBED)
    assert listed == {"name": "weather", **DESCRIBED}


def test_what_is_not_described_is_not_listed(here: World, url: str) -> None:
    listed, answer = call(here, url, described={"inputSchema": {}, "outputSchema": {}})
    assert listed == {"name": "weather", "inputSchema": {"type": "object"}}
    assert answer["result"]["content"] == [{"type": "text", "text": "sunny"}]


def test_the_schema_of_older_clients_is_read(here: World, url: str) -> None:
    listed, _ = call(here, url, described={"schema": SCHEMA})
    assert listed["inputSchema"] == SCHEMA


def test_the_answer_of_a_tool_with_an_output_schema_is_structured(here: World, url: str) -> None:
    result = result_of(here, url + "/json", described=DESCRIBED)
    assert (result["structuredContent"], result["isError"]) == ({"degrees": 21.5}, False)
    assert json.loads(result["content"][0]["text"]) == {"degrees": 21.5}


@pytest.mark.parametrize("path", ["", "/beyond"])
def test_an_answer_that_is_no_object_where_one_is_promised_is_an_error(here: World, url: str, path: str) -> None:
    result = result_of(here, url + path, described=DESCRIBED)
    assert result["isError"]
    assert "outputSchema" in result["content"][0]["text"]
    assert "structuredContent" not in result, "clients check it against the tool's own schema"


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ("/x?key=1&b=%20c", f"/x/{OTHER}/ann?key=1&b=%20c"),
        ("/x/?key=1", f"/x/{OTHER}/ann?key=1"),
        ("?key=a/b", f"/{OTHER}/ann?key=a/b"),
        ("/x#part", f"/x/{OTHER}/ann"),
        ("", f"/{OTHER}/ann"),
    ],
)
def test_the_path_of_the_url_grows_and_its_query_stays(here: World, url: str, given: str, called: str) -> None:
    result_of(here, url + given)
    assert [path for path, _, _ in Tool.got] == [called]


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("研究员", "%E7%A0%94%E7%A9%B6%E5%91%98"),
        ("команда-7", "%D0%BA%D0%BE%D0%BC%D0%B0%D0%BD%D0%B4%D0%B0-7"),
        ("team \U0001f600", "team %F0%9F%98%80"),
        ("Köln 100%", "K%C3%B6ln 100%25"),
        (" a, b ", "%20a, b%20"),
    ],
)
def test_names_in_headers_are_percent_encoded(here: World, url: str, text: str, header: str) -> None:
    result = result_of(here, url, name=text, namespace=text)
    assert not result["isError"], result
    ((path, headers, _),) = Tool.got
    assert (headers["x-coral-namespace"], headers["x-coral-agentname"]) == (header, header)
    assert unquote(header) == text
    assert path == f"/{OTHER}/{quote(text, safe='')}"


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_is_a_step_of_a_path_calls_no_other_place(here: World, url: str, name: str) -> None:
    result = result_of(here, url, name=name)
    assert result["isError"]
    assert f"cannot be called by an agent named '{name}'" in result["content"][0]["text"]
    assert Tool.got == []


@pytest.mark.parametrize("number", ["1e400", "-1e999", "NaN", "Infinity"])
def test_arguments_that_are_no_json_are_not_sent_on(here: World, url: str, number: str) -> None:
    _, answer = call(here, url, arguments=f'{{"n": [{number}]}}')
    assert answer["error"]["code"] == PARSE_ERROR
    assert Tool.got == []


def test_only_who_lists_or_calls_a_custom_tool_reads_it(here: World, url: str) -> None:
    tool = {"transport": {"type": "http", "url": url}, "inputSchema": SCHEMA}
    here.session("ann", session_id=OTHER, custom_tools=json.dumps({"weather": tool}))
    secret = here.secret("ann", OTHER)
    rpc(here, "ann", secret, '{"method": "ping"}')
    thread = '{"method": "tools/call", "params": {"name": "coral_create_thread", "arguments": {"threadName": "x"}}}'
    for message, reads in (('{"method": "ping"}', 1), ('{"method": "tools/list"}', 2), (thread, 1)):
        with here.counting() as calls:
            rpc(here, "ann", secret, message)
        assert calls.count("BatchGetItem") == reads, message


def test_the_tools_of_a_session_from_an_earlier_version_work(here: World, url: str) -> None:
    tool = {"transport": {"type": "http", "url": url}, "inputSchema": SCHEMA}
    here.session("ann", session_id=OTHER)
    agent = here.services.agents.find(OTHER, "ann")
    assert agent is not None
    here.services.agents.create_all([dataclasses.replace(agent, custom_tools=json.dumps({"weather": tool}))], {})
    listed = rpc(here, "ann", here.secret("ann", OTHER), '{"method": "tools/list"}')["result"]["tools"]
    assert [found["inputSchema"] for found in listed if found["name"] == "weather"] == [SCHEMA]
