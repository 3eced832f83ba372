"""Servers of tools that a prototype names: MCP over Streamable HTTP, or over SSE as it was before that.

Only what a prototype needs of the protocol is spoken: the handshake, the list of tools, and calls. The protocol's own
client has 18 packages with it, a web server among them, and takes 0.5 s to be loaded; and its connections would not be
those of `OutgoingHttp`, which goes to no address that must not be called. A connection lasts for a turn at most.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from chalicelib.agents.prototype.history import Json
from chalicelib.aws.http import AddressRefused, CallFailed, Incoming

if TYPE_CHECKING:
    from chalicelib.aws.http import OutgoingHttp
    from chalicelib.clock import Clock

#: The newest revision of the protocol whose handshake all servers know, and how many bytes an answer may have.
_VERSION = "2025-06-18"
_ANSWER_BYTES = 1_000_000
#: How long (s) the handshake or a page of the list may take, and the end of a session.
_SHORT_S = 15.0
_END_S = 1.0
#: How many pages a list of tools may have.
_MOST_PAGES = 10

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


class ServerFailed(Exception):
    """A server of tools did not do what was asked; the message has neither its URL nor a credential."""


class Connection(ABC):
    """A connection to one server."""

    def __init__(self, http: "OutgoingHttp", url: str, headers: Mapping[str, str], left_s: Callable[[], float]) -> None:
        """
        Parameters
        ----------
        left_s
            How long (s) all may still take.
        """
        self._http = http
        self._left_s = left_s
        self._url = url
        self._headers = {**_HEADERS, **headers}
        self._last_id = 0

    def initialize(self) -> None:
        """Shake hands."""
        info = {"name": "atoll", "version": "1"}
        asked = {"protocolVersion": _VERSION, "capabilities": {}, "clientInfo": info}
        answer = self._request("initialize", asked, _SHORT_S)
        self._headers["MCP-Protocol-Version"] = str(answer.get("protocolVersion", _VERSION))[:32]
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"}, None, _SHORT_S)

    def tools(self) -> list[Json]:
        """Return all tools, as the server describes them."""
        found: list[Json] = []
        cursor: object = None
        for _ in range(_MOST_PAGES):
            page = self._request("tools/list", {"cursor": cursor} if cursor else {}, _SHORT_S)
            listed = page.get("tools")
            found += [tool for tool in listed if isinstance(tool, dict)] if isinstance(listed, list) else []
            cursor = page.get("nextCursor")
            if not cursor:
                return found
        raise ServerFailed(f"it lists its tools on more than {_MOST_PAGES} pages")

    def call(self, name: str, arguments: Json, timeout_s: float) -> tuple[str, bool]:
        """Call a tool; return what it says, and whether that is a failure."""
        result = self._request("tools/call", {"name": name, "arguments": arguments}, timeout_s)
        content = result.get("content")
        texts = [_text_of(part) for part in content] if isinstance(content, list) else []
        if not texts and "structuredContent" in result:
            texts = [json.dumps(result["structuredContent"], ensure_ascii=False)]
        return "\n".join(texts), bool(result.get("isError"))

    def _request(self, method: str, params: Json, timeout_s: float) -> Json:
        self._last_id += 1
        message = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}
        answer = self._send(message, self._last_id, timeout_s)
        if answer is None:
            raise ServerFailed(f"it gave no answer to {method}")
        error = answer.get("error")
        if isinstance(error, dict):
            raise ServerFailed(f"{method}: {str(error.get('message'))[:300]}")
        result = answer.get("result")
        if not isinstance(result, dict):
            raise ServerFailed(f"its answer to {method} has no result")
        return result

    @abstractmethod
    def _send(self, message: Json, wanted: int | None, timeout_s: float) -> Json | None:
        """Send a message and return the answer to the request ``wanted``; raise `ServerFailed`."""

    @abstractmethod
    def close(self) -> None:
        """End it; nothing that goes wrong with that is an error."""

    def _open(self, method: str, url: str, body: bytes | None, timeout_s: float) -> Incoming:
        timeout_s = max(0.1, min(timeout_s, self._left_s()))
        try:
            incoming = self._http.open(method, url, list(self._headers.items()), body, timeout_s=timeout_s)
        except AddressRefused as error:
            raise ServerFailed(f"it cannot be called: {error}") from None
        except CallFailed as error:
            raise ServerFailed(f"it did not answer: {error}") from None
        if not 200 <= incoming.status < 300:
            incoming.close()
            raise ServerFailed(f"it has answered {incoming.status}")
        return incoming


class StreamableHttp(Connection):
    """Over Streamable HTTP: each request is a POST, whose answer is JSON or a stream of events."""

    def _send(self, message: Json, wanted: int | None, timeout_s: float) -> Json | None:
        incoming = self._open("POST", self._url, json.dumps(message).encode(), timeout_s)
        try:
            if session := _header(incoming, "mcp-session-id"):
                self._headers["Mcp-Session-Id"] = session
            if wanted is None or incoming.status == HTTPStatus.ACCEPTED:
                return None
            if _header(incoming, "content-type").startswith("text/event-stream"):
                return _answer_in((data for _, data in _events(incoming)), wanted)
            return _answer_in([b"".join(incoming.pieces(_ANSWER_BYTES)).decode("utf-8", "replace")], wanted)
        except CallFailed as error:
            raise ServerFailed(f"it did not answer: {error}") from None
        finally:
            incoming.close()

    def close(self) -> None:
        """End the server's session, if it has one."""
        if "Mcp-Session-Id" not in self._headers:
            return
        with suppress(ServerFailed):  # it ends by itself
            self._open("DELETE", self._url, None, _END_S).close()


