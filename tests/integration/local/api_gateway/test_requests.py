"""The app over HTTP."""

import json
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
from chalice.local import LocalGateway

from tests.integration.local.api_gateway.conftest import Ask, Connect
from tests.integration.local.conftest import StandIns, eventually


def test_a_request_reaches_the_app_as_api_gateway_hands_it_on(ask: Ask) -> None:
    status, answer = ask("POST", "/echo/a%2Fb%20c?x=1&x=%C3%A4+b&empty=", b'{"k": "\xc3\xa4"}', X_Header="h")

    assert status == 200
    # A REST API leaves path parameters as they were sent, and decodes the query.
    assert answer["name"] == "a%2Fb%20c"
    assert answer["query"] == {"x": ["1", "ä b"], "empty": [""]}
    assert answer["body"] == '{"k": "ä"}'
    assert answer["header"] == "h"


def test_a_slash_at_the_end_does_not_matter(ask: Ask) -> None:
    assert ask("GET", "/echo/a/")[1]["name"] == "a"


def test_a_connection_serves_many_requests(ask: Ask) -> None:
    assert [ask("GET", f"/echo/{number}")[1]["name"] for number in range(5)] == list("01234")


def test_an_answer_takes_no_longer_than_it_must(ask: Ask) -> None:
    ask("GET", "/echo/warm")
    began_s = time.monotonic()
    for _ in range(20):
        ask("GET", "/echo/a")

    # Nagle's algorithm and a delayed acknowledgement would make 40 ms of each.
    assert (time.monotonic() - began_s) / 20 < 0.02


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("DELETE", "/echo/a", 405), ("GET", "/crash", 500)],
)
def test_errors_are_json(ask: Ask, method: str, path: str, status: int) -> None:
    answered, body = ask(method, path, Authorization="Bearer ünïcode".encode().decode("latin-1"))

    assert answered == status
    assert {key.lower() for key in body} >= {"message"}


def test_a_failure_is_logged_by_its_route(
    ask: Ask, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(LocalGateway, "handle_request", fail)

    assert ask("GET", "/echo/secret") == (500, {"message": "Internal server error"})
    assert [record.getMessage() for record in caplog.records] == ["GET /echo/{name} failed"]


def test_status_headers_and_type_are_the_apps(connect: Connect) -> None:
    connection = connect()
    connection.request("GET", "/text")
    answer = connection.getresponse()

    assert (answer.status, answer.read()) == (201, b"plain")
    assert (answer.headers["Content-Type"], answer.headers["X-Mine"]) == ("text/plain", "yes")


def test_what_is_behind_a_semicolon_is_part_of_a_name(ask: Ask) -> None:
    assert ask("GET", "/echo/shop;other")[1]["name"] == ask("GET", "/echo/shop%3Bother")[1]["name"] == "shop%3Bother"
    assert ask("GET", "/echo/a?x=1;2")[1]["query"] == {"x": ["1;2"]}


def test_a_body_may_come_in_chunks(ask: Ask) -> None:
    assert ask("POST", "/echo/a", iter([b"one ", b"two"]))[1]["body"] == "one two"


def test_a_body_that_is_too_large_is_refused(ask: Ask) -> None:
    assert ask("POST", "/echo/a", Content_Length=str(11 * 1024 * 1024)) == (413, {"message": "Request Too Long"})


def test_what_is_no_http_is_answered_in_json(stand_ins: StandIns) -> None:
    address = urlsplit(stand_ins.stack.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(b"this is no http\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))

    assert b" 400 " in answer.split(b"\r\n")[0] or answer.startswith(b"{")
    assert b'"message"' in answer


def test_a_hundred_requests_may_wait_at_once(
    connect: Connect, ask: Ask, release: threading.Event, waiting: list[int]
) -> None:
    connections = [connect() for _ in range(100)]
    for connection in connections:
        connection.request("GET", "/wait")
    eventually(lambda: len(waiting) == 100)

    assert ask("GET", "/echo/meanwhile")[0] == 200

    release.set()
    assert [json.loads(connection.getresponse().read()) for connection in connections] == [{"waited": True}] * 100


def test_a_client_that_disconnects_disturbs_no_other(
    connect: Connect,
    ask: Ask,
    release: threading.Event,
    waiting: list[int],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    impatient = connect()
    impatient.request("GET", "/wait")
    eventually(lambda: waiting)
    assert impatient.sock is not None
    impatient.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    impatient.close()
    half = connect()
    half.putrequest("POST", "/echo/a")
    half.putheader("Content-Length", "100")
    half.endheaders(b"only half")
    half.close()
    release.set()

    assert ask("GET", "/echo/a")[0] == 200
    assert caplog.records == []
    assert capfd.readouterr().err == ""
