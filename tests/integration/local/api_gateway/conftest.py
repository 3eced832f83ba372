"""An app that waits, fails and repeats what it was asked, behind the gateway."""

import contextlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from chalice.app import Chalice, Response

from tests.integration.local.conftest import StandIns

#: What no text can hold.
PICTURE = bytes(range(256))

Connect = Callable[[], http.client.HTTPConnection]

#: Takes a method, a path, a body and headers; returns the status and the JSON of the answer.
Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def waiting() -> list[int]:
    return []


@pytest.fixture
def app(release: threading.Event, waiting: list[int]) -> Chalice:
    app = Chalice(app_name="atoll")

    @app.route("/echo/{name}", methods=["GET", "POST"])
    def echo(name: str) -> dict[str, Any]:
        request = app.current_request
        assert request is not None
        query, body = request.query_params, request.raw_body
        return {
            "name": name,
            "query": {key: query.getlist(key) for key in query} if query else None,
            "body": body.decode() if isinstance(body, bytes) and body else None,
            "header": request.headers.get("x-header"),
        }

    @app.route("/wait")
    def wait() -> dict[str, Any]:
        waiting.append(1)
        release.wait(30)
        return {"waited": True}

    @app.route("/crash")
    def crash() -> None:
        raise ValueError("no")

    @app.route("/text")
    def text() -> Response:
        return Response("plain", status_code=201, headers={"Content-Type": "text/plain", "X-Mine": "yes"})

    @app.route("/picture")
    def picture() -> Response:
        return Response(PICTURE, headers={"Content-Type": "image/png", "Set-Cookie": ["a=1", "b=2"]})

    return app


@pytest.fixture
def connect(stand_ins: StandIns) -> Iterator[Connect]:
    host = urlsplit(stand_ins.stack.url).netloc
    with contextlib.ExitStack() as opened:
        yield lambda: opened.enter_context(contextlib.closing(http.client.HTTPConnection(host, timeout=30)))


@pytest.fixture
def ask(connect: Connect) -> Ask:
    connection = connect()

    def ask(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    return ask
