"""The ASGI application: hands requests to threads, and sockets to their handlers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

from chalice.local import RouteMatcher

from chalicelib.models.endpoint import PREFIX
from infra.local.api_gateway.answer import Answer
from infra.local.api_gateway.hosts import is_served
from infra.local.api_gateway.models import ModelsUrl
from infra.local.api_gateway.rest import Request, RestApi, stopping
from infra.local.waiting import Client

#: The largest body that API Gateway takes, in bytes (quota "Payload size").
LARGEST_BODY = 10 * 1024 * 1024

_OF_MODELS = PREFIX.encode()

#: How long a body may pause on its way, in s.
BODY_PAUSE_S = 120.0

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

#: An ASGI application for scopes of type ``websocket``; ``scope["path_params"]`` has the parts of the path by name.
SocketHandler = Callable[[Scope, Receive, Send], Awaitable[None]]


#: ASGI's events of an answer, by what was asked for.
_ANSWERED_BY = {"http": "http.response", "websocket": "websocket.http.response"}


class _ClientGone(Exception):
    """The client went away in the middle of its request."""


class _Refused(Exception):
    """The body is not taken."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Application:
    """What uvicorn calls for each request and each socket."""

    def __init__(
        self,
        api: RestApi,
        sockets: Mapping[str, SocketHandler],
        models: ModelsUrl | None = None,
        *,
        bound: str,
        threads: int,
    ) -> None:
        self._api = api
        self._models = models
        self._bound = bound
        self._sockets = sockets
        self._matcher = RouteMatcher(list(sockets))
        # Threads are made as they are needed: as many as requests have been answered at the same time.
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="request")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one socket."""
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), None)
        if not is_served(host, self._bound):
            if scope["type"] == "websocket":
                await receive()
            await _send(send, _ANSWERED_BY[scope["type"]], _misdirected(host))
            return
        if scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send)
            return
        if self._models is not None and scope["raw_path"].startswith(_OF_MODELS):
            await self._models(scope, receive, send, self._threads)
            return
        try:
            body = await _read_body(scope, receive)
        except _ClientGone:
            return
        except _Refused as refused:
            await _send(send, _ANSWERED_BY["http"], refused.answer)
            return
        client = Client()
        leaving = asyncio.create_task(_note_leaving(receive, client))
        try:
            await _send(send, _ANSWERED_BY["http"], await self._ask(scope, body, client))
        finally:
            leaving.cancel()

    def close(self) -> None:
        """Let the threads end; those that still work are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            match = self._matcher.match_route(_target(scope))
        except ValueError:
            # An upgrade is an offer that a server may ignore (RFC 9110, section 7.8).
            await receive()
            await _send(send, _ANSWERED_BY["websocket"], await self._ask(scope, None))
            return
        await self._sockets[match.route]({**scope, "path_params": match.captured}, receive, send)

    async def _ask(self, scope: Scope, body: bytes | None, client: Client | None = None) -> Answer:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        request = Request(scope.get("method", "GET"), _target(scope), headers, body or None)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, request, client)
        except asyncio.CancelledError:
            # uvicorn has waited long enough for this request.
            return stopping()

    def _answer(self, request: Request, client: Client | None) -> Answer:
        with client.asking() if client else nullcontext():
            return self._api(request)


def _misdirected(host: str | None) -> Answer:
    """Return the answer to a request for another host (RFC 9110, 15.5.20)."""
    said = f"The Host is {(host or '')[:100]!r}: this is localhost, for requests to localhost."
    return Answer.message(421, said, {"Connection": "close"})


def _target(scope: Scope) -> str:
    """Return path and query as they were sent; two slashes at the beginning would stand for a host."""
    path, query = scope["raw_path"].decode("ascii"), scope["query_string"].decode("ascii")
    path = "/" + path.lstrip("/") if path.startswith("//") else path
    return f"{path}?{query}" if query else path


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    """Return the body; a client that asks before sending it (``Expect: 100-continue``) gets its 100 when this reads."""
    length = next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0)
    pieces: list[bytes] = []
    size = 0
    more = True
    while more:
        if max(size, length) > LARGEST_BODY:
            raise _Refused(Answer.message(413, "Request Too Long", {"Connection": "close"}))
        try:
            async with asyncio.timeout(BODY_PAUSE_S):
                event = await receive()
        except TimeoutError:
            raise _Refused(Answer.message(408, "Request Timeout", {"Connection": "close"})) from None
        if event["type"] == "http.disconnect":
            raise _ClientGone
        pieces.append(event["body"])
        size += len(event["body"])
        more = event["more_body"]
    return b"".join(pieces)


async def _note_leaving(receive: Receive, client: Client) -> None:
    """Wait until the connection of a request whose body was read is closed."""
    while (await receive())["type"] != "http.disconnect":
        pass
    client.leave()


async def _send(send: Send, kind: str, answer: Answer) -> None:
    await send({"type": f"{kind}.start", "status": answer.status, "headers": answer.raw_headers()})
    await send({"type": f"{kind}.body", "body": answer.content})
