"""WebSockets: connections of clients, which the app's handlers accept or refuse, and which reactions push to."""

import asyncio
import base64
import json
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl

from chalicelib.aws.connections import Frames
from infra.local.api_gateway.application import Receive, Scope, Send

Event = dict[str, Any]

#: Calls the function of the route ``$connect`` with an event and returns its answer.
Invoke = Callable[[Event], Any]

#: Frames and bytes of text that wait for a client that reads slowly; more, and it is cut off.
MOST_WAITING = 4_096
MOST_WAITING_BYTES = 64 * 1024 * 1024

#: Why a connection is closed (RFC 6455, section 7.4.1): all is said; the client is too slow, and may come back.
_DONE, _TOO_SLOW = 1000, 1013


class _Connection:
    """One client; but for `put` and `end`, all in the thread of the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._frames: deque[str] = deque()
        self._bytes = 0
        self._code: int | None = None
        self._waiting = False
        self.changed = asyncio.Event()

    def put(self, frames: Sequence[str]) -> bool:
        """Take frames; ``False`` when the client is gone or too slow for them."""
        with self._lock:
            if self._code is not None:
                return False
            self._frames.extend(frames)
            self._bytes += sum(map(len, frames))
            if len(self._frames) > MOST_WAITING or self._bytes > MOST_WAITING_BYTES:
                self._frames.clear()
                self._code = _TOO_SLOW
            self._wake()
            return self._code is None

    def end(self, code: int) -> None:
        """Close the connection once what waits has been sent."""
        with self._lock:
            if self._code is None:
                self._code = code
                self._wake()

    def _wake(self) -> None:
        if not self._waiting and not self._loop.is_closed():
            self._waiting = True
            self._loop.call_soon_threadsafe(self.changed.set)

    def take(self) -> tuple[list[str], int | None]:
        """Return what is to be sent now, and with which code the connection is to be closed then."""
        with self._lock:
            self.changed.clear()
            self._waiting = False
            frames = list(self._frames)
            self._frames.clear()
            self._bytes = 0
            return frames, self._code


class Sockets:
    """All connections of a stack (``chalicelib.aws.connections.Connections``), and the handler that makes them."""

    #: A frame may be as large as any event.
    largest_frame = MOST_WAITING_BYTES

    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke
        self._connections: dict[str, _Connection] = {}
        # Few: each is busy only while a connection is made.
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="socket")

    def push(self, frames: Frames) -> set[str]:
        """Push frames to connections, by their ids; return those that take no more."""
        lost = set()
        for connection_id, wanted in frames.items():
            connection = self._connections.get(connection_id)
            if connection is None or not connection.put(wanted):
                lost.add(connection_id)
        return lost

    def __contains__(self, connection_id: str) -> bool:
        return connection_id in self._connections

    def close(self, connection_ids: Iterable[str]) -> None:
        """Close connections."""
        for connection_id in connection_ids:
            if connection := self._connections.get(connection_id):
                connection.end(_DONE)

    def stop(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def serve(
        self, scope: Scope, receive: Receive, send: Send, *, connected: Callable[[str], None] | None = None
    ) -> None:
        """Serve one client: ask the app whether to accept it, then send it what is pushed, until either side ends.

        ``connected`` is told of the connection, by its id, once it is made.
        """
        await receive()
        loop = asyncio.get_running_loop()
        connection_id, connection = base64.b64encode(secrets.token_bytes(11)).decode(), _Connection(loop)
        self._connections[connection_id] = connection  # what is pushed before it is accepted waits
        try:
            answer = await loop.run_in_executor(self._threads, self._connect, connection_id, scope)
            if answer["statusCode"] != 200:
                await _refuse(send, answer)
                return
            await send({"type": "websocket.accept"})
            if connected is not None:
                connected(connection_id)
            await _converse(connection, receive, send)
        finally:
            connection.end(_DONE)
            del self._connections[connection_id]

    def _connect(self, connection_id: str, scope: Scope) -> Any:
        return self._invoke(connecting(connection_id, scope))


def connecting(connection_id: str, scope: Scope) -> Event:
    """Return API Gateway's event of a connection that is to be made (API Gateway guide, "WebSocket APIs")."""
    query = dict(parse_qsl(scope["query_string"].decode("ascii"), keep_blank_values=True))
    return {
        "headers": {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        "queryStringParameters": {**query, "path": scope["raw_path"].decode("ascii")},
        "requestContext": {
            "routeKey": "$connect",
            "eventType": "CONNECT",
            "connectionId": connection_id,
            "apiId": "local",
            "domainName": "localhost",
            "stage": "local",
        },
        "isBase64Encoded": False,
    }


async def _converse(connection: _Connection, receive: Receive, send: Send) -> None:
    gone = asyncio.ensure_future(_until_gone(receive))
    try:
        while True:
            changed = asyncio.ensure_future(connection.changed.wait())
            await asyncio.wait({gone, changed}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                changed.cancel()
                return
            frames, code = connection.take()
            for frame in frames:
                await send({"type": "websocket.send", "text": frame})
            if code is not None:
                await send({"type": "websocket.close", "code": code})
                return
    finally:
        gone.cancel()


async def _until_gone(receive: Receive) -> None:
    """Read what the client sends, and ignore it, until it is gone."""
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def _refuse(send: Send, answer: Mapping[str, Any]) -> None:
    body = answer.get("body") or ""
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "websocket.http.response.start", "status": answer["statusCode"], "headers": headers})
    await send({"type": "websocket.http.response.body", "body": content})
