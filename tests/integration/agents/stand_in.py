"""A session to test agents against: Coral's tools on the official MCP server, one process, no AWS.

The credential in the path is the agent's name. It keeps every call that was made, so that a test can look at it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

Matches = Callable[[dict[str, Any]], bool]


class StandIn:
    """A session whose agents are known by name, with threads, messages and a log of tool calls."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.threads: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self.ended = False
        #: Statuses that the next requests are refused with.
        self.busy: list[int] = []
        self._newest_ms = 0
        self._handed_over: list[tuple[str, str]] = []
        self.wait_limit_ms = 60_000
        self.app: ASGIApp = self._door(
            self._server().streamable_http_app(
                streamable_http_path="/mcp/v1/{agent}/mcp", json_response=True, stateless_http=True
            )
        )

    def connection_url(self, agent: str) -> str:
        """The value of `CORAL_CONNECTION_URL` for an agent."""
        return f"{self.url}/mcp/v1/{agent}/mcp"

    def add_thread(self, creator: str, name: str, participants: list[str]) -> dict[str, Any]:
        """Make a thread as `coral_create_thread` does."""
        thread = {"id": f"t{len(self.threads)}", "name": name, "participants": sorted({creator, *participants})}
        self.threads.append(thread)
        return thread

    def send(
        self, sender: str, thread_id: str, text: str, mentions: list[str], stamp_ms: int | None = None
    ) -> dict[str, Any]:
        """Send a message as `coral_send_message` does, stamped now (no two alike) or at a given time."""
        self._newest_ms = max(self._newest_ms + 1, time.time_ns() // 1_000_000)
        message = {
            "id": f"m{len(self.messages)}",
            "threadId": thread_id,
            "senderName": sender,
            "text": text,
            "mentionNames": mentions,
            "timestamp": iso(stamp_ms or self._newest_ms),
        }
        self.messages.append(message)
        return message

    def sent_by(self, agent: str) -> list[dict[str, Any]]:
        """The messages of one agent, in order."""
        return [message for message in self.messages if message["senderName"] == agent]

    def calls_of(self, agent: str) -> list[str]:
        """The names of the tools that an agent has called, in order."""
        return [tool for caller, tool, _ in self.calls if caller == agent]

    def hand_over(self, thread: dict[str, Any], agent: str) -> None:
        """Add an agent to a thread: if it waits, it gets the first matching message of the thread's past."""
        thread["participants"].append(agent)
        self._handed_over.append((thread["id"], agent))

    async def _wait(self, agent: str, since_ms: int, max_wait_ms: int, matches: Matches) -> dict[str, Any]:
        deadline = time.monotonic() + min(max_wait_ms, self.wait_limit_ms) / 1000
        handed_over_before = len(self._handed_over)

        def fits(message: dict[str, Any]) -> bool:
            thread_id = message["threadId"]
            is_its_past = (thread_id, agent) in self._handed_over[handed_over_before:]
            return (
                agent in self._thread(thread_id)["participants"]
                and message["senderName"] != agent
                and (message["timestamp"] >= iso(since_ms) or is_its_past)
                and matches(message)
            )

        while time.monotonic() < deadline:
            found = [message for message in self.messages if fits(message)]
            if found:
                return {"status": "Message received", "message": min(found, key=lambda found: found["timestamp"])}
            await asyncio.sleep(0.01)
        return {"status": "Timeout reached"}

    def _thread(self, thread_id: str) -> dict[str, Any]:
        for thread in self.threads:
            if thread["id"] == thread_id:
                return thread
        raise ToolError(f"no thread {thread_id}")

    def _server(self) -> MCPServer:
        server = MCPServer("Coral Agent Server")

        def caller(ctx: Context, tool: str, **arguments: Any) -> str:
            request = ctx.request_context.request
            assert request is not None
            agent: str = request.path_params["agent"]
            self.calls.append((agent, tool, arguments))
            return agent

        @server.tool()
        def coral_create_thread(threadName: str, participantNames: list[str], ctx: Context) -> dict[str, Any]:
            agent = caller(ctx, "coral_create_thread", threadName=threadName, participantNames=participantNames)
            return {"thread": self.add_thread(agent, threadName, participantNames)}

        @server.tool()
        def coral_send_message(threadId: str, content: str, mentions: list[str], ctx: Context) -> dict[str, Any]:
            agent = caller(ctx, "coral_send_message", threadId=threadId, content=content, mentions=mentions)
            absent = set(mentions) - set(self._thread(threadId)["participants"])
            if absent:
                raise ToolError(f"not in the thread: {', '.join(sorted(absent))}")
            return {"status": "Message sent", "message": self.send(agent, threadId, content, mentions)}

        @server.tool()
        async def coral_wait_for_message(currentUnixTime: int, ctx: Context, maxWaitMs: int = 60000) -> dict[str, Any]:
            agent = caller(ctx, "coral_wait_for_message", currentUnixTime=currentUnixTime)
            return await self._wait(agent, currentUnixTime, maxWaitMs, lambda _: True)

        @server.tool()
        async def coral_wait_for_mention(currentUnixTime: int, ctx: Context, maxWaitMs: int = 60000) -> dict[str, Any]:
            agent = caller(ctx, "coral_wait_for_mention", currentUnixTime=currentUnixTime)
            return await self._wait(agent, currentUnixTime, maxWaitMs, lambda message: agent in message["mentionNames"])

        @server.tool()
        async def coral_wait_for_agent(
            agentName: str, currentUnixTime: int, ctx: Context, maxWaitMs: int = 60000
        ) -> dict[str, Any]:
            agent = caller(ctx, "coral_wait_for_agent", agentName=agentName, currentUnixTime=currentUnixTime)
            return await self._wait(
                agent, currentUnixTime, maxWaitMs, lambda message: message["senderName"] == agentName
            )

        return server

    def _door(self, app: ASGIApp) -> ASGIApp:
        async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and self.busy:
                await JSONResponse({"message": "busy"}, self.busy.pop(), {"Retry-After": "1"})(scope, receive, send)
            elif scope["type"] == "http" and self.ended:
                error = {"code": -32600, "message": "Session terminated"}
                await JSONResponse({"jsonrpc": "2.0", "id": 0, "error": error}, 404)(scope, receive, send)
            else:
                await app(scope, receive, send)

        return endpoint


def iso(stamp_ms: int) -> str:
    """A time in epoch milliseconds as Coral writes it."""
    return datetime.fromtimestamp(stamp_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an ASGI application on a free port of this machine; its URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@contextmanager
def serving() -> Iterator[StandIn]:
    """A stand-in session on a free port of this machine."""
    stand_in = StandIn()
    with served(stand_in.app) as stand_in.url:
        yield stand_in
