"""Outgoing HTTP to URLs that callers named: one request to an address that was checked, within one deadline.

The check is on the address that is connected to, not on the name: a name is resolved once, its addresses are checked,
and the connection goes to one of those, while TLS and the ``Host`` header keep the name. The name is not
resolved a second time. Redirects are answers like any other, and no proxy is taken from the environment.
"""

import dataclasses
import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import quote

from chalicelib.wire.urls import UrlParts

#: Takes a host and a port and returns the numeric addresses of the host; raises ``OSError`` when it has no address.
Resolver = Callable[[str, int], Sequence[str]]

#: Global unicast, the only IPv6 space with public hosts (RFC 4291, section 2.4), and the prefix in which NAT64
#: wraps IPv4 addresses (RFC 6052).
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
#: What Python's ``is_global`` lets through, in some version of it: protocol assignments (a cloud's metadata service is
#: there), relays that end up at an IPv4 address of the caller's choice (6to4 and its anycast, Teredo), the retired
#: 6bone, documentation (IANA's special-purpose address registries).
_NO_HOSTS = [
    ip_network(text)
    for text in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3ffe::/16", "3fff::/20", "2001:db8::/32")
]

#: Characters of a URL's path and query that stay as they are (RFC 3986, with ``%`` for what is quoted already).
_URL_SAFE = "!$%&'()*+,/:;=?@[]~"


class AddressRefused(Exception):
    """Atoll does not call such a URL, or its host has an address that must not be called. Nothing was sent."""


class CallFailed(Exception):
    """No answer: the name did not resolve, or connecting, TLS, sending or receiving failed or took too long."""

    #: Whether the other side may have taken the request.
    was_sent = False


class TimedOut(CallFailed):
    """It took too long."""


class TooLong(CallFailed):
    """The answer has more bytes than are taken."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a receiver answered; header names in lower case, of a repeated one the last value."""

    status: int
    headers: Mapping[str, str]
    #: At most as many bytes as were asked for.
    body: bytes
    #: Whether the receiver had more to say.
    truncated: bool = False


def is_public(address: str) -> bool:
    """Return whether a numeric address belongs to a public host.

    Loopback, link-local (metadata services among them), private, shared, multicast, reserved and documentation
    addresses are not, in whichever way IPv6 wraps them.
    """
    ip = _unwrapped(ip_address(address))
    if isinstance(ip, IPv6Address) and ip not in _GLOBAL_UNICAST:
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not any(ip in net for net in _NO_HOSTS)


