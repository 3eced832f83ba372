"""The Python client: what it sends, what it sends again, how it pages and follows; sync and async alike."""

import asyncio
import inspect
import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

import atoll
from atoll import AsyncClient, Client
from atoll.errors import AtollError, AtollWarning, Conflict, NotFound, Unavailable, Unreachable
from atoll.models import ThreadMessageSent, UnknownEvent
from atoll.sending import Place

MESSAGE = {
    "type": "thread_message_sent",
    "timestamp": "2026-11-22T18:22:15.199Z",
    "message": {
        "id": "m",
        "threadId": "t",
        "text": "hello",
        "senderName": "ann",
        "mentionNames": [],
        "timestamp": "2026-11-22T18:22:15.199Z",
    },
}
MADE = {"namespace": "n", "sessionId": "s"}

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]] | Exception


class Server:
    """Answers in turn, and keeps what was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, body, *headers = answer
        return httpx2.Response(status, json=body, headers=headers[0] if headers else None)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(_: float) -> None:
        return None

    monkeypatch.setattr("atoll.client.time.sleep", lambda _: None)
    monkeypatch.setattr("atoll.async_client.asyncio.sleep", at_once)


def sync(server: Server, use: Callable[[Any], Any]) -> Any:
    with Client("http://localhost:1", "k", transport=httpx2.MockTransport(server)) as client:
        found = use(client)
        return list(found) if inspect.isgenerator(found) else found


def asynchronous(server: Server, use: Callable[[Any], Any]) -> Any:
    async def go() -> Any:
        async with AsyncClient("http://localhost:1", "k", transport=httpx2.MockTransport(server)) as client:
            found = use(client)
            return [each async for each in found] if inspect.isasyncgen(found) else await found

    return asyncio.run(go())


both = pytest.mark.parametrize("run", [sync, asynchronous])
Run = Callable[[Server, Callable[[Any], Any]], Any]


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, Any]:
        return {
            name: [*inspect.signature(method).parameters.values()]
            for name, method in vars(kind).items()
            if not name.startswith("_") and callable(method)
        }

    assert methods(Client) == methods(AsyncClient)
    assert all(method.__doc__ for name, method in vars(Client).items() if not name.startswith("_"))


def test_everything_that_is_offered_is_there() -> None:
    assert all(getattr(atoll, name) for name in atoll.__all__)
    with pytest.raises(AttributeError):
        _ = atoll.no_such_name


@both
def test_a_session_is_created_once_however_often_it_is_sent(run: Run) -> None:
    server = Server((503, {"message": "busy"}, {"Retry-After": "1"}), httpx2.ReadError("lost"), (200, MADE))
    made = run(server, lambda client: client.create_session({"agentGraphRequest": {"agents": []}}))
    assert (made.namespace, made.session_id) == ("n", "s")
    keys = {request.headers["idempotency-key"] for request in server.requests}
    assert len(server.requests) == 3
    assert len(keys) == 1
    assert len(keys.pop()) == 36
    assert server.requests[0].headers["authorization"] == "Bearer k"


@both
def test_what_may_have_happened_and_is_not_harmless_is_not_sent_again(run: Run) -> None:
    say = {"thread_id": "t", "text": "x"}
    for outcome, error in (((503, {"message": "busy"}), Unavailable), (httpx2.ReadError("lost"), Unreachable)):
        server = Server(outcome, (200, {}))
        with pytest.raises(error):
            run(server, lambda client: client.send_message("n", "s", "ann", **say))
        assert len(server.requests) == 1
    server = Server((429, {"message": "rate"}), (200, {"status": "sent", "message": MESSAGE["message"]}))
    assert run(server, lambda client: client.send_message("n", "s", "ann", **say)).text == "hello"


@both
def test_tries_have_an_end(run: Run) -> None:
    server = Server(*[(503, {"message": "busy"})] * 9)
    with pytest.raises(Unavailable, match="busy"):
        run(server, lambda client: client.session("n", "s"))
    assert len(server.requests) == 4
    server = Server((429, {"message": "tomorrow"}, {"Retry-After": "3600"}))
    with pytest.raises(atoll.TooManyRequests):
        run(server, lambda client: client.session("n", "s"))


@both
def test_a_server_that_is_not_there_is_named_at_once(run: Run) -> None:
    server = Server(httpx2.ConnectError("refused"))
    with pytest.raises(Unreachable, match=r"http://localhost:1 does not answer: refused"):
        run(server, lambda client: client.session("n", "s"))


@both
def test_errors_say_what_the_server_says(run: Run) -> None:
    for status, kind in ((404, NotFound), (409, Conflict), (500, atoll.Refused)):
        with pytest.raises(kind, match="why"):
            run(Server((status, {"message": "why"})), lambda client: client.resend("n", "d"))
    with pytest.raises(AtollError, match="what is not understood"):
        run(Server((200, {"nothing": 1})), lambda client: client.session("n", "s"))


@both
def test_a_listing_goes_on_to_its_end(run: Run) -> None:
    first = [{"name": "a/b", "deleteOnLastSessionExit": True, "annotations": {}}]
    second = [{"name": "c", "deleteOnLastSessionExit": True, "annotations": {}}]
    server = Server((200, first, {"Next-Cursor": "x"}), (200, second))
    names = [each.name for each in run(server, lambda client: client.namespaces(annotations={"k": "v"}))]
    assert names == ["a/b", "c"]
    assert [request.url.params["annotations"] for request in server.requests] == ["k:v", "k:v"]
    assert server.requests[1].url.params["cursor"] == "x"


@both
def test_events_are_followed_beyond_the_end_without_a_gap(run: Run) -> None:
    later = {"type": "agent_danced", "timestamp": "2026-11-22T18:22:16.000Z", "style": "tango"}
    gone = (404, {"message": "gone"})
    server = Server(
        (200, [MESSAGE], {"Next-Cursor": "1"}),
        (200, [], {"Next-Cursor": "1"}),
        gone,
        (200, [later], {"Next-Cursor": "3"}),
        (200, [], {"Next-Cursor": "3"}),
    )
    pages = run(server, lambda client: client.follow("n/1", "s"))
    (sent,), (unknown,) = (page.entries for page in pages)
    assert isinstance(sent, ThreadMessageSent)
    assert isinstance(unknown, UnknownEvent)
    assert unknown.type == "agent_danced"
    assert [page.cursor for page in pages] == ["1", "3"]
    path = "/api/v1/local/namespace/n%2F1/history/s/events"
    assert [r.url.raw_path.decode().split("?")[0] for r in server.requests[3:]] == [path] * 2
    assert [r.url.params["after"] for r in server.requests] == ["0", "1", "1", "1", "3"]


@both
def test_following_what_never_was_is_an_error_and_a_session_without_history_just_ends(run: Run) -> None:
    gone = (404, {"message": "gone"})
    with pytest.raises(NotFound):
        run(Server(gone, gone), lambda client: client.follow("n", "s"))
    server = Server((200, [MESSAGE], {"Next-Cursor": "1"}), gone, gone)
    assert len(run(server, lambda client: client.follow("n", "s"))) == 1


@both
def test_a_delivery_is_signed_and_asked_for_again_when_the_answer_was_lost(run: Run) -> None:
    signed = {"deliveryId": "d/1", "headers": {"webhook-id": "d/1"}, "body": "é"}
    server = Server(httpx2.ReadError("lost"), (200, signed))
    found = run(server, lambda client: client.sign_delivery("n/1", "d/1"))
    assert (found.headers, found.body) == ({"webhook-id": "d/1"}, "é")
    path = "/api/v1/local/namespace/n%2F1/deliveries/d%2F1/sign"
    assert [(each.method, each.url.raw_path.decode()) for each in server.requests] == [("POST", path)] * 2


def test_a_warning_of_the_server_is_one() -> None:
    with pytest.warns(AtollWarning, match="no wallet"):
        sync(Server((200, MADE, {"Atoll-Warning": "no wallet"})), lambda client: client.create_session({}))


def test_where_a_server_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATOLL_URL", raising=False)
    monkeypatch.delenv("ATOLL_API_KEY", raising=False)
    assert Client().place == Place("http://localhost:5555", "dev")
    monkeypatch.setenv("ATOLL_URL", "https://api.example.com/prod/")
    with pytest.raises(AtollError, match="no API key"):
        Client()
    monkeypatch.setenv("ATOLL_API_KEY", "k")
    assert Client().place == Place("https://api.example.com/prod", "k")
    for url in ("ftp://host", "host:80", "http://", "http://["):
        with pytest.raises(AtollError, match="is not the URL of a server"):
            Client(url)


def test_tls_is_verified_however_a_url_is_written() -> None:
    for url in ("https://Host/Prod", "HTTPS://Host/Prod/"):
        place = Place.of(url, "k")
        assert (place.url, place.options(None)["verify"]) == ("https://Host/Prod", True)


def test_a_body_is_what_the_server_reads() -> None:
    server = Server((200, {"status": "sent", "message": MESSAGE["message"]}))
    sync(server, lambda client: client.send_message("n", "s", "ann", thread_id="t", text="x", mentions=("bob",)))
    assert json.loads(server.requests[0].content) == {"threadId": "t", "content": "x", "mentions": ["bob"]}
