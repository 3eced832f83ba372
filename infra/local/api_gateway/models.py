"""The function URL of the LLM proxy on one machine, at the port of everything else: here a stream is one."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from typing import Any

from chalicelib.models import endpoint
from chalicelib.models.calls import Reach
from chalicelib.models.forwarding import LONGEST_CALL_MS, ModelAnswer
from chalicelib.services import Services

log = logging.getLogger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

#: How long a body may pause on its way, in s.
BODY_PAUSE_S = 120.0
#: What is read of the body of a request that is refused without it: a client that is still sending sees no answer.
_DRAINED_BYTES = 64 * 1024 * 1024


class _ClientGone(Exception):
    """The client went away in the middle of its request."""


class ModelsUrl:
    """Answers requests below ``/llm-proxy/``; what may take long is done in threads."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send, threads: Executor) -> None:
        """Serve one request."""
        head = endpoint.Head(
            scope["method"],
            scope["raw_path"].decode("ascii"),
            scope["query_string"].decode("ascii"),
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
        )
        loop = asyncio.get_running_loop()
        try:
            admitted = await loop.run_in_executor(threads, endpoint.admit, self._services, head)
            if isinstance(admitted, ModelAnswer):
                await _read_body(receive, keep_bytes=0)
                await _send_head(send, admitted)
                await send({"type": "http.response.body", "body": admitted.body})
                return
            body = await _read_body(receive, keep_bytes=admitted.most_body_bytes + 1)
        except (_ClientGone, TimeoutError):
            return
        await _Answering(receive, send, loop, threads).run(admitted, body, self._reach())

    def _reach(self) -> Reach:
        return Reach(self._services.clock.now_ms() + LONGEST_CALL_MS)


class _Answering:
    """An answer on its way to a client, who may leave before it has ended."""

    def __init__(self, receive: Receive, send: Send, loop: asyncio.AbstractEventLoop, threads: Executor) -> None:
        self._receive = receive
        self._send = send
        self._loop = loop
        self._threads = threads
        self._is_gone = False

    async def run(self, admitted: endpoint.Admitted, body: bytes, reach: Reach) -> None:
        answer = await self._loop.run_in_executor(self._threads, admitted.answer, body, reach)
        leaving = asyncio.create_task(self._note_leaving(answer))
        try:
            await _send_head(self._send, answer)
            pieces = iter(answer)
            while (piece := await self._loop.run_in_executor(self._threads, _next, pieces)) is not None:
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            await self._send({"type": "http.response.body", "body": b""})
        finally:
            leaving.cancel()
            # The stack may be stopping, and its threads with it: what was used is noted all the same.
            answer.abort()
            answer.close()

    async def _note_leaving(self, answer: ModelAnswer) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        answer.abort()


def _next(pieces: Iterator[bytes]) -> bytes | None:
    return next(pieces, None)


async def _send_head(send: Send, answer: ModelAnswer) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    if not answer.streams:
        headers.append((b"Content-Length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": int(answer.status), "headers": headers})


async def _read_body(receive: Receive, *, keep_bytes: int) -> bytes:
    """Read a body to its end and return so many bytes of it; one without end is not read for ever."""
    kept: list[bytes] = []
    size, more = 0, True
    while more and size < max(_DRAINED_BYTES, keep_bytes):
        async with asyncio.timeout(BODY_PAUSE_S):
            event = await receive()
        if event["type"] == "http.disconnect":
            raise _ClientGone
        if size < keep_bytes:
            kept.append(event["body"][: keep_bytes - size])
        size += len(event["body"])
        more = event["more_body"]
    return b"".join(kept)
