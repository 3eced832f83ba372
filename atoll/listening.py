"""Sockets on which a server says that there is something new: how both clients open them, and wait on them.

What is said there is not read: a page says what there is, in whole and with its cursor. All that depends on a socket is
how soon that page is asked for.
"""

import asyncio
import contextlib
import logging
from typing import Any
from urllib.parse import urlencode

from atoll.flows import Heard, Listen, Opened
from atoll.sending import Place
from atoll.version import VERSION

#: How long a socket may take to be opened, and to be closed, in s.
OPENING_S = 5.0
CLOSING_S = 1.0

#: A connection that answers no ping for so long, in s, is gone, though nobody has said so.
PING_S = 20.0

#: The largest frame that is taken, in bytes; a larger one ends the connection, and another is made.
LARGEST_FRAME_BYTES = 16 * 1024 * 1024

#: How many frames that wait are one reason to ask for a page.
MOST_AT_ONCE = 1_000

#: What websockets logs to: at the level of debugging it would log all headers, and the key is in one.
_logger = logging.getLogger(__name__)
_logger.setLevel(logging.CRITICAL)

#: Refusals that may be others a moment later, though they are the client's.
_FOR_NOW = (408, 429)


def _options(place: Place, listen: Listen) -> dict[str, Any]:
    query = f"?{urlencode(dict(listen.query))}" if listen.query else ""
    return {
        "uri": f"{place.url.replace('http', 'ws', 1)}{listen.path}{query}",
        # Not in the path, where the key may be, too: whoever stands between writes paths into a log.
        "additional_headers": {"Authorization": f"Bearer {place.key}"},
        "user_agent_header": f"atoll-python/{VERSION}",
        "logger": _logger,
        "compression": None,
        "open_timeout": OPENING_S,
        "close_timeout": CLOSING_S,
        "ping_interval": PING_S,
        "ping_timeout": PING_S,
        "max_size": LARGEST_FRAME_BYTES,
    }


def _faults() -> tuple[type[Exception], ...]:
    from websockets.exceptions import WebSocketException

    # A SOCKS proxy needs a package that may not be here; a redirect, or a proxy, may lead to what is no URL; and
    # websockets asserts that no server answers before it is asked.
    return OSError, WebSocketException, ImportError, ValueError, AssertionError


def _refusal(error: Exception) -> Opened:
    from websockets.exceptions import InvalidStatus

    status = error.response.status_code if isinstance(error, InvalidStatus) else 500
    return Opened.NEVER if status < 500 and status not in _FOR_NOW else Opened.NOT_NOW


class Socket:
    """One socket of a server; none without a place, where requests are carried by something else than the network."""

    def __init__(self, place: Place | None) -> None:
        self._place = place
        self._open = contextlib.ExitStack()
        self._connection: Any = None

    def open(self, listen: Listen) -> Opened:
        """Open it, in place of one before."""
        from websockets.sync.client import connect  # not at the top: few commands follow

        self.close()
        if self._place is None:
            return Opened.NEVER
        try:
            self._connection = self._open.enter_context(connect(**_options(self._place, listen)))
        except _faults() as error:
            return _refusal(error)
        return Opened.YES

    def hear(self, within_s: float) -> Heard:
        """Wait until something is said, at most so long."""
        from websockets.exceptions import ConnectionClosed

        heard = Heard.NOTHING
        try:
            for _ in range(MOST_AT_ONCE):
                self._connection.recv(within_s, decode=False)
                heard, within_s = Heard.SOMETHING, 0
        except TimeoutError:
            pass
        except ConnectionClosed:
            return Heard.END
        return heard

    def close(self) -> None:
        """Close it, if it is open."""
        if self._connection is not None:
            self._connection = None
            with contextlib.suppress(*_faults()):
                self._open.close()


class AsyncSocket:
    """`Socket` for asyncio."""

    def __init__(self, place: Place | None) -> None:
        self._place = place
        self._open = contextlib.AsyncExitStack()
        self._connection: Any = None

    async def open(self, listen: Listen) -> Opened:
        """Open it, in place of one before."""
        from websockets.asyncio.client import connect

        await self.close()
        if self._place is None:
            return Opened.NEVER
        try:
            self._connection = await self._open.enter_async_context(connect(**_options(self._place, listen)))
        except _faults() as error:
            return _refusal(error)
        return Opened.YES

    async def hear(self, within_s: float) -> Heard:
        """Wait until something is said, at most so long."""
        from websockets.exceptions import ConnectionClosed

        heard = Heard.NOTHING
        try:
            for _ in range(MOST_AT_ONCE):
                async with asyncio.timeout(within_s):
                    await self._connection.recv(decode=False)
                heard, within_s = Heard.SOMETHING, 0
        except TimeoutError:
            pass
        except ConnectionClosed:
            return Heard.END
        return heard

    async def close(self) -> None:
        """Close it, if it is open."""
        if self._connection is not None:
            self._connection = None
            with contextlib.suppress(*_faults()):
                await self._open.aclose()
