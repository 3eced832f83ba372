"""What a client sees on the connection itself: bytes, limits, and the end."""

import contextlib
import json
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chalice.app import Chalice

from infra.local.api_gateway import Gateway, application, connection, gateway
from infra.local.waiting import Stopped
from tests.integration.local.api_gateway.conftest import PICTURE, Ask, Connect
from tests.integration.local.conftest import eventually

#: Opens a connection to a gateway that serves the app.
Open = Callable[[], socket.socket]


@pytest.fixture
def server() -> Iterator[Gateway]:
    server = Gateway("127.0.0.1", 0)
    yield server
    server.stop()


@pytest.fixture
def open_connection(server: Gateway, app: Chalice) -> Iterator[Open]:
    with contextlib.ExitStack() as all_of_them:

        def open_connection() -> socket.socket:
            return all_of_them.enter_context(socket.create_connection((server.host, server.port), timeout=10))

        yield open_connection


def _everything(client: socket.socket) -> bytes:
    """Return what the server sends until it closes the connection."""
    return b"".join(iter(lambda: client.recv(65536), b""))


def _answer(client: socket.socket) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Return status line, headers and body of the next answer."""
    reader = client.makefile("rb", buffering=0)
    status = reader.readline().rstrip(b"\r\n")
    headers = {}
    while (line := reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.rstrip(b"\r\n").partition(b": ")
        headers[name.lower()] = value
    body = b""
    while len(body) < int(headers.get(b"content-length", 0)):
        body += reader.read(int(headers[b"content-length"]) - len(body)) or b""
    return status, headers, body


def _head(method: str, path: str, **headers: Any) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def test_the_server_says_who_it_is(server: Gateway, app: Chalice, open_connection: Open) -> None:
    server.serve(app)
    client = open_connection()
    client.sendall(_head("GET", "/echo/a"))

    assert _answer(client)[1][b"server"] == b"Atoll"


def test_a_client_that_expects_a_word_before_it_sends_its_body_gets_it(
    server: Gateway, app: Chalice, open_connection: Open
) -> None:
    server.serve(app)
    client = open_connection()
    client.sendall(_head("POST", "/echo/a", Expect="100-continue", Content_Length=4))

    assert _answer(client)[0] == b"HTTP/1.1 100 Continue"

    client.sendall(b"body")
    status, _, body = _answer(client)
    assert (status, json.loads(body)["body"]) == (b"HTTP/1.1 200 OK", "body")


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(
    server: Gateway, app: Chalice, open_connection: Open
) -> None:
    server.serve(app)
    client = open_connection()
    length = application.LARGEST_BODY + 1
    client.sendall(_head("POST", "/echo/a", Expect="100-continue", Content_Length=length))

    assert _everything(client).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("size", [70_000, 1_000_000, application.LARGEST_BODY])
def test_a_body_may_be_larger_than_a_head(connect: Connect, size: int) -> None:
    client = connect()
    for _ in range(2):
        client.request("POST", "/echo/a", b"x" * size)
        answer = client.getresponse()

        assert (answer.status, len(json.loads(answer.read())["body"])) == (200, size)


def test_a_body_of_unknown_length_is_refused_where_it_becomes_too_large(
    server: Gateway, app: Chalice, open_connection: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "LARGEST_BODY", 1000)
    server.serve(app)
    client = open_connection()
    client.sendall(_head("POST", "/echo/a", Transfer_Encoding="chunked") + b"3e9\r\n" + b"x" * 1001 + b"\r\n")

    assert _everything(client).startswith(b"HTTP/1.1 413 ")


def test_requests_that_are_sent_together_are_answered_in_their_order(
    server: Gateway, app: Chalice, open_connection: Open
) -> None:
    server.serve(app)
    client = open_connection()
    client.sendall(b"".join(_head("GET", f"/echo/{number}") for number in range(5)))

    assert [json.loads(_answer(client)[2])["name"] for _ in range(5)] == list("01234")


def test_an_upgrade_to_what_is_not_spoken_here_is_ignored(server: Gateway, app: Chalice, open_connection: Open) -> None:
    server.serve(app)
    client = open_connection()
    for name in "ab":
        client.sendall(_head("GET", f"/echo/{name}", Connection="Upgrade", Upgrade="h2c"))
        assert json.loads(_answer(client)[2])["name"] == name


def test_an_answer_to_head_has_no_body(server: Gateway, app: Chalice, open_connection: Open) -> None:
    server.serve(app)
    client = open_connection()
    client.sendall(_head("HEAD", "/text") + _head("GET", "/text", Connection="close"))
    head, _, rest = _everything(client).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 405 ")
    assert int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) > 0
    assert rest.startswith(b"HTTP/1.1 201 ")


@pytest.mark.parametrize("method", ["DELETE", "PROPFIND"])
def test_a_method_that_a_route_does_not_have_is_not_allowed(connect: Connect, method: str) -> None:
    client = connect()
    client.request(method, "/text")
    answer = client.getresponse()

    assert (answer.status, answer.headers["Allow"]) == (405, "GET")


def test_a_path_of_two_slashes_names_no_host(ask: Ask) -> None:
    assert ask("GET", "//elsewhere/echo/a")[0] == 404
    assert ask("GET", "//echo/a")[1]["name"] == "a"


def test_bytes_and_repeated_headers_arrive_as_they_are(connect: Connect) -> None:
    client = connect()
    client.request("GET", "/picture", headers={"Accept": "image/png"})
    answer = client.getresponse()

    assert answer.read() == PICTURE
    assert answer.headers.get_all("Set-Cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize(
    "request_", [b"GET /" + b"x" * 100_000, _head("GET", "/echo/a", Long="x" * 100_000)[:-2]], ids=["line", "header"]
)
def test_a_head_that_is_too_large_is_refused(
    server: Gateway, app: Chalice, open_connection: Open, request_: bytes
) -> None:
    server.serve(app)
    client = open_connection()
    with contextlib.suppress(ConnectionError):
        client.sendall(request_)

    answer = _everything(client)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"message"' in answer


def test_a_head_that_comes_in_drops_is_not_waited_for(
    server: Gateway, app: Chalice, open_connection: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.3)
    server.serve(app)
    client = open_connection()
    began_s = time.monotonic()
    with contextlib.suppress(ConnectionError):
        for character in "GET /" + "a" * 100:
            client.sendall(character.encode())
            time.sleep(0.05)
        pytest.fail("the connection is still open")

    assert time.monotonic() - began_s < 3


def test_a_silent_connection_is_closed(
    server: Gateway, app: Chalice, open_connection: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE_S", 0.3)
    monkeypatch.setattr(gateway, "IDLE_S", 0.3)
    server.serve(app)
    never_asked, asked = open_connection(), open_connection()
    asked.sendall(_head("GET", "/echo/a"))
    _answer(asked)

    assert (_everything(never_asked), _everything(asked)) == (b"", b"")


def test_a_body_that_does_not_come_is_not_waited_for(
    server: Gateway, app: Chalice, open_connection: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "BODY_PAUSE_S", 0.2)
    server.serve(app)
    client = open_connection()
    client.sendall(_head("POST", "/echo/a", Content_Length=10) + b"half")

    assert _everything(client).startswith(b"HTTP/1.1 408 ")


def test_connections_are_counted(
    server: Gateway, app: Chalice, open_connection: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MOST_CONNECTIONS", 2)
    server.serve(app)
    first, second = open_connection(), open_connection()
    for client in (first, second):
        client.sendall(_head("GET", "/echo/a"))
        assert _answer(client)[0] == b"HTTP/1.1 200 OK"

    assert _everything(open_connection()).startswith(b"HTTP/1.1 503 ")

    first.close()
    eventually(lambda: _status(open_connection) == b"HTTP/1.1 200 OK")


def test_the_limit_of_open_files_is_raised_where_it_may_be() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        connection.allow_files()
        wanted = connection.MOST_CONNECTIONS + connection.FILES_OF_AGENTS
        limit = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (limit, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _status(open_connection: Open) -> bytes:
    client = open_connection()
    with contextlib.suppress(ConnectionError):
        client.sendall(_head("GET", "/echo/a", Connection="close"))
    return _everything(client).split(b"\r\n")[0]


def test_signals_are_left_to_the_process(server: Gateway, app: Chalice, open_connection: Open) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    server.serve(app)
    client = open_connection()
    client.sendall(_head("GET", "/echo/a"))
    _answer(client)

    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_connection_made_before_serving_is_answered(server: Gateway, app: Chalice, open_connection: Open) -> None:
    client = open_connection()
    client.sendall(_head("GET", "/echo/a"))
    server.serve(app)

    assert _answer(client)[0] == b"HTTP/1.1 200 OK"


def test_a_request_for_another_host_is_refused(server: Gateway, app: Chalice, open_connection: Open) -> None:
    """A page whose name was made to lead to this machine: to its browser it is one with what answers here."""
    server.serve(app)
    for head in (b"Host: evil.test\r\n", b"", b"Host: 192.168.1.5\r\n"):
        client = open_connection()
        client.sendall(b"POST /echo/a HTTP/1.1\r\n" + head + b"Content-Length: 4\r\n\r\nbody")
        status, headers, _ = _answer(client)
        assert (status, headers[b"connection"]) == (b"HTTP/1.1 421 Misdirected Request", b"close")


def test_it_stops_at_once_and_gives_its_port_back(server: Gateway, app: Chalice, open_connection: Open) -> None:
    server.serve(app)
    kept = open_connection()
    kept.sendall(_head("GET", "/echo/a"))
    _answer(kept)
    began_s = time.monotonic()
    server.stop()

    assert time.monotonic() - began_s < 1
    assert _everything(kept) == b""
    again = Gateway(server.host, server.port)
    again.stop()


def test_waiters_get_an_answer_when_the_stack_stops(server: Gateway, open_connection: Open) -> None:
    stopping, entered = threading.Event(), threading.Event()
    app = Chalice(app_name="atoll")

    @app.route("/wait")
    def wait() -> None:
        entered.set()
        stopping.wait(10)
        raise Stopped("the local stack is stopping")

    server.serve(app)
    client = open_connection()
    client.sendall(_head("GET", "/wait"))
    assert entered.wait(10)
    threading.Timer(0.2, stopping.set).start()
    server.stop()

    answer = _everything(client)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Atoll is stopping." in answer


def test_a_request_that_does_not_end_is_not_waited_for(
    server: Gateway,
    app: Chalice,
    open_connection: Open,
    waiting: list[int],
    release: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway, "FAREWELL_S", 0.2)
    server.serve(app)
    client = open_connection()
    client.sendall(_head("GET", "/wait"))
    eventually(lambda: waiting)
    began_s = time.monotonic()
    server.stop()

    assert time.monotonic() - began_s < 2
    assert _everything(client).startswith(b"HTTP/1.1 503 ")
