"""The server of one stack: uvicorn in a thread of its own, on a port that is taken before anything is served."""

import logging
import socket
import threading
from collections.abc import Mapping

from chalice.app import Chalice
from uvicorn import Config, Server

from infra.local.api_gateway.application import Application, SocketHandler
from infra.local.api_gateway.connection import IDLE_S, Connection, most_connections
from infra.local.api_gateway.console_folder import ConsoleFolder
from infra.local.api_gateway.models import ModelsUrl
from infra.local.api_gateway.rest import RestApi
from infra.local.dynamodb import keys as api_keys_endpoint

#: Connections that are not accepted yet (the listen backlog).
BACKLOG = 1024

#: How long requests may take to end when the server stops, in s.
FAREWELL_S = 2

#: The largest message of a socket, in bytes (API Gateway's quota "WebSocket message payload size").
LARGEST_MESSAGE = 128 * 1024

#: How often a socket's client is pinged, and how long it may take to answer, in s: Coral's own times.
PING_S, PONG_S = 5.0, 15.0


class _Refusals(logging.Filter):
    """Leaves out what uvicorn says of a socket that was refused with an answer: that it was not."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.getMessage() != "ASGI callable returned without completing handshake."


logging.getLogger("uvicorn.error").addFilter(_Refusals())


class Gateway:
    """Takes a port when it is made, answers requests from ``serve`` to ``stop``.

    Raises
    ------
    OSError
        when the port is in use.
    """

    def __init__(self, host: str, port: int) -> None:
        self._socket = _listen(host, port)
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self._application: Application | None = None
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def serve(
        self,
        app: Chalice,
        keys: api_keys_endpoint.Endpoint | None = None,
        sockets: Mapping[str, SocketHandler] | None = None,
        console: ConsoleFolder | None = None,
        models: ModelsUrl | None = None,
    ) -> None:
        """Begin to answer; connections made before have waited for this.

        Parameters
        ----------
        app
            What answers requests.
        keys
            Where API keys are managed.
        sockets
            What serves WebSockets, by route, as in ``/events/{id}``. A request to upgrade to one elsewhere is answered
            by the app like any other.
        console
            What is served in the place of the app's console.
        models
            What serves the models of agents.
        """
        self._application = Application(
            RestApi(app, keys, console), sockets or {}, models, bound=self.host, threads=most_connections()
        )
        config = Config(
            self._application,
            loop="asyncio",
            http=Connection,
            ws="websockets-sansio" if sockets else "none",
            ws_max_size=LARGEST_MESSAGE,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PONG_S,
            ws_per_message_deflate=False,
            lifespan="off",
            interface="asgi3",
            # Only errors: a line for each request would drown the agents, and so would one for each broken client.
            log_config=None,
            log_level="error",
            access_log=False,
            headers=[("Server", "Atoll")],
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=FAREWELL_S,
        )
        self._server = Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="gateway", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more connections, and close those that are open once their requests have ended."""
        if self._server is not None and self._thread is not None and self._application is not None:
            self._server.should_exit = True
            self._thread.join(FAREWELL_S + 1)
            self._application.close()
        self._socket.close()


def _listen(host: str, port: int) -> socket.socket:
    # asyncio switches Nagle's algorithm off only where a socket names its protocol; `socket.create_server` does not.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
