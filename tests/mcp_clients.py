"""The MCP clients that Atoll is driven with, each a program of ``tests/clients`` in an environment of its own.

A program takes operations as JSON lines on stdin and prints their outcomes (``tests/clients/driver.py``).
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import environments

CLIENTS = Path(__file__).parent / "clients"


@dataclass(frozen=True)
class Kind:
    """A client: its folder, what its program is told besides, and what is known of it."""

    name: str
    folder: str
    arguments: tuple[str, ...] = ()
    #: The file of its requirements, where a folder has several.
    requirements: str = "requirements.txt"
    #: What its ``User-Agent`` begins with.
    user_agent: str = "python-httpx2"
    #: The revision of MCP that it agrees on, where it tells.
    protocol: str | None = None
    #: The revision that it agrees on where waits are paused, if that is another one.
    falls_back_to: str | None = None
    #: Whether its waits are paused, and it comes back for them.
    comes_back: bool = False

    def command(self) -> list[str]:
        """Return how its program is started, installed when it is not yet; raises `NotInstallable`."""
        folder = CLIENTS / self.folder
        if (folder / "package.json").exists():
            return [environments.node(folder), str(folder / "client.mjs")]
        requirements = folder / self.requirements
        if not requirements.exists():  # it is in the project's own environment
            return [sys.executable, str(folder / "client.py")]
        name = self.folder + requirements.stem.removeprefix("requirements")
        return [str(environments.programs(name, requirements) / "python"), str(folder / "client.py")]

    def agrees_on(self, *, pausing: bool) -> str | None:
        """Return the revision that it agrees on, where waits are paused or not."""
        return self.falls_back_to or self.protocol if pausing else self.protocol


def _node(argument: str, **known: Any) -> Kind:
    return Kind(f"typescript-{argument}", "typescript", (argument,), **{"user_agent": "node", **known})


#: Those that negotiate 2025-11-25 and come back; by Python's SDK 1.x, and by 2.x when it is asked first what is there.
_BACK: dict[str, Any] = {"protocol": "2025-11-25", "comes_back": True}
_BACK_1: dict[str, Any] = {**_BACK, "user_agent": "python-httpx"}
_BACK_2: dict[str, Any] = {**_BACK, "protocol": "2026-07-28", "falls_back_to": "2025-11-25"}

#: Quick to install: what `make test` takes.
QUICK = [
    Kind("mcp-1", "mcp-1", user_agent="python-httpx", protocol="2025-06-18"),
    Kind("mcp-2-legacy", "mcp-2", ("legacy",), **_BACK),
    Kind("mcp-2-auto", "mcp-2", ("auto",), **_BACK_2),
    _node("sdk-1", **_BACK),
]
OTHERS = [
    Kind("mcp-1-first", "mcp-1", requirements="requirements-first.txt", **_BACK_1),
    Kind("mcp-1-last", "mcp-1", requirements="requirements-last.txt", **_BACK_1),
    Kind("mcp-2-first", "mcp-2", ("auto",), requirements="requirements-first.txt", **_BACK_2),
    Kind("mcp-2-pinned", "mcp-2", ("2026-07-28",), protocol="2026-07-28"),
    Kind("fastmcp-2", "fastmcp", requirements="requirements-2.txt", **_BACK_1),
    Kind("fastmcp-3", "fastmcp", requirements="requirements-3.txt", **_BACK_1),
    Kind("fastmcp-4", "fastmcp", **_BACK_2),
    _node("sdk-1-first", **_BACK),
    _node("sdk-2", **_BACK),
    _node("sdk-2-first", **_BACK),
    # In this mode it would fall back; pinned to 2026-07-28 it would not, and nothing tells the two apart.
    _node("sdk-2-auto", protocol="2026-07-28"),
    _node("sdk-2-pinned", protocol="2026-07-28"),
    _node("ai-sdk", user_agent="ai-sdk"),
    Kind("langchain", "langchain-mcp-adapters", user_agent="python-httpx", comes_back=True),
    Kind("openai-agents", "openai-agents", comes_back=True),
    Kind("pydantic-ai", "pydantic-ai", comes_back=True),
    Kind("google-adk", "google-adk", user_agent="google-adk", comes_back=True),
]


def named(name: str) -> Kind:
    """Return the client of this name; raise `KeyError` for an unknown one."""
    return {kind.name: kind for kind in (*QUICK, *OTHERS)}[name]
