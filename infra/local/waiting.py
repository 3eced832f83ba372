"""The pause between two polls of a waiting request: it ends when something is written to the session."""

import json
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

#: An event of a session's log, and what says whether a waiter cares for one.
Event = dict[str, Any]
Cares = Callable[[Event], bool]

#: Two polls of one waiter are at least so far apart, in s: a burst of writes is worth one poll, not one each.
SHORTEST_PAUSE_S = 0.02


class Stopped(BaseException):
    """The stack is stopping: ends requests that still wait, past every handler that catches ``Exception``."""


class ClientGone(Stopped):
    """Nobody waits for the answer any more."""


class Client:
    """Whoever waits for the answer to a request, and may go before it comes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watch: SessionWatch | None = None
        self.gone = False

    def leave(self) -> None:
        """End the pause of its request, and every further one."""
        with self._lock:
            self.gone, watch = True, self._watch
        if watch is not None:
            watch.wake()

    def pauses_at(self, watch: "SessionWatch") -> None:
        """Remember the watch of its request, the last one if it has several."""
        with self._lock:
            self._watch = watch

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Have the watches that this thread gets meanwhile be those of its request."""
        token = _CLIENT.set(self)
        try:
            yield
        finally:
            _CLIENT.reset(token)
            with self._lock:
                self._watch = None  # they hold each other


#: The client whose request a thread serves.
_CLIENT: ContextVar[Client | None] = ContextVar("client", default=None)


class SessionWatch:
    """The watch of one waiter on one session (``chalicelib.stores.Watch``)."""

    def __init__(self, cares: Cares | None, stopped: threading.Event) -> None:
        self._cares = cares
        self._stopped = stopped
        self._client = _CLIENT.get()
        if self._client is not None:
            self._client.pauses_at(self)
        self._condition = threading.Condition()
        self._count = 0
        self._seen = 0
        self._armed_s = 0.0

    def arm(self) -> None:
        """Say that a poll follows: what is written from here on ends the next ``wait``."""
        self._seen = self._count
        self._armed_s = time.monotonic()

    def changed(self, event: Event | None) -> None:
        """End the pause for an event of the log, or for any other write (``None``), if the waiter cares for it."""
        if self._cares is None or (event is not None and self._cares(event)):
            self.wake()

    def wake(self) -> None:
        """End the pause."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def wait(self, delay_s: float, remaining_s: float) -> None:
        """Pause until something was written since ``arm``, at most for ``remaining_s``; ``delay_s`` does not matter.

        Raises
        ------
        Stopped
            when the stack goes down, or the client has gone.
        """
        end_s = time.monotonic() + remaining_s
        with self._condition:
            self._condition.wait_for(
                lambda: self._count != self._seen or self._stopped.is_set() or self._is_left(),
                timeout=max(0.0, remaining_s),
            )
        if self._stopped.is_set():
            raise Stopped("the local stack is stopping")
        if self._is_left():
            raise ClientGone("the client has closed its connection")
        rest_s = min(self._armed_s + SHORTEST_PAUSE_S, end_s) - time.monotonic()
        if rest_s > 0:
            time.sleep(rest_s)

    def _is_left(self) -> bool:
        return self._client is not None and self._client.gone


class Watches:
    """All sessions that have waiters."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # A watch is here as long as its waiter holds it.
        self._watches: dict[str, weakref.WeakSet[SessionWatch]] = {}
        self._stopped = threading.Event()

    def __len__(self) -> int:
        with self._lock:
            self._forget()
            return len(self._watches)

    def of(self, session_id: str, cares: Cares | None = None) -> SessionWatch:
        """Return a new watch on a session: on all that is written to it, or on the events that its waiter cares for."""
        watch = SessionWatch(cares, self._stopped)
        with self._lock:
            self._forget()
            self._watches.setdefault(session_id, weakref.WeakSet()).add(watch)
        return watch

    def _forget(self) -> None:
        for session_id in [session_id for session_id, watches in self._watches.items() if not watches]:
            del self._watches[session_id]

    def changed(self, session_id: str, event: Event | None = None) -> None:
        """Wake the waiters of a session that care for what was written."""
        with self._lock:
            watches = list(self._watches.get(session_id, ()))
        for watch in watches:
            watch.changed(event)

    def stop(self) -> None:
        """Wake all waiters permanently."""
        self._stopped.set()
        with self._lock:
            everybody = [watch for watches in self._watches.values() for watch in watches]
        for watch in everybody:
            watch.wake()

    def follow(self, client: Any) -> None:
        """Watch what a DynamoDB client writes; it need not be moto that it writes to."""

        def remember(params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
            context["atoll_sessions"] = list(written_sessions(model.name, params))

        def wake(http_response: Any, context: dict[str, Any], **_: Any) -> None:
            if http_response.status_code < 300:
                for session_id, event in context.get("atoll_sessions", ()):
                    self.changed(session_id, event)

        client.meta.events.register("before-parameter-build.dynamodb", remember)
        client.meta.events.register("after-call.dynamodb", wake)


def written_sessions(operation: str, params: dict[str, Any]) -> Iterator[tuple[str, Event | None]]:
    """Yield the ids of the sessions whose record or items a DynamoDB call writes, with the event if it is one."""
    if operation == "PutItem":
        keys = [params["Item"]]
    elif operation in ("UpdateItem", "DeleteItem"):
        keys = [params["Key"]]
    elif operation == "BatchWriteItem":
        requests = [request for requests in params["RequestItems"].values() for request in requests]
        keys = [r["PutRequest"]["Item"] if "PutRequest" in r else r["DeleteRequest"]["Key"] for r in requests]
    elif operation == "TransactWriteItems":
        writes = [write for item in params["TransactItems"] for write in item.values()]
        keys = [write["Item"] if "Item" in write else write["Key"] for write in writes]
    else:
        return
    for key in keys:
        if "sessionId" in key:
            yield key["sessionId"]["S"], json.loads(key["event"]["S"]) if "event" in key else None
