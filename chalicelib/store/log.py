"""``EVENT#`` of the session-items table: the append-only log of a session, messages included.

Keys are ``EVENT#<ms, 13 digits>#<ulid>``, hence ordered by time: the time at which the entry was written, as its
writer's clock has it. Two things stand between that and what a reader may rely on:

- Clocks of two writers differ by milliseconds, and a key is stamped before its write has gone through. So a reader who
  follows the log reads the last ``OVERLAP_MS`` again with each poll, and skips what it has seen (`Follower`).
- A write may take longer than any overlap: a throttled call, a frozen Lambda. A writer whose write took longer than
  ``WRITE_LIMIT_MS`` writes the entry again under a fresh key, with the same id, until one write was quick enough. An
  entry that was acknowledged has therefore one key that is at most ``WRITE_LIMIT_MS`` older than its appearance, and
  ``OVERLAP_MS - WRITE_LIMIT_MS`` is left for the clocks. Readers see such an entry once: by its id.
"""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from chalicelib.clock import Clock
from chalicelib.store.items import Item
from chalicelib.store.table import Table

_PREFIX = "EVENT#"

#: How far a follower reads back behind its last poll.
OVERLAP_MS = 2_000
#: How long a write may take before the entry is written again under a fresh key.
WRITE_LIMIT_MS = 1_000
_MOST_WRITES = 5

#: A `SessionEvent` in wire form.
Event = dict[str, Any]

#: Type of the entry that ends every wait in a session: ``{"type": "session_closing", "timestamp": …}``. The lifecycle
#: appends it after the session record says ``closing``, so that a poll of the log alone sees the end. It is Atoll's
#: own and no `SessionEvent`: who shows the log to clients leaves it out.
SESSION_CLOSING = "session_closing"


@dataclasses.dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of a log. Copies of one entry share their id."""

    id: str
    #: The time in its key, in epoch ms: when it was written, which for most is when it happened.
    at_ms: int
    event: Event
    #: Where it stands in its thread: a message's place, or of another change the count of such changes.
    seq: int | None = None

    @property
    def position(self) -> str:
        """Where it stands in the log."""
        return f"{self.at_ms:013d}#{self.id}"


class SlowWrite(Exception):
    """DynamoDB took several writes of one entry, each too late for its followers."""


class Log:
    """The log among a session's items."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def append(
        self,
        session_id: str,
        event: Event,
        *,
        at_ms: int,
        expires_at: int,
        seq: int | None = None,
        entry_id: str | None = None,
    ) -> str:
        """Add an event that happened ``at_ms`` and return the id of its entry.

        The key is stamped with ``at_ms`` as long as that is fresh, else with the time of the write. What happens once
        and may be told twice is given an ``entry_id``: readers see it once.
        """
        if entry_id is None:
            from ulid import ULID

            entry_id = str(ULID())
        item: Item = {"sessionId": session_id, "expiresAt": expires_at, **_packed(event)}
        if seq is not None:
            item["seq"] = seq
        stamp_ms = at_ms
        for _ in range(_MOST_WRITES):
            now_ms = self._table.clock.now_ms()
            if abs(now_ms - stamp_ms) > WRITE_LIMIT_MS:
                stamp_ms = now_ms
            self._table.put({**item, "item": f"{_PREFIX}{stamp_ms:013d}#{entry_id}"})
            if self._table.clock.now_ms() - stamp_ms <= WRITE_LIMIT_MS:
                return entry_id
        raise SlowWrite(f"an entry of the log took {_MOST_WRITES} writes of more than {WRITE_LIMIT_MS} ms")

    def since(self, session_id: str, from_ms: int, *, limit: int | None = None) -> Iterator[LogEntry]:
        """Read all entries stamped at or after ``from_ms``, oldest first. An entry may come twice (see above)."""
        items = self._table.query(
            "#sessionId = :session AND #item BETWEEN :from AND :to",
            {":session": session_id, ":from": f"{_PREFIX}{_digits(from_ms)}#", ":to": f"{_PREFIX}~"},
            limit=limit,
        )
        return map(_entry, items)

    def behind(self, session_id: str, position: str | None) -> Iterator[LogEntry]:
        """Read all entries behind a `LogEntry.position`, oldest first. An entry may come twice (see above)."""
        start = {"sessionId": session_id, "item": _PREFIX + position} if position else None
        items = self._table.query(
            "#sessionId = :session AND begins_with(#item, :prefix)",
            {":session": session_id, ":prefix": _PREFIX},
            start=start,
        )
        return map(_entry, items)

    def latest_first(self, session_id: str, *, page: int | None = None) -> Iterator[LogEntry]:
        """Read the log backwards, ``page`` entries a call, for as long as the reader goes on."""
        items = self._table.query(
            "#sessionId = :session AND begins_with(#item, :prefix)",
            {":session": session_id, ":prefix": _PREFIX},
            limit=page,
            backwards=True,
        )
        return map(_entry, items)


class Follower:
    """Reads a log poll by poll: each entry once, and none that was acknowledged is missed."""

    def __init__(self, log: Log, clock: Clock, session_id: str, from_ms: int) -> None:
        self._log = log
        self._clock = clock
        self._session_id = session_id
        self._from_ms = from_ms
        self._seen: dict[str, int] = {}

    def poll(self) -> Iterator[LogEntry]:
        """Return what is new since the last poll, in the order of the keys. Read it to its end before the next one."""
        started_ms = self._clock.now_ms()
        for entry in self._log.since(self._session_id, self._from_ms):
            if entry.id not in self._seen:
                self._seen[entry.id] = entry.at_ms
                yield entry
        self._from_ms = max(self._from_ms, started_ms - OVERLAP_MS)
        self._seen = {entry_id: at_ms for entry_id, at_ms in self._seen.items() if at_ms >= self._from_ms}


def _digits(time_ms: int) -> str:
    return f"{min(max(time_ms, 0), 10**13 - 1):013d}"


def _packed(event: Event) -> Item:
    """Keep a message's text apart, as it is: in JSON, quotes and control characters would make it outgrow the item."""
    message = event.get("message")
    if not (isinstance(message, dict) and "text" in message):
        return {"event": _json(event)}
    rest = {name: value for name, value in message.items() if name != "text"}
    return {"event": _json({**event, "message": rest}), "text": message["text"]}


def _json(event: Event) -> str:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False)


def _entry(item: Item) -> LogEntry:
    stamp, _, entry_id = item["item"].removeprefix(_PREFIX).partition("#")
    event = json.loads(item["event"])
    if "text" in item:
        event["message"]["text"] = item["text"]
    return LogEntry(entry_id, int(stamp), event, item.get("seq"))


def is_entry(item: Item) -> bool:
    """Tell whether an item of a session is an entry of its log."""
    return str(item["item"]).startswith(_PREFIX)


def ends_waits(item: Item) -> bool:
    """Tell whether an item is the entry that ends every wait of its session."""
    return str(item["item"]).endswith(f"#{SESSION_CLOSING}")


def written_at_ms(item: Item) -> int:
    """Return when an entry was written, in epoch ms."""
    return int(item["item"].removeprefix(_PREFIX).partition("#")[0])