class Sse(Connection):
    """Over SSE: requests are POSTs, and all answers come by one stream."""

    def __init__(self, http: "OutgoingHttp", url: str, headers: Mapping[str, str], left_s: Callable[[], float]) -> None:
        """Open the stream; raise `ServerFailed`."""
        super().__init__(http, url, headers, left_s)
        self._stream = self._open("GET", url, None, left_s())
        self._events = _events(self._stream)
        try:
            kind, data = next(self._events)
        except (StopIteration, CallFailed):
            kind, data = "", ""
        self._endpoint = urljoin(url, data.strip())
        if kind != "endpoint" or urlsplit(self._endpoint)[:2] != urlsplit(url)[:2]:
            self.close()
            raise ServerFailed("its stream does not begin with an endpoint of its own")

    def _send(self, message: Json, wanted: int | None, timeout_s: float) -> Json | None:
        self._open("POST", self._endpoint, json.dumps(message).encode(), timeout_s).close()
        try:
            return None if wanted is None else _answer_in((data for _, data in self._events), wanted)
        except CallFailed as error:
            raise ServerFailed(f"it did not answer: {error}") from None

    def close(self) -> None:
        """End the stream."""
        self._stream.close()


class Connections:
    """The servers of one agent in one turn; a server is connected to when something of it is first needed."""

    def __init__(self, http: "OutgoingHttp", clock: "Clock", servers: Sequence[Json], until_ms: int) -> None:
        """
        Parameters
        ----------
        servers
            Each with ``type``, ``url``, and the ``headers`` that it asks for.
        """
        self._http, self._clock, self._servers, self._until_ms = http, clock, servers, until_ms
        self._open: dict[int, Connection] = {}

    def to(self, number: int) -> Connection:
        """Return the connection to a server; raise `ServerFailed`."""
        if number not in self._open:
            server = self._servers[number]
            kind = Sse if server["type"] == "mcp_sse" else StreamableHttp
            made: Connection = kind(self._http, server["url"], server["headers"], self._left_s)
            self._open[number] = made
            made.initialize()
        return self._open[number]

    def _left_s(self) -> float:
        return (self._until_ms - self._clock.now_ms()) / 1000

    def close(self) -> None:
        """End all."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()


def _events(incoming: Incoming) -> Iterator[tuple[str, str]]:
    """Yield the events of a stream: kind and data."""
    kind, data, held = "message", list[str](), b""
    for piece in incoming.pieces(_ANSWER_BYTES):
        *lines, held = (held + piece).split(b"\n")
        for raw in lines:
            line = raw.decode("utf-8", "replace").removesuffix("\r")
            name, _, value = line.partition(":")
            if not line:
                if data:
                    yield kind, "\n".join(data)
                kind, data = "message", []
            elif name == "event":
                kind = value.removeprefix(" ")
            elif name == "data":
                data.append(value.removeprefix(" "))


def _answer_in(texts: Iterator[str] | Sequence[str], wanted: int) -> Json | None:
    """Return the answer to a request among messages; what else a server says is read over."""
    for text in texts:
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            raise ServerFailed("what it says is no JSON") from None
        for message in said if isinstance(said, list) else [said]:
            if isinstance(message, dict) and message.get("id") == wanted and "method" not in message:
                return message
    return None


def _header(incoming: Incoming, name: str) -> str:
    return next((value for key, value in incoming.headers if key.lower() == name), "")


def _text_of(part: Any) -> str:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    return f"({part.get('type') if isinstance(part, dict) else 'something'} that is no text)"
