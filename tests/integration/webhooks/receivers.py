"""Receivers of webhooks on this machine: real sockets, answers that a test sets."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"


@dataclass
class Receiver:
    """A receiver that answers from a script, and 200 when the script is over."""

    url: str
    #: Status, headers and body of each answer to come.
    script: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        """Append an answer to the script."""
        self.script.append((status, headers or {}, body))

    @property
    def port(self) -> int:
        return int(self.url.split(":")[2].split("/")[0])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    receiver: Receiver

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that hangs up is part of many tests."""


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        receiver = self.server.receiver  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        named = {name.lower(): value for name, value in self.headers.items()}
        receiver.received.append(Received(self.path, named, body, self.command))
        status, headers, answer = receiver.script.pop(0) if receiver.script else (200, {}, b"")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def receiving(wrap: Callable[[socket.socket], socket.socket] = lambda plain: plain) -> Iterator[Receiver]:
    """Run a receiver; ``wrap`` may put TLS around its socket."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.socket = wrap(server.socket)
    server.receiver = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.receiver
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def dripping(first: bytes, drop: bytes, *, every_s: float = 0.05) -> Iterator[int]:
    """Run a server that sends ``first`` to each client, then ``drop`` again and again; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def drip(caller: socket.socket) -> None:
        with caller:
            try:
                caller.sendall(first)
                while drop and not over.wait(every_s):
                    caller.sendall(drop)
                over.wait()
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=(caller,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
