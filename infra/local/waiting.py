"""The pause of whoever waits for a session: it ends when something is written to the session."""

import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

#: Two polls of one waiter are at least so far apart, in s: a burst of writes is worth one poll, not one each.
SHORTEST_PAUSE_S = 0.02


class Stopped(BaseException):
    """The stack is going down: whoever still waits is sent home, past every handler that catches ``Exception``."""


class _Changes:
    """The number of writes to one session, as far as somebody looks."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.count = 0

    def add(self) -> None:
        with self.condition:
            self.count += 1
            self.condition.notify_all()


class SessionWatch:
    """The watch of one waiter on one session (``chalicelib.deployment.Watch``)."""

    def __init__(self, changes: _Changes, stopped: threading.Event) -> None:
        self._changes = changes
        self._stopped = stopped
        self._seen = 0
        self._armed_s = 0.0

    def arm(self) -> None:
        """Say that a poll follows: what is written from here on ends the next ``wait``."""
        self._seen = self._changes.count
        self._armed_s = time.monotonic()

    def wait(self, delay_s: float, remaining_s: float) -> None:
        """Pause until something was written since ``arm``, at most for ``remaining_s``; ``delay_s`` does not matter.

        Raises
        ------
        Stopped
            when the stack goes down.
        """
        end_s = time.monotonic() + remaining_s
        with self._changes.condition:
            self._changes.condition.wait_for(
                lambda: self._changes.count != self._seen or self._stopped.is_set(), timeout=max(0.0, remaining_s)
            )
        if self._stopped.is_set():
            raise Stopped("the local stack is stopping")
        rest_s = min(self._armed_s + SHORTEST_PAUSE_S, end_s) - time.monotonic()
        if rest_s > 0:
            time.sleep(rest_s)


class Watches:
    """All sessions that somebody waits for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # An entry lives as long as a watch holds it.
        self._changes: weakref.WeakValueDictionary[str, _Changes] = weakref.WeakValueDictionary()
        self._stopped = threading.Event()

    def __len__(self) -> int:
        return len(self._changes)

    def of(self, session_id: str) -> SessionWatch:
        """Return a new watch on a session."""
        with self._lock:
            changes = self._changes.get(session_id)
            if changes is None:
                changes = self._changes[session_id] = _Changes()
            return SessionWatch(changes, self._stopped)

    def changed(self, session_id: str) -> None:
        """Wake whoever waits for a session."""
        with self._lock:
            changes = self._changes.get(session_id)
        if changes is not None:
            changes.add()

    def stop(self) -> None:
        """Wake everybody, for good."""
        self._stopped.set()
        with self._lock:
            everybody = list(self._changes.values())
        for changes in everybody:
            changes.add()

    def follow(self, client: Any) -> None:
        """Watch what a DynamoDB client writes; it need not be moto that it writes to."""

        def remember(params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
            context["atoll_sessions"] = set(written_sessions(model.name, params))

        def wake(http_response: Any, context: dict[str, Any], **_: Any) -> None:
            if http_response.status_code < 300:
                for session_id in context.get("atoll_sessions", ()):
                    self.changed(session_id)

        client.meta.events.register("before-parameter-build.dynamodb", remember)
        client.meta.events.register("after-call.dynamodb", wake)


def written_sessions(operation: str, params: dict[str, Any]) -> Iterator[str]:
    """Yield the ids of the sessions whose record or items a DynamoDB call writes."""
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
            yield key["sessionId"]["S"]