def _unwrapped(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped:
            return ip.ipv4_mapped
        if ip in _NAT64:
            return IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip


def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver for the addresses of a host, numeric spellings of every kind included."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class OutgoingHttp:
    """Calls URLs that callers named; nothing is shared between two calls.

    Parameters
    ----------
    allow_private
        Whether loopback and private addresses may be called, as on the local stack.
    resolver, tls
        Parts a test can replace: the resolver, and the TLS context with its trusted authorities.
    """

    def __init__(self, *, allow_private: bool, resolver: Resolver = resolve, tls: ssl.SSLContext | None = None) -> None:
        self._allow_private = allow_private
        self._resolver = resolver
        self._given_tls = tls

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or ssl.create_default_context()

    def post(
        self, url: str, body: bytes | memoryview, headers: Mapping[str, str], *, timeout_s: float, max_answer_bytes: int
    ) -> Answer:
        """POST a body and return the answer, whatever its status; parameters and errors are those of `call`."""
        return self.call("POST", url, body, headers, timeout_s=timeout_s, max_answer_bytes=max_answer_bytes)

    def call(
        self,
        method: str,
        url: str,
        body: bytes | memoryview | None,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        max_answer_bytes: int,
    ) -> Answer:
        """Make a request and return the answer, whatever its status.

        Parameters
        ----------
        method
            In capitals; it is sent as it is.
        timeout_s
            For everything together: resolving, connecting, TLS, sending, and receiving to the last byte.
        max_answer_bytes
            What is read of the answer's body; the rest is dropped.

        Raises
        ------
        AddressRefused
            Not ``http`` or ``https``, credentials in the URL, not a URL at all, or an address that must not be called.
        CallFailed
            No answer in time, or none at all.
        """
        incoming = self.open(method, url, list(headers.items()), body, timeout_s=timeout_s)
        try:
            return incoming.answer(max_answer_bytes)
        finally:
            incoming.close()

    def open(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | memoryview | None = None,
        *,
        timeout_s: float,
        silence_s: float | None = None,
    ) -> "Incoming":
        """Make a request and return the answer as it begins, whatever its status; its caller closes it.

        Parameters
        ----------
        timeout_s
            For everything together, from resolving to the last byte.
        silence_s
            For each pause: until a connection stands, until the answer begins, between two of its pieces.

        Raises
        ------
        AddressRefused
            As of `call`.
        CallFailed
            No answer; `TimedOut` when that took too long.
        """
        deadline = _Deadline(timeout_s, silence_s)
        parts = _parts_of(url)
        connection = _unconnected(parts, timeout_s)
        try:
            with deadline.translated():
                sock = self._connect(parts.port, self._addresses(parts, deadline), deadline)
                deadline.guard(sock)
                sock.settimeout(deadline.pause_s())
                connection.sock = sock
                if parts.scheme == "https":
                    connection.sock = self._tls.wrap_socket(sock, server_hostname=parts.host.rstrip("."))
                deadline.has_sent = True
                _send(connection, method, quote(parts.target, safe=_URL_SAFE), headers, body)
                return Incoming(connection, connection.getresponse(), deadline)
        except BaseException:
            deadline.stop()
            connection.close()
            raise

    def _addresses(self, url: UrlParts, deadline: "_Deadline") -> list[str]:
        """Resolve the host once; one forbidden address among several refuses them all."""
        addresses = list(dict.fromkeys(_in_time(lambda: self._resolver(url.host, url.port), deadline)))
        if not addresses:
            raise CallFailed("the host has no address")
        if not self._allow_private and not all(map(is_public, addresses)):
            # The address is not named: callers must not learn what a private resolver knows.
            raise AddressRefused("the host of the URL has an address that must not be called")
        return addresses

    def _connect(self, port: int, addresses: Sequence[str], deadline: "_Deadline") -> socket.socket:
        """Connect to the first address that accepts; each gets its share of the time that is left."""
        refusal: OSError = OSError("no address")
        for index, address in enumerate(addresses):
            share_s = deadline.pause_s() / (len(addresses) - index)
            try:
                return socket.create_connection((address, port), timeout=share_s)
            except OSError as error:
                refusal = error
        raise refusal


def _parts_of(url: str) -> UrlParts:
    try:
        return UrlParts.of(url)
    except ValueError as error:
        raise AddressRefused(str(error)) from error


def _unconnected(url: UrlParts, timeout_s: float) -> http.client.HTTPConnection:
    """Return a connection object without a socket, which the caller sets; its class decides the default port."""
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.host, url.port, timeout=timeout_s)
    connection.auto_open = 0  # a lost socket is an error, never a second connection past the check
    return connection


def _send(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: Sequence[tuple[str, str]],
    body: bytes | memoryview | None,
) -> None:
    # A receiver may answer (410, 413) and hang up before it has read everything: its answer counts.
    with suppress(BrokenPipeError, ConnectionResetError):
        try:
            connection.putrequest(method, path)
            for name, value in headers:
                connection.putheader(name, value)
            if body is not None or method in ("POST", "PUT", "PATCH"):
                connection.putheader("Content-Length", str(len(body or b"")))
            connection.endheaders(body)
        except ValueError as error:  # names of headers come from callers too; their values may be secret
            raise CallFailed("a header has a name or a value that HTTP does not allow") from error


#: Bytes that are read of an answer at once.
_PIECE_BYTES = 64 * 1024


