"""What becomes of a socket when a server, or a proxy, sends what it should not."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from atoll.flows import Listen, Opened
from atoll.listening import AsyncSocket, Socket
from atoll.sending import Place
from tests.integration.webhooks.receivers import dripping


def sync(place: Place) -> Opened:
    return Socket(place).open(Listen("/ws"))


def asynchronous(place: Place) -> Opened:
    return asyncio.run(AsyncSocket(place).open(Listen("/ws")))


both = pytest.mark.parametrize("opened", [sync, asynchronous])


@both
@pytest.mark.parametrize("where", ["http://[::", "ws://host:99999", "ws://host:port", f"ws://{'a' * 64}.example"])
def test_a_redirect_to_what_is_no_url_is_no_socket_for_now(opened: Callable[[Place], Opened], where: str) -> None:
    head = f"HTTP/1.1 302 Found\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n"
    with dripping(head.encode(), b"") as port:
        assert opened(Place(f"http://127.0.0.1:{port}", "k")) is Opened.NOT_NOW


@both
def test_what_is_no_http_is_no_socket_for_now(opened: Callable[[Place], Opened]) -> None:
    with dripping(bytes(range(256)) * 8, b"") as port:
        assert opened(Place(f"http://127.0.0.1:{port}", "k")) is Opened.NOT_NOW


@both
def test_no_key_is_logged(opened: Callable[[Place], Opened], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), dripping(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", b"") as port:
        assert opened(Place(f"http://127.0.0.1:{port}", "the-key")) is Opened.NOT_NOW
    assert "the-key" not in caplog.text
