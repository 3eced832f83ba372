"""Clients that are known to come back for a paused wait, told apart by their ``User-Agent``.

A wait's request names no client: ``clientInfo`` comes with ``initialize`` or ``server/discover`` alone, is for the
agent's author to choose, and is not kept. What names the library is the ``User-Agent``, as long as its user sets no
other. Each row was seen to come back in ``tests/integration/mcp/test_clients.py``; whoever is in none is held.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_HEADER = "user-agent"
#: Longest ``User-Agent`` that is looked at; those of the table are shorter.
_MAX_CHARACTERS = 64


@dataclass(frozen=True)
class Client:
    """Libraries that make their requests by one HTTP client, and so look alike."""

    libraries: str
    #: The whole of its ``User-Agent``.
    says: re.Pattern[str]
    #: Whether it takes 2025-11-25 where ``server/discover`` offers that and nothing newer.
    falls_back: bool = False


KNOWN = (
    Client("Python's mcp 1.x; fastmcp 2 and 3, langchain-mcp-adapters above it", re.compile(r"python-httpx/[\w.]+")),
    Client("Python's mcp 2.x; fastmcp 4 above it", re.compile(r"python-httpx2/[\w.]+"), falls_back=True),
    Client("Google's ADK, above either", re.compile(r"google-adk/[\w.]+ gl-python/[\w.]+")),
    # TypeScript's 2.x asks for 2026-07-28 only when it is told to, and then may be told to take nothing else.
    Client("TypeScript's SDK 1.x and 2.x", re.compile("node")),
)


def known(headers: Mapping[str, str]) -> Client | None:
    """Return who makes a request, by its headers; ``None`` for whoever is not in the table."""
    says = headers.get(_HEADER, "")
    if len(says) > _MAX_CHARACTERS:
        return None
    return next((client for client in KNOWN if client.says.fullmatch(says)), None)
