"""A local stack whose sockets are followed with a client that many use."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from chalicelib.domain import api_keys
from infra.local.stack import LocalStack
from tests.agents import SLEEPER

Connect = Callable[..., "Socket"]


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(agents=[SLEEPER]) as running:
        api_keys.put(running.services, "narrow", "one tenant's", ["tenant", "tenant-*"])
        yield running


class Socket:
    """One connection, as its client sees it."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def next(self, within_s: float = 10) -> dict[str, Any]:
        """Return the next event."""
        found: dict[str, Any] = json.loads(self.connection.recv(within_s))
        return found

    def until(self, kind: str) -> list[dict[str, Any]]:
        """Return the events up to the next of a kind."""
        found = [self.next()]
        while found[-1]["type"] != kind:
            found.append(self.next())
        return found

    def rest(self, within_s: float = 20) -> tuple[list[dict[str, Any]], int | None]:
        """Return all events until the server closes the connection, and with which code it does."""
        found = []
        try:
            while True:
                found.append(self.next(within_s))
        except ConnectionClosed as closed:
            return found, closed.rcvd.code if closed.rcvd else None


@pytest.fixture
def follow(stack: LocalStack) -> Iterator[Connect]:
    """Connect to a socket by the end of its path: ``follow("lsm?namespaceFilter=x")``; ``key`` goes into the path."""
    with ExitStack() as open_until_the_end:

        def connected(what: str, key: str | None = stack.key, *, log: bool = False, **options: Any) -> Socket:
            url = log_url_of(stack, what, key) if log else url_of(stack, what, key)
            return Socket(open_until_the_end.enter_context(connect(url, **options)))

        yield connected


def url_of(stack: LocalStack, what: str, key: str | None) -> str:
    """Return the address of a socket."""
    token = "" if key is None else f"{quote(key, safe='')}/"
    return f"{stack.url.replace('http', 'ws', 1)}/ws/v1/events/{token}{what}"


def log_url_of(stack: LocalStack, what: str, key: str | None) -> str:
    """Return the address of the log's socket; ``what`` is ``logs`` and its query."""
    name, _, query = what.partition("?")
    token = "" if key is None else f"/{quote(key, safe='')}"
    return f"{stack.url.replace('http', 'ws', 1)}/ws/v1/{name}{token}?{query}"


def session_of(path: str) -> str:
    """Return what the socket of a session's path is called."""
    return path.removeprefix("/api/v1/local/")
