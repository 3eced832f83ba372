"""The limits of a connection that uvicorn does not know: how many there are, how large a head is, how long it takes."""

import asyncio
import resource

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from infra.local.api_gateway.answer import Answer

#: How many connections may be open at once; each may have one request that waits, so this bounds the threads too.
MOST_CONNECTIONS = 4096

#: Files that the process needs besides connections: agents' pipes, the tables on disk.
OTHER_FILES = 128

#: Files that the pipes of a thousand agents are, for which a limit is raised where it may be.
FILES_OF_AGENTS = 4_096

#: How long a kept connection may be silent before its next request, in s.
IDLE_S = 120

#: How long a request's line and headers may take from their first byte to their last, in s.
HEAD_S = 20.0

#: The largest request line with headers, in bytes. API Gateway takes 10 KB; clients of other servers may send more.
LARGEST_HEAD = 64 * 1024


def most_connections() -> int:
    """Return how many connections this process may have open, which its limit of open files may lower."""
    return min(MOST_CONNECTIONS, max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OTHER_FILES))


def allow_files() -> None:
    """Let this process have the files that it needs for all that it serves, as far as its hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + FILES_OF_AGENTS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))


class Connection(HttpToolsProtocol):
    """One connection; what is refused here is answered in JSON as everything else."""

    #: Heads and bodies that have ended.
    _ended = 0
    _in_body = False
    _head_size = 0
    _head_due_s: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request, unless there are too many connections already."""
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            self._refuse(Answer.message(503, "There are too many connections.", {"Retry-After": "1"}))
        else:
            self._expire_at(self.loop.time() + IDLE_S)

    def data_received(self, data: bytes) -> None:
        """Take what has come; a head that comes in pieces has to be whole in time, and while it is small enough."""
        ended = self._ended
        super().data_received(data)
        if self._in_body or self._ended != ended:
            self._head_size, self._head_due_s = 0, None
            return
        self._head_size += len(data)
        if self._head_size > LARGEST_HEAD:
            self._refuse(Answer.message(431, "Request Header Fields Too Large"))
        elif self._is_free() and not self.transport.is_closing():
            self._head_due_s = self._head_due_s or self.loop.time() + HEAD_S
            self._expire_at(self._head_due_s)

    def on_headers_complete(self) -> None:
        """Begin a request."""
        self._ended += 1
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request's body."""
        self._ended += 1
        self._in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(Answer.message(400, msg))

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was silent for too long, even if its client has not read all that it was sent."""
        self.transport.abort()

    def _is_free(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expire_at(self, due_s: float) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_at(due_s, self.timeout_keep_alive_handler)

    def _refuse(self, answer: Answer) -> None:
        # An answer that has begun cannot become another.
        if self._is_free() or not self.cycle.response_started:
            headers = [*self.server_state.default_headers, *answer.raw_headers(), (b"connection", b"close")]
            lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
            self.transport.write(STATUS_LINE[answer.status] + lines + b"\r\n" + answer.content)
        self.transport.close()
