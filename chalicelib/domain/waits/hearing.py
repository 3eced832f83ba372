"""What of a session's log concerns one waiting agent; nothing here asks a table."""

from typing import Any

from chalicelib.domain.errors import Conflict
from chalicelib.store.log import SESSION_CLOSING, WAIT_CANCELLED, Event, LogEntry
from chalicelib.store.threads import ThreadRecord
from chalicelib.wire.events import FromFilter, MentionsFilter
from chalicelib.wire.waits import PausedWait

Filter = FromFilter | MentionsFilter


class Hearing:
    """Judges entries of the log for one agent, and remembers which threads it hears."""

    def __init__(self, name: str, wait: PausedWait, since: int) -> None:
        self._name = name
        self._wait = wait
        #: The last position of the log from before the wait.
        self._since = since
        #: Threads that were read, and whether the agent takes part in them while they are open.
        self.known: dict[str, bool] = {}

    def cares(self, event: Event) -> bool:
        """Return whether an event may end the wait."""
        if event["type"] == "thread_message_sent":
            return self._passes(event["message"])
        if event["type"] in ("thread_participant_added", "runtime_stopped"):
            return bool(event["name"] == self._name)
        return event["type"] == SESSION_CLOSING or self._is_cancelled_by(event)

    def wants(self, entry: LogEntry, thread_id: str | None = None) -> bool:
        """Return whether an entry is a message by another agent that passes the filters, in this or in any thread."""
        message = entry.event["message"] if entry.event["type"] == "thread_message_sent" else {}
        return bool(message) and thread_id in (None, message["threadId"]) and self._passes(message)

    def adds_to(self, entry: LogEntry) -> str | None:
        """Return the thread to which an entry adds the agent."""
        event = entry.event
        added = event["type"] == "thread_participant_added" and event["name"] == self._name
        return str(event["threadId"]) if added else None

    def note(self, entry: LogEntry) -> None:
        """Forget what is known of a thread that an entry changes; raise `Conflict` for one that ends the wait."""
        event = entry.event
        if event["type"] == SESSION_CLOSING:
            raise Conflict("the session is closing")
        if event["type"] == "runtime_stopped" and event["name"] == self._name:
            raise Conflict(f"the agent {self._name!r} was stopped")
        if entry.position > self._since and self._is_cancelled_by(event):
            raise Conflict("the wait was cancelled by its client")
        if event["type"] in ("thread_closed", "thread_participant_removed", "thread_participant_added"):
            self.known.pop(event["threadId"], None)

    def learn(self, thread_id: str, thread: ThreadRecord | None) -> bool:
        """Note a thread as it was read, and return whether the agent hears it."""
        self.known[thread_id] = thread is not None and thread.state == "open" and self._name in thread.participants
        return self.known[thread_id]

    def _is_cancelled_by(self, event: Event) -> bool:
        mine = event["type"] == WAIT_CANCELLED and event["name"] == self._name
        return mine and self._wait.id.startswith(event["wait"])

    def _passes(self, message: dict[str, Any]) -> bool:
        return message["senderName"] != self._name and all(
            message["senderName"] == wanted.name
            if isinstance(wanted, FromFilter)
            else wanted.name in message["mentionNames"]
            for wanted in self._wait.filters
        )
