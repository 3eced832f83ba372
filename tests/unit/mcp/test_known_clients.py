"""Who is known to come back for a wait, by what real clients were seen to say of themselves."""

import pytest

from chalicelib.mcp import clients


@pytest.mark.parametrize(
    ("user_agent", "library", "falls_back"),
    [
        ("python-httpx/0.28.1", "mcp 1.x", False),
        ("python-httpx/1.0.dev3", "mcp 1.x", False),
        ("python-httpx2/2.16.2", "mcp 2.x", True),
        ("google-adk/2.13.0 gl-python/3.11.7", "ADK", False),
        ("node", "TypeScript", False),
    ],
)
def test_clients_that_come_back_are_known(user_agent: str, library: str, falls_back: bool) -> None:
    client = clients.known({"user-agent": user_agent})
    assert client is not None
    assert library in client.libraries
    assert client.falls_back is falls_back


@pytest.mark.parametrize(
    "user_agent",
    [
        "",
        "ai-sdk/2.0.99 runtime/node.js/20",
        "Bun/1.3.1",
        "Deno/2.5.0",
        "Python/3.12 aiohttp/3.13.2",
        "curl/8.11.1",
        "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)",
        "nodes",
        "python-httpx",
        "python-httpx3/1.0",
        "python-httpx/0.28.1 my-agent/2",
        "my-agent/2 python-httpx/0.28.1",
        "python-httpx/" + "1" * 100_000,
    ],
)
def test_nobody_else_is(user_agent: str) -> None:
    assert clients.known({"user-agent": user_agent}) is None


def test_who_says_nothing_is_not() -> None:
    assert clients.known({}) is None
