"""What may stand between a client and a server: it carries bytes, cuts connections, and may refuse sockets."""

import contextlib
import socket
import threading
from typing import Self
from urllib.parse import urlsplit

FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Between:
    """A proxy at a free port of this machine, from ``with`` to its end."""

    def __init__(self, url: str) -> None:
        there = urlsplit(url)
        self._there = there.hostname or "", there.port or 80
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        #: What sockets are answered; ``None`` lets them through.
        self.refusal: bytes | None = None
        #: Targets of requests, as far as they begin a connection, and of all attempts to open a socket.
        self.upgrades: list[str] = []
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # Without it `accept` goes on to wait for a connection.
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Cut all sockets that are open."""
        with self._lock:
            found, self._sockets = self._sockets, []
        for each in found:
            _close(each)

    @property
    def is_followed(self) -> bool:
        """Whether a socket is open."""
        return bool(self._sockets)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, _ = self._server.accept()
                threading.Thread(target=self._carry, args=(ours,), daemon=True).start()

    def _carry(self, ours: socket.socket) -> None:
        first = b""
        with contextlib.suppress(OSError):
            while b"\r\n\r\n" not in first and (part := ours.recv(65_536)):
                first += part
        is_socket = b"upgrade: websocket" in first.lower()
        if is_socket:
            self.upgrades.append(first.split(b" ")[1].decode())
        if not first or (is_socket and self.refusal is not None):
            with contextlib.suppress(OSError):
                ours.sendall(self.refusal or b"")
            _close(ours)
            return
        theirs = socket.create_connection(self._there)
        theirs.sendall(first)
        if is_socket:
            with self._lock:
                self._sockets += [ours, theirs]
        back = threading.Thread(target=_pump, args=(theirs, ours), daemon=True)
        back.start()
        _pump(ours, theirs)
        back.join()
        with self._lock:
            self._sockets = [each for each in self._sockets if each not in (ours, theirs)]


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(65_536):
            target.sendall(part)
    _close(source)
    _close(target)


def _close(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
