"""WebSockets on the gateway's port, with a client that many use."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from chalice.app import Chalice
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from infra.local.api_gateway import Gateway, gateway
from infra.local.api_gateway.application import Receive, Scope, Send

KEY = {"Authorization": "Bearer dev"}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse clients without a key before the upgrade; echo the messages of others."""
    await receive()
    if (b"authorization", b"Bearer dev") not in scope["headers"]:
        await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"no key")]})
        await send({"type": "websocket.http.response.body", "body": b'{"message": "no key"}'})
        return
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        name = scope["path_params"]["name"]
        await send({"type": "websocket.send", "text": f"{name}: {event['text']}"})


@pytest.fixture
def server(app: Chalice) -> Iterator[Gateway]:
    server = Gateway("127.0.0.1", 0)
    server.serve(app, sockets={"/sockets/{name}": echo})
    yield server
    server.stop()


def _url(server: Gateway, path: str) -> str:
    return f"ws://{server.host}:{server.port}{path}"


def test_a_socket_is_served_on_the_port_of_the_app(server: Gateway) -> None:
    with connect(_url(server, "/sockets/a%2Fb?x=1"), additional_headers=KEY) as client:
        client.send("one")
        client.send("two")

        assert [client.recv(10), client.recv(10)] == ["a%2Fb: one", "a%2Fb: two"]

        plain = http.client.HTTPConnection(server.host, server.port, timeout=10)
        with contextlib.closing(plain):
            plain.request("GET", "/echo/meanwhile")
            assert json.loads(plain.getresponse().read())["name"] == "meanwhile"


def test_a_socket_is_refused_before_the_upgrade(server: Gateway) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(_url(server, "/sockets/a")):
        pass

    response = refused.value.response
    assert (response.status_code, response.headers["x-why"]) == (401, "no key")
    assert json.loads(response.body or b"") == {"message": "no key"}


@pytest.mark.parametrize(("path", "status"), [("/elsewhere", 404), ("/echo/a?x=1", 200)])
@pytest.mark.parametrize("sockets", [{}, {"/sockets/{name}": echo}], ids=["no sockets", "sockets"])
def test_an_upgrade_elsewhere_is_answered_like_any_request(
    app: Chalice, sockets: dict[str, Any], path: str, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    server = Gateway("127.0.0.1", 0)
    server.serve(app, sockets=sockets)
    try:
        with pytest.raises(InvalidStatus) as refused, connect(_url(server, path)):
            pass
    finally:
        server.stop()

    response = refused.value.response
    assert response.status_code == status
    assert isinstance(json.loads(response.body or b""), dict)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("path", ["/sockets/a", "/elsewhere"])
def test_a_socket_for_another_host_is_refused(server: Gateway, path: str) -> None:
    there = socket.create_connection((server.host, server.port), timeout=10)
    with there, pytest.raises(InvalidStatus) as refused, connect(f"ws://evil.test{path}", sock=there):
        pass
    assert refused.value.response.status_code == 421


def test_a_message_that_is_too_large_ends_its_socket(server: Gateway) -> None:
    with connect(_url(server, "/sockets/a"), additional_headers=KEY) as client:
        client.send("x" * (128 * 1024 + 1))

        with pytest.raises(ConnectionClosed) as closed:
            client.recv(10)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_a_client_is_pinged_and_dropped_when_it_does_not_answer(app: Chalice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "PING_S", 0.1)
    monkeypatch.setattr(gateway, "PONG_S", 0.3)
    server = Gateway("127.0.0.1", 0)
    server.serve(app, sockets={"/sockets/{name}": echo})
    upgrade = (
        "GET /sockets/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer dev\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    try:
        with socket.create_connection((server.host, server.port), timeout=10) as client:
            client.sendall(upgrade.encode())
            received = b"".join(iter(lambda: client.recv(4096), b""))  # until the server hangs up
    finally:
        server.stop()

    frames = received.partition(b"\r\n\r\n")[2]
    assert frames[:2] == b"\x89\x04"  # a ping of four bytes


def test_sockets_end_with_the_server(server: Gateway) -> None:
    with connect(_url(server, "/sockets/a"), additional_headers=KEY) as client:
        client.send("one")
        client.recv(10)
        server.stop()

        with pytest.raises(ConnectionClosed) as closed:
            client.recv(10)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
