"""An agent's end of a Coral session: its options, its connection, the tools it calls.

An agent finds all it needs in its environment. `CORAL_CONNECTION_URL` is the agent's own MCP
endpoint; its path holds the agent's secret, so it is printed nowhere. Each option is a variable under its own name.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

CONNECT_TIMEOUT_S = 10
# A waiting tool answers after 58 s at the latest; a call that takes longer than this has lost its connection.
READ_TIMEOUT_S = 90


# Pauses before a request is made again that was refused for now: the endpoint is at a limit, or its database is.
PAUSES_S = (0.5, 1, 2, 4, 8, 15, 30)
FOR_NOW = (429, 503)
# What a secret is answered whose session is over, and one that was never given to anybody.
OVER = (404, 401)


class ToolRefused(Exception):
    """The session would not do what a tool call asked for; the text is its reason."""


class SessionEnded(Exception):
    """The session is over, and with it the agent's secret: there is nothing left to do."""


def text_option(name: str, default: str = "") -> str:
    """The value of a `string` option."""
    return os.environ.get(name) or default


def number_option(name: str, default: int = 0) -> int:
    """The value of an integer option of any width."""
    return int(os.environ.get(name) or default)


def flag_option(name: str) -> bool:
    """The value of a `bool` option, which arrives as `1` or `0`."""
    return os.environ.get(name) == "1"


def list_option(name: str) -> list[str]:
    """The value of a `list[string]` option, which arrives joined by commas."""
    return [entry for entry in os.environ.get(name, "").split(",") if entry]


def say(line: str) -> None:
    """Print a line and flush it, so that readers of the agent's output see it at once."""
    print(line, flush=True)


async def sleep_ms(duration_ms: int) -> None:
    """Do nothing for so many milliseconds."""
    await asyncio.sleep(duration_ms / 1000)


class PatientTransport(httpx2.AsyncHTTPTransport):
    """HTTP transport that repeats requests which were refused for now: nothing visible was done for them."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the first answer whose status is not in `FOR_NOW`, or the last one."""
        for pause_s in PAUSES_S:
            response = await super().handle_async_request(request)
            if response.status_code not in FOR_NOW:
                return response
            await response.aclose()
            wanted = response.headers.get("retry-after", "")
            await asyncio.sleep(max(pause_s, int(wanted) if wanted.isdigit() else 0))
        return await super().handle_async_request(request)


class Session:
    """The session as one agent sees it: a set of tools to call."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        """Call a tool and return its structured result, or its text where it has none (custom tools).

        Raises:
            ToolRefused: The call was answered with an error.
        """
        try:
            result = await self._client.call_tool(tool, arguments)
        except MCPError as error:
            raise ToolRefused(f"{tool}: {error}") from error
        text = "\n".join(block.text for block in result.content if block.type == "text")
        structured = result.structured_content
        if result.is_error:
            # A wait is refused when the session closes under it. This request is then, too, unlike a list of the tools.
            await self._client.list_resources(cache_mode="bypass")
            raise ToolRefused(f"{tool}: {(structured or {}).get('error', text)}")
        return text if structured is None else structured


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Session]:
    """Connect to the MCP endpoint at `url` for as long as the context is open.

    Raises:
        SessionEnded: The session of the secret in the path is over, or the endpoint does not know the secret. Like
            every failure inside the client's task groups it arrives in an exception group.
    """

    async def check(response: httpx2.Response) -> None:
        if response.status_code in OVER:
            raise SessionEnded

    http = httpx2.AsyncClient(
        timeout=httpx2.Timeout(CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
        event_hooks={"response": [check]},
        # Loading the certificate authorities takes a tenth of this agent's start: only where there is TLS.
        transport=PatientTransport(verify=url.startswith("https:")),
    )
    async with http, Client(streamable_http_client(url, http_client=http)) as client:
        yield Session(client)


async def run(work: Callable[[Session], Awaitable[None]]) -> int:
    """Connect, do an agent's `work`, and return the exit status of its process.

    0 when the work is done or the session has ended under it, 1 when it failed; one line says which.
    """
    status = 0
    try:
        await sleep_ms(number_option("START_DELAY"))
        async with connect(os.environ["CORAL_CONNECTION_URL"]) as session:
            say("connected")
            await work(session)
            say("done")
    except* SessionEnded:
        say("the session has ended")
    except* ToolRefused as refusals:
        status = 1
        say(f"refused: {_reason(refusals)}")
    except* (MCPError, httpx2.TransportError) as failures:
        status = 1
        say(f"lost the session: {_reason(failures)}")
    return status


def _reason(group: BaseExceptionGroup[Exception]) -> str:
    """What the first exception of a possibly nested group has to say."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first) or type(first).__name__
