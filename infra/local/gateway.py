"""API Gateway: serves the Chalice app over HTTP/1.1, one thread a connection, through Chalice's own local gateway."""

import base64
import contextlib
import json
import logging
import socket
import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

from chalice import Chalice
from chalice.config import Config
from chalice.local import LocalChalice, LocalGateway, LocalGatewayException, RouteMatcher

from infra.local.dynamodb import keys as api_keys_endpoint
from infra.local.waiting import Stopped

log = logging.getLogger(__name__)

#: The largest body that API Gateway takes (quota "Payload size").
LARGEST_BODY = 10 * 1024 * 1024

#: Connections that nobody has accepted yet.
BACKLOG = 1024

#: How long a kept connection may be silent, in s.
IDLE_S = 120

#: How long requests may take to end when the server stops, in s.
FAREWELL_S = 2.0


def threaded(app: Chalice) -> Chalice:
    """Give each thread its own ``current_request``, as Chalice's own development server does."""
    if not isinstance(app, LocalChalice):
        app.__class__ = type("ThreadedChalice", (LocalChalice, app.__class__), {})
    return app


class BadRequest(Exception):
    """The request is no proper HTTP; the message says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Gateway:
    """The HTTP server of one stack."""

    def __init__(self, host: str, port: int) -> None:
        self._server = _Server((host, port))
        self.host = host
        self.port: int = self._server.server_address[1]
        self._thread: threading.Thread | None = None

    def serve(self, app: Chalice, keys: api_keys_endpoint.Endpoint | None = None) -> None:
        """Begin to answer; connections made before have waited for this. ``keys`` is where API keys are managed."""
        self._server.keys = keys
        config = Config.create(chalice_app=app, lambda_timeout=900, lambda_memory_size=512)
        self._server.routes = threaded(app).routes
        self._server.matcher = RouteMatcher(list(app.routes))
        self._server.gateway = LocalGateway(app, config)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="gateway", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Take no more connections, and close those that are open once their requests have ended."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.end_connections()
        self._server.server_close()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Accepts connections."""

    allow_reuse_address = True
    request_queue_size = BACKLOG
    daemon_threads = True
    block_on_close = False
    gateway: LocalGateway
    keys: api_keys_endpoint.Endpoint | None
    matcher: RouteMatcher
    routes: dict[str, dict[str, Any]]

    def __init__(self, address: tuple[str, int]) -> None:
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        super().__init__(address, _Handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, and know of it as long."""
        with self._lock:
            self._connections[request] = threading.current_thread()
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._connections.pop(request, None)

    def end_connections(self) -> None:
        """Close every connection and wait for its thread."""
        with self._lock:
            connections = list(self._connections.items())
        for connection, _ in connections:
            # Only the way in: an answer that is on its way out may still go.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        for _, thread in connections:
            thread.join(FAREWELL_S)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error of ours."""
        import sys

        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            log.exception("a connection failed")


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "Atoll"
    sys_version = ""
    timeout = IDLE_S
    disable_nagle_algorithm = True
    # An answer leaves in one write.
    wbufsize = -1
    server: _Server

    def _answer(self) -> None:
        try:
            body = self._read_body()
        except BadRequest as error:
            self.close_connection = True
            self._send(error.status, {}, _message(str(error)))
            return
        try:
            status, headers, content = self._ask(body)
        except Stopped:
            self.close_connection = True
            status, headers, content = 503, {"Retry-After": "1"}, _message("Atoll is stopping.")
        except Exception:
            log.exception("%s %s failed", self.command, self.path)
            status, headers, content = 500, {}, _message("Internal server error")
        self._send(status, headers, content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = do_OPTIONS = _answer

    def __getattr__(self, name: str) -> Any:
        # Of any other method, existing or not, the routes say that it is not allowed.
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _ask(self, body: bytes | None) -> tuple[int, dict[str, Any], bytes]:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.server.keys is not None and api_keys_endpoint.is_meant(headers):
            status, content = self.server.keys(headers, body or b"")
            return status, {"Content-Type": "application/x-amz-json-1.0"}, content
        # API Gateway answers both with 403 "Missing Authentication Token", which is of no use to a person.
        try:
            methods = self.server.routes[self.server.matcher.match_route(self.path).route]
        except ValueError:
            return 404, {}, _message(f"There is nothing at {self.path.split('?')[0]}.")
        if self.command not in methods and self.command != "OPTIONS":
            return 405, {"Allow": ", ".join(methods)}, _message(f"{self.command} is not allowed here.")
        try:
            answer = self.server.gateway.handle_request(method=self.command, path=self.path, headers=headers, body=body)
        except LocalGatewayException as error:
            return error.CODE, dict(error.headers), error.body or b""
        content = answer.get("body") or b""
        if answer.get("isBase64Encoded"):
            content = base64.b64decode(content)
        elif isinstance(content, str):
            content = content.encode()
        return answer["statusCode"], {**answer["headers"], **answer["multiValueHeaders"]}, content

    def _read_body(self) -> bytes | None:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._read_chunks()
        try:
            length = int(self.headers.get("Content-Length", "0"))
        except ValueError:
            length = -1
        if length < 0:
            raise BadRequest(400, "Content-Length is no length.")
        if length > LARGEST_BODY:
            raise BadRequest(413, "Request Too Long")
        body = self.rfile.read(length) if length else None
        if body is not None and len(body) < length:
            raise ConnectionAbortedError("the client went away in the middle of its request")
        return body

    def _read_chunks(self) -> bytes:
        body = b""
        while True:
            try:
                size = int(self.rfile.readline(1024).split(b";")[0], 16)
            except ValueError:
                raise BadRequest(400, "A chunk has no size.") from None
            if size < 0 or len(body) + size > LARGEST_BODY:
                raise BadRequest(413, "Request Too Long")
            if size == 0:
                while self.rfile.readline(8192).strip():
                    pass
                return body
            body += self.rfile.read(size)
            self.rfile.readline(8)

    def _send(self, status: int, headers: dict[str, Any], content: bytes) -> None:
        self.send_response(status)
        names = {name.lower() for name in headers}
        if "content-type" not in names:
            self.send_header("Content-Type", "application/json")
        for name, value in headers.items():
            if name.lower() != "content-length":
                for one in value if isinstance(value, list) else [value]:
                    self.send_header(name, one)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no HTTP request, in JSON as everything else."""
        self.close_connection = True
        if not hasattr(self, "command"):
            self.command = ""
        self._send(code, {}, _message(message or explain or "Bad Request"))

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a line for each request would drown the agents."""


def _message(text: str) -> bytes:
    return json.dumps({"message": text}).encode()
