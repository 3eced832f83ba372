"""What the Python clients share: each takes operations as JSON lines on stdin, and prints what came of them.

    python client.py <connection URL>

The first line that is printed tells of the connection. An operation is ``{"do": "tools" | "resources"}``,
``{"do": "read", "uri": …}`` or ``{"do": "call", "tool": …, "arguments": …}``; its outcome ``{"ok", "value" or "error",
"seconds"}``. The end of stdin closes the connection, and an outcome tells of that. A program whose connection is lost
ends with status 1.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol


class Client(Protocol):
    """An open connection, made with one library."""

    #: The revision of MCP that was agreed on; ``None`` where the library does not tell.
    protocol: str | None

    async def tools(self) -> list[str]:
        """Return the names of the tools."""

    async def resources(self) -> list[str]:
        """Return the addresses of the resources."""

    async def read(self, uri: str) -> str:
        """Return a resource's text."""

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        """Call a tool and return its structured answer; raise `Refused` when that is an error."""


class Refused(Exception):
    """A tool answered with an error."""


def run(connect: Callable[[str], AbstractAsyncContextManager[Client]]) -> None:
    """Be a program that connects to the URL of its first argument and does what stdin says."""
    asyncio.run(_run(connect, sys.argv[1]))


async def _run(connect: Callable[[str], AbstractAsyncContextManager[Client]], url: str) -> None:
    connected = False
    try:
        async with connect(url) as client:
            connected = True
            _say({"ok": True, "value": client.protocol})
            while line := await asyncio.to_thread(sys.stdin.readline):
                _say(await _outcome(_do(client, json.loads(line))))
            began = time.monotonic()
        _say({"ok": True, "value": None, "seconds": time.monotonic() - began})
    except Exception as error:
        # Some libraries end the whole connection when a request fails, and with it what was being done.
        _say({"ok": False, "error": f"the connection {'is lost' if connected else 'failed'}: {_text(error)}"})
        sys.exit(1)


def _do(client: Client, wanted: dict[str, Any]) -> Awaitable[Any]:
    match wanted["do"]:
        case "tools":
            return client.tools()
        case "resources":
            return client.resources()
        case "read":
            return client.read(wanted["uri"])
        case "call":
            return client.call(wanted["tool"], wanted["arguments"])
    raise ValueError(f"do is {wanted['do']!r}: it is tools, resources, read or call")


async def _outcome(doing: Awaitable[Any]) -> dict[str, Any]:
    began = time.monotonic()
    try:
        outcome = {"ok": True, "value": await doing}
    except Exception as error:
        outcome = {"ok": False, "error": _text(error)}
    return {**outcome, "seconds": time.monotonic() - began}


def _say(outcome: dict[str, Any]) -> None:
    print(json.dumps(outcome), flush=True)


def _text(error: BaseException) -> str:
    """Name an error, and those that a group of errors holds."""
    inner = getattr(error, "exceptions", ())
    return "; ".join(map(_text, inner)) if inner else f"{type(error).__name__}: {error}"
