"""What tests of prototypes play on: a model that a test thinks for, and a server of tools of the protocol's own."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mcp.server.mcpserver import MCPServer
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.integration.agents.stand_in import served
from tests.offline_models import Answers, Asked

Json = dict[str, Any]
#: A call that the model wants: a tool, and its arguments.
Call = tuple[str, Json]


class Question:
    """What a model was asked, whichever API it was."""

    def __init__(self, asked: Asked) -> None:
        self.body: Json = asked.json
        self.target = asked.target
        self.is_anthropic = asked.target.endswith("/messages")

    @property
    def system(self) -> str:
        """The system message, which is one."""
        if self.is_anthropic:
            return str(self.body["system"])
        [system] = [each["content"] for each in self.body["messages"] if each["role"] == "system"]
        assert self.body["messages"][0]["role"] == "system"
        return str(system)

    @property
    def messages(self) -> list[Json]:
        """What was said, but for the system message."""
        return [each for each in self.body["messages"] if each["role"] != "system"]

    @property
    def tools(self) -> list[str]:
        """The names of the tools."""
        return [tool["name"] if self.is_anthropic else tool["function"]["name"] for tool in self.body["tools"]]

    @property
    def results(self) -> list[str]:
        """What tools have said so far."""
        if not self.is_anthropic:
            return [each["content"] for each in self.messages if each["role"] == "tool"]
        parts = [part for each in self.messages if each["role"] == "user" for part in each["content"]]
        return [part["content"] for part in parts if part["type"] == "tool_result"]


def wants(question: Question, calls: Sequence[Call], text: str = "") -> Answers:
    """Return the answer of a model that wants to call tools."""
    ids = [f"c{uuid.uuid4().hex[:8]}" for _ in calls]
    if question.is_anthropic:
        blocks: list[Json] = [{"type": "text", "text": text}] if text else []
        blocks += [
            {"type": "tool_use", "id": each, "name": name, "input": arguments}
            for each, (name, arguments) in zip(ids, calls, strict=True)
        ]
        said: Json = {"type": "message", "role": "assistant", "content": blocks}
        return Answers(body=json.dumps({**said, "usage": {"input_tokens": 10, "output_tokens": 5}}).encode())
    called = [
        {"id": each, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for each, (name, arguments) in zip(ids, calls, strict=True)
    ]
    message = {"role": "assistant", "content": text or None, "tool_calls": called}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return Answers(body=json.dumps({"choices": [{"message": message}], "usage": usage}).encode())


def thinks(decide: Callable[[Question], Sequence[Call]]) -> Callable[[Asked], Answers]:
    """Return a reply of a provider for whose models ``decide`` thinks."""

    def reply(asked: Asked) -> Answers:
        question = Question(asked)
        return wants(question, decide(question))

    return reply


class ToolServer:
    """A server with one tool, ``test_tool``, that keeps what it was given; it may ask for a token."""

    def __init__(self) -> None:
        self.url = ""
        self.token: str | None = None
        self.given: list[str] = []
        #: What the tool waits for before it answers, when it is to hang.
        self.hold: threading.Event | None = None
        self.app = self._guarded()

    def _server(self) -> MCPServer:
        server = MCPServer("tools")

        @server.tool()
        def test_tool(input: str) -> str:
            """Test tool."""
            if self.hold is not None:
                self.hold.wait(30)
            self.given.append(input)
            return "Success!"

        return server

    def _guarded(self) -> ASGIApp:
        http = self._server().streamable_http_app()
        sse = self._server().sse_app()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and self.token is not None:
                bearer = dict(scope["headers"]).get(b"authorization", b"").decode()
                if bearer != f"Bearer {self.token}" and f"authToken={self.token}" not in scope["query_string"].decode():
                    await PlainTextResponse("no", 401)(scope, receive, send)
                    return
            is_sse = scope["type"] == "http" and scope["path"].startswith(("/sse", "/messages"))
            await (sse if is_sse else http)(scope, receive, send)

        return app


@contextmanager
def serving_tools() -> Iterator[ToolServer]:
    """A server of tools on a free port of this machine."""
    tools = ToolServer()
    with served(tools.app) as tools.url:
        yield tools