class Incoming:
    """An answer that is still being received."""

    def __init__(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline: "_Deadline"
    ) -> None:
        self._connection = connection
        self._response = response
        self._deadline = deadline
        self.status = response.status
        #: Names as they were sent.
        self.headers: list[tuple[str, str]] = response.getheaders()

    def answer(self, most_bytes: int) -> Answer:
        """Read to the end, but at most so many bytes; raise `CallFailed`."""
        with self._deadline.translated():
            body = self._response.read(most_bytes + 1)
            if self._deadline.is_over():  # an answer that was cut off looks like one that is complete
                raise TimeoutError
        named = {name.lower(): value for name, value in self.headers}
        return Answer(self.status, named, body[:most_bytes], truncated=len(body) > most_bytes)

    def pieces(self, most_bytes: int) -> Iterator[bytes]:
        """Yield the body piece by piece, as it comes.

        Raises `CallFailed` when it ends before its end, `TimedOut`, and `TooLong` as soon as it has more bytes.
        """
        size = 0
        while piece := self._piece():
            size += len(piece)
            if size > most_bytes:
                raise TooLong(f"the answer has more than {most_bytes} bytes")
            yield piece

    def _piece(self) -> bytes:
        with self._deadline.translated():
            piece = self._response.read1(_PIECE_BYTES)
            if not piece:
                if self._deadline.is_over():
                    raise TimeoutError
                if self._deadline.is_shut or self._response.length:
                    raise ConnectionResetError("the answer ended before its end")
            return piece

    def abort(self) -> None:
        """End it from another thread: whoever reads fails."""
        self._deadline.shut()

    def close(self) -> None:
        """Close the connection, whatever is still to come."""
        self._deadline.stop()
        self._response.close()
        self._connection.close()


class _Deadline:
    """One deadline for a whole call.

    A socket's own timeout starts anew with every byte, so a slow receiver could keep it open for ever: when the time is
    over the socket is shut down, which ends whatever waits on it.
    """

    def __init__(self, timeout_s: float, silence_s: float | None = None) -> None:
        self._timeout_s = timeout_s
        self._silence_s = silence_s
        self._end_s = time.monotonic() + timeout_s
        self._lock = threading.Lock()
        #: Whether the socket was shut down, at the deadline or before.
        self.is_shut = False
        #: Whether something was sent.
        self.has_sent = False
        self._timer: threading.Timer | None = None
        self._twin: socket.socket | None = None

    def remaining_s(self) -> float:
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def pause_s(self) -> float:
        """Return how long nothing may come."""
        left_s = self.remaining_s()
        return left_s if self._silence_s is None else min(left_s, self._silence_s)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise `CallFailed` for what a socket raises, `TimedOut` for what took too long."""
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            failure = self._failure(error)
            failure.was_sent = self.has_sent
            raise failure from error

    def _failure(self, error: Exception) -> CallFailed:
        if self.is_over():
            return TimedOut(f"no complete answer within {self._timeout_s:g} s")
        if isinstance(error, TimeoutError) and self._silence_s is not None:
            return TimedOut(f"nothing came for {self._silence_s:g} s")
        return CallFailed(f"{type(error).__name__}: {error}"[:300])

    def is_over(self) -> bool:
        return time.monotonic() >= self._end_s

    def guard(self, sock: socket.socket) -> None:
        """Shut this socket down at the deadline: by a duplicate, since TLS takes the descriptor over."""
        self._twin = sock.dup()
        self._timer = threading.Timer(self.remaining_s(), self.shut)
        self._timer.daemon = True
        self._timer.start()

    def shut(self) -> None:
        with self._lock, suppress(OSError):
            if self._twin:
                self.is_shut = True
                self._twin.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer.join()
        with self._lock:
            if self._twin:
                self._twin.close()
                self._twin = None


def _in_time(call: Callable[[], Sequence[str]], deadline: _Deadline) -> Sequence[str]:
    """Return what a call returns, or leave it behind at the deadline: ``getaddrinfo`` knows no timeout."""
    outcomes: queue.SimpleQueue[Sequence[str] | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcomes.put(call())
        except (OSError, UnicodeError) as error:
            outcomes.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        outcome = outcomes.get(timeout=deadline.pause_s())
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(outcome, Exception):
        raise CallFailed("the host of the URL does not resolve") from outcome
    return outcome
