"""Custom tools of a graph, called at a receiver that checks its requests."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar

import pytest

from chalicelib.services import Services, use
from chalicelib.settings import Settings
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
        answer = b"x" * 1_100_000 if self.path.startswith("/huge") else b"sunny"
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


def call(here: World, url: str, *, private: bool = True, wait_limit_ms: int = 25_000, **transport: str) -> Any:
    tool = {
        "transport": {"type": "http", "url": url, **transport},
        "schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
    tools = json.dumps({"weather": tool, "coral_send_message": tool})
    here.session("ann", session_id=OTHER, custom_tools=tools)
    usual, client = here.services, here.services.dynamodb
    here.services = Services(
        Settings(stage="test", allow_private_addresses=private, mcp_wait_limit_ms=wait_limit_ms), here.services.clock
    )
    here.services.dynamodb, here.services.secrets = client, Secrets()  # type: ignore[assignment]
    use(here.services)
    try:
        listed = rpc(here, "tools/list", {})["tools"]
        (mine,) = [found for found in listed if found["name"] == "weather"]
        assert mine["inputSchema"] == tool["schema"]
        assert len(listed) == 9
        return rpc(here, "tools/call", {"name": "weather", "arguments": {"city": "Köln"}})
    finally:
        here.services = usual
        use(None)


def rpc(here: World, method: str, params: Any) -> Any:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return json.loads(here.post("ann", message, secret=here.secret("ann", OTHER)).body)["result"]


def test_a_call_is_posted_signed_and_its_answer_is_the_result(here: World, url: str) -> None:
    result = call(here, url + "/tools/weather/")
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


@pytest.mark.parametrize(
    ("path", "said"), [("/broken", "failed"), ("/huge", "1000000 bytes"), ("/slow", "did not answer")]
)
def test_a_tool_that_fails_is_an_error_without_detail(here: World, url: str, path: str, said: str) -> None:
    result = call(here, url + path, wait_limit_ms=500)
    assert result["isError"]
    assert said in result["structuredContent"]["error"]
    assert "sunny" not in json.dumps(result)
    assert url not in json.dumps(result)


def test_an_address_that_must_not_be_called_is_not(here: World, url: str) -> None:
    result = call(here, url, private=False)
    assert result["isError"]
    assert "must not be called" in result["structuredContent"]["error"]
    assert Tool.got == []
