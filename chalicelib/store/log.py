"""``EVENT#`` and ``HEAD`` of the session-items table: the append-only log of a session, messages included.

An entry's key is its position in the log, counted from 1. A writer first draws the next position from the session's
head, and with it a stamp later than the last one; then it puts the entry there, on condition that the position is free.
Readers go from position to position. A position that is missing while later ones are there belongs to a writer that is
slow or has crashed: a reader that needs to pass it waits `HOLE_MS` and then puts a *void* there, on the same condition.
The slow writer's own put then fails, and it draws again. So

- an entry that was acknowledged is at one position, which every reader passes: none is missed, none comes twice;
- all readers see one order, and no clock decides anything;
- stamps rise with positions, so a time is a place in the log.

The log of a session that is over is *sealed* before it is archived: nobody draws a position any more, but for the entry
that ends waits. So what was acknowledged is in the archive, and what is in the archive never changes.

What agents and users put into a log is bounded (`Room`). The head counts it in the write that hands out a position, so
the bounds cost no call and nothing can drift. What Atoll itself appends (an agent's stop, the end) is never refused.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from chalicelib.clock import Clock
from chalicelib.store.items import Item, Key, Unprocessed
from chalicelib.store.table import Table

_PREFIX = "EVENT#"
#: Behind every position; keys of earlier versions of this log, which began with a time in ms, are behind it too.
_END = f"{_PREFIX}1"
_HEAD = "HEAD"
_ONCE_PREFIX = "ONCE#"

#: How long a reader leaves a missing position to its writer, counted from when that reader first saw it missing.
HOLE_MS = 1_000
#: Pause (s) between two looks at a missing position.
_HOLE_PAUSE_S = 0.1
#: More missing positions at once than writers can leave: the log is being purged, and nothing is to come.
_MOST_MISSING = 1_000
#: How many positions in a row are looked at for the next one that is there.
_MOST_DEAD = 100
#: How long a writer goes on drawing positions when others close those that it is too slow for.
_LONGEST_APPEND_MS = 15_000
#: How many entries a reader asks for at first, and at most, in one call.
_FIRST_PAGE, _LARGEST_PAGE = 50, 2_000
#: About how many bytes of entries a reader holds at once: a message may have 300 KB.
_PAGE_BYTES = 4_000_000
#: How many of the last entries a follower reads at once: what a time is asked for is mostly among them.
_NEAR = 10
#: How many sessions a writer remembers the last stamp of.
_MOST_REMEMBERED = 10_000

#: A `SessionEvent` in wire form.
Event = dict[str, Any]

#: Type of the entry that ends every wait in a session: ``{"type": "session_closing", "timestamp": …}``. The lifecycle
#: appends it after the session record says ``closing``, so that a poll of the log alone sees the end. It is Atoll's
#: own and no `SessionEvent`: who shows the log to clients leaves it out.
SESSION_CLOSING = "session_closing"

#: Type of the entry at a position whose writer never came. It says nothing, and is no `SessionEvent` either.
VOID = "void"

#: Type of the entry that ends the waits of one request: ``{"type", "timestamp", "name", "wait"}``, the agent's name and
#: how the ids of these waits begin.
WAIT_CANCELLED = "wait_cancelled"

#: Types of entries that are no `SessionEvent`.
INTERNAL = frozenset({SESSION_CLOSING, VOID, WAIT_CANCELLED})


@dataclasses.dataclass(frozen=True, slots=True)
class Room:
    """How much agents and users may put into the log of one session: the last entry may go beyond the bytes."""

    entries: int
    size_bytes: int
    threads: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Taken:
    """What an agent's or a user's entries take of the room, beside their positions."""

    size_bytes: int
    threads: int = 0
    #: Whether it says what is done already, which may use a tenth of the room that nothing else does.
    reserve: bool = False


class Sealed(Exception):
    """The log takes no entry any more: its session is over, and is being archived or was."""


class Full(Exception):
    """Agents and users have put into the log what they may; the message says of what there is too much."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ticket:
    """A position of the log that a writer has drawn for itself, and the stamp (epoch ms) of what it puts there."""

    position: int
    stamp_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of a log."""

    id: str
    position: int
    #: Later than that of any entry before it, epoch ms: when it was written, as far as its writer's clock is right.
    stamp_ms: int
    event: Event
    expires_at: int


class Log:
    """The log among a session's items."""

    def __init__(self, table: Table, room: Room) -> None:
        self._table = table
        self._room = room
        #: The last stamps that this process knows of: a head has that one, or a later one.
        self._latest: dict[str, int] = {}

    @property
    def clock(self) -> Clock:
        """The clock of its writers and readers."""
        return self._table.clock

    # Writing

    def draw(self, session_id: str, *, expires_at: int, past_seal: bool = False) -> Ticket:
        """Draw the next position; the first draw makes the head, which lives until ``expires_at`` (epoch s).

        The stamp is the clock's time, or a millisecond more than the last stamp when the clock is behind that. A writer
        that does not know yet that it is behind learns it by one call in vain. Raises `Sealed`, unless it is drawn
        ``past_seal``.
        """
        return self._draw(session_id, 1, expires_at, past_seal=past_seal)[0]

    def draw_for_thread(self, session_id: str, size_bytes: int, *, expires_at: int) -> Ticket:
        """Draw the position of a new thread's entry, of about so many bytes; raise `Full` and `Sealed`."""
        return self._draw(session_id, 1, expires_at, taken=_Taken(size_bytes, threads=1))[0]

    def _draw(
        self, session_id: str, count: int, expires_at: int, *, past_seal: bool = False, taken: _Taken | None = None
    ) -> list[Ticket]:
        """Draw so many positions in a row by one call; their stamps are a millisecond apart."""
        key, now_ms = head_key_of(session_id), self._table.clock.now_ms()
        open_ = [*([] if past_seal else ["attribute_not_exists(#sealed)"]), *self._room_left(taken)]
        added, count_values = self._additions(count, taken)
        drawn, head = False, None
        if self._latest.get(session_id, -1) < now_ms:
            later = f"SET #stampMs = :last ADD {added}"
            values = {":now": now_ms, ":last": now_ms + count - 1, **count_values}
            drawn, head = self._table.try_update(
                key, later, when=" AND ".join(["#stampMs < :now", *open_]), values=values
            )
        if not drawn and (head or session_id in self._latest):
            self._check_open(session_id, head, taken, past_seal=past_seal)
            next_to_it = f"SET #stampMs = #stampMs + :count ADD {added}"
            there = " AND ".join(["attribute_exists(#stampMs)", *open_])
            drawn, head = self._table.try_update(key, next_to_it, when=there, values=count_values)
        if not drawn:
            self._check_open(session_id, head, taken, past_seal=past_seal)
            head = self._table.update(
                key,
                "SET #stampMs = if_not_exists(#stampMs, :now) + :count, "
                f"#expiresAt = if_not_exists(#expiresAt, :expires) ADD {added}",
                when=" AND ".join(open_) or None,
                values={":now": now_ms - 1, ":expires": expires_at, **count_values},
            )
        if head is None:
            raise Sealed(f"the log of the session {session_id} takes no entry any more")
        last = self._remembered(session_id, head)
        return [Ticket(last.position - before, last.stamp_ms - before) for before in reversed(range(count))]

    def _bounds(self, taken: _Taken) -> Iterator[tuple[str, int, str]]:
        """Yield what bounds such entries: an attribute of the head, the most that it may be, and what it counts."""
        tenths = 11 if taken.reserve else 10
        yield "position", self._room.entries * tenths // 10, "entries in its log"
        yield "bytes", self._room.size_bytes * tenths // 10, "bytes in its log"
        if taken.threads:
            yield "threads", self._room.threads, "threads"

    def _room_left(self, taken: _Taken | None) -> list[str]:
        # True as well where a head has no such attribute yet.
        return [f"NOT #{attribute} >= :most_{attribute}" for attribute, _, _ in self._bounds(taken)] if taken else []

    def _additions(self, count: int, taken: _Taken | None) -> tuple[str, dict[str, int]]:
        """Return what a draw adds to the head, and the values that this and `_room_left` name."""
        if taken is None:
            return "#position :count", {":count": count}
        values = {f":most_{attribute}": most for attribute, most, _ in self._bounds(taken)}
        values |= {":count": count, ":bytes": taken.size_bytes}
        if not taken.threads:
            return "#position :count, #bytes :bytes", values
        return "#position :count, #bytes :bytes, #threads :threads", {**values, ":threads": taken.threads}

    def _check_open(self, session_id: str, head: Item | None, taken: _Taken | None, *, past_seal: bool) -> None:
        if head is not None and "sealed" in head and not past_seal:
            raise Sealed(f"the log of the session {session_id} takes no entry any more")
        for attribute, most, what in self._bounds(taken) if taken else ():
            if head is not None and head.get(attribute, 0) >= most:
                raise Full(f"the session {session_id!r} has {head[attribute]} {what}: at most {most} are taken")

    def _remembered(self, session_id: str, head: Item) -> Ticket:
        if len(self._latest) >= _MOST_REMEMBERED:
            self._latest.clear()
        self._latest[session_id] = head["stampMs"]
        return head_of(head)

    def append(
        self,
        session_id: str,
        event_at: Callable[[int], Event],
        *,
        expires_at: int,
        entry_id: str | None = None,
        ticket: Ticket | None = None,
        log_expires_at: int | None = None,
        reserve: bool = False,
    ) -> LogEntry:
        """Append the event that ``event_at`` makes of the entry's stamp, at a ``ticket`` if one is drawn already.

        The log lives until ``log_expires_at`` where that is another time than the entry's. Raises `Unprocessed` when
        writes are so slow that readers close each position before its entry comes, and, unless it is the entry that
        ends waits, `Full` and `Sealed`. An entry that says what is done already may use the ``reserve``.
        """
        ends_waits = entry_id == SESSION_CLOSING
        taken = None if ends_waits or ticket else _Taken(size_of_event(event_at(0)), reserve=reserve)
        tickets = self._tickets(
            session_id, log_expires_at or expires_at, [ticket] if ticket else [], past_seal=ends_waits, taken=taken
        )
        return self._append(session_id, event_at, tickets, expires_at, entry_id)

    def append_in_a_row(self, session_id: str, events_at: Sequence[Callable[[int], Event]], *, expires_at: int) -> None:
        """Append events in this order, with one call less for each but the first; see `append`.

        Entries of others are between them only when a reader closes one of their positions.
        """
        taken = _Taken(sum(size_of_event(event_at(0)) for event_at in events_at))
        first = self._draw(session_id, len(events_at), expires_at, taken=taken)
        tickets = self._tickets(session_id, expires_at, first, taken=taken)
        for event_at in events_at:  # they share the tickets: behind a closed position are all that follow
            self._append(session_id, event_at, tickets, expires_at)

    def _append(
        self,
        session_id: str,
        event_at: Callable[[int], Event],
        tickets: Iterator[Ticket],
        expires_at: int,
        entry_id: str | None = None,
    ) -> LogEntry:
        if entry_id is None:
            from ulid import ULID

            entry_id = str(ULID())
        for drawn in tickets:
            entry = LogEntry(entry_id, drawn.position, drawn.stamp_ms, event_at(drawn.stamp_ms), expires_at)
            if self._put(session_id, entry):
                return entry
        raise AssertionError("tickets end with an error")

    def append_once(self, session_id: str, event: Event, *, entry_id: str, expires_at: int) -> None:
        """Append an event under a derived id: the log has it once, however often this is called.

        A marker says at which position it is, or is going to be. A log that is sealed does not get it any more. Raises
        `Unprocessed` as `append` does.
        """
        with contextlib.suppress(Sealed):
            self._append_once(session_id, event, entry_id=entry_id, expires_at=expires_at)

    def _append_once(self, session_id: str, event: Event, *, entry_id: str, expires_at: int) -> None:
        key = {"sessionId": session_id, "item": _ONCE_PREFIX + entry_id}
        free, values = "attribute_not_exists(#position)", dict[str, Any]()
        for drawn in self._tickets(session_id, expires_at):
            _, marker = self._table.try_update(
                key,
                "SET #position = :drawn, #stampMs = :stamp, #expiresAt = :expires",
                when=free,
                values={**values, ":drawn": drawn.position, ":stamp": drawn.stamp_ms, ":expires": expires_at},
            )
            if marker is None:  # purged with its session
                return
            if marker["position"] != drawn.position:  # it has a position already: the one drawn here stays empty
                self._void(session_id, drawn, expires_at)
            if self._put(session_id, LogEntry(entry_id, marker["position"], marker["stampMs"], event, expires_at)):
                return
            free, values = "#position = :voided", {":voided": marker["position"]}

    def _tickets(
        self,
        session_id: str,
        expires_at: int,
        first: Sequence[Ticket] = (),
        *,
        past_seal: bool = False,
        taken: _Taken | None = None,
    ) -> Iterator[Ticket]:
        until_ms = self._table.clock.now_ms() + _LONGEST_APPEND_MS
        yield from first or self._draw(session_id, 1, expires_at, past_seal=past_seal, taken=taken)
        while self._table.clock.now_ms() < until_ms:
            yield self.draw(session_id, expires_at=expires_at, past_seal=past_seal)  # the room is taken already
        raise Unprocessed("each write of an entry of the log came too late for its position")

    def _put(self, session_id: str, entry: LogEntry) -> bool:
        """Put an entry at its position; ``False`` when that was closed meanwhile.

        An entry of this id that is there already is this one: the SDK has put it twice, or a reaction that ran twice.
        """
        done, found = self._table.try_put(_item(session_id, entry), when="attribute_not_exists(#item)")
        return done or (found is not None and found["id"] == entry.id)

    def _void(self, session_id: str, ticket: Ticket, expires_at: int) -> LogEntry | None:
        """Close a position; return what is there now, which may be the entry of its writer."""
        void = LogEntry(VOID, ticket.position, ticket.stamp_ms, {"type": VOID}, expires_at)
        done, found = self._table.try_put(_item(session_id, void), when="attribute_not_exists(#item)")
        return void if done else entry_of(found) if found else None

    def seal(self, session_id: str, *, expires_at: int) -> int:
        """Let no position be drawn any more, and return the last one: all that was acknowledged is before it.

        A void is there, so that who reads up to it waits for slow writers and closes what they leave, as everywhere.
        A repetition returns the same position.
        """
        _, head = self._table.try_update(
            head_key_of(session_id),
            "SET #position = if_not_exists(#position, :none) + :one, #sealed = if_not_exists(#position, :none) + :one, "
            "#stampMs = if_not_exists(#stampMs, :now) + :one, #sealedMs = if_not_exists(#stampMs, :now) + :one, "
            "#expiresAt = if_not_exists(#expiresAt, :expires)",
            when="attribute_not_exists(#sealed)",
            values={":none": 0, ":one": 1, ":now": self._table.clock.now_ms(), ":expires": expires_at},
        )
        if head is None:  # it has expired
            return 0
        self._void(session_id, Ticket(head["sealed"], head["sealedMs"]), expires_at)
        return int(head["sealed"])

    # Reading

    def head(self, session_id: str) -> Ticket | None:
        """Return what was drawn last; ``None`` when nothing ever was."""
        item = self._table.get(head_key_of(session_id))
        return head_of(item) if item else None

    def pages(
        self, session_id: str, first: int = 1, *, live: bool = True, past_end: bool = False
    ) -> Iterator[list[LogEntry]]:
        """Read the log on from a position to its end, voids included: each position once, in their order.

        A page is what can be read without waiting. A log that is not ``live`` has no writers any more: missing
        positions are not waited for. Neither are those beside the entry that ends the session's waits, unless it is
        read ``past_end``: its agents' tasks may end after it.
        """
        limit = _FIRST_PAGE
        while True:
            items, more = self._page(session_id, first, limit)
            for run in self.whole(session_id, list(map(entry_of, items)), first, live=live, past_end=past_end):
                yield run
                first = run[-1].position + 1
            if not more:
                return
            limit = min(4 * limit, _LARGEST_PAGE)

    def read(self, session_id: str, first: int = 1, *, live: bool = True, past_end: bool = False) -> Iterator[LogEntry]:
        """Read the log entry by entry; see `pages`."""
        return chain.from_iterable(self.pages(session_id, first, live=live, past_end=past_end))

    def latest_first(self, session_id: str) -> Iterator[LogEntry]:
        """Read the log of a live session backwards, for as long as the reader goes on."""
        head = self.head(session_id)
        top, page = head.position if head else 0, _FIRST_PAGE
        above: int | None = None  # at first, the end may have moved since
        while top > 0:
            first = max(1, top - page + 1)
            # With the one above, which shows whether the last of this page is missing.
            entries = self._entries(session_id, first, above)
            found = list(chain.from_iterable(self.whole(session_id, entries, first, live=True)))
            yield from (entry for entry in reversed(found) if entry.position != above)
            top, above, page = first - 1, first, min(4 * page, _LARGEST_PAGE)

    def follow(self, session_id: str, from_ms: int, head: Ticket | None = None) -> "Follower":
        """Return a follower that begins at the first entry stamped at or after a time, or a little before it.

        ``head`` is what is known of the head, however old.
        """
        if from_ms <= 0:
            return Follower(self, session_id, 1)
        head = head or self.head(session_id)
        first = max(1, (head.position if head else 0) - _NEAR + 1)
        entries = self._entries(session_id, first)
        if first == 1 or (entries and entries[0].stamp_ms < from_ms):
            return Follower(self, session_id, first, entries)
        return Follower(self, session_id, self._search(session_id, from_ms, first))

    def _search(self, session_id: str, from_ms: int, high: int) -> int:
        """Return a position below which all is stamped before a time, and hardly more than a page before the first."""
        low, step = high, _NEAR
        while low > 1:
            low, step = max(1, low - step), 4 * step
            if self._stamp_at(session_id, low) < from_ms:
                break
            high = low
        while high - low > _FIRST_PAGE:
            middle = (low + high) // 2
            if self._stamp_at(session_id, middle) < from_ms:
                low = middle
            else:
                high = middle
        return low

    def _stamp_at(self, session_id: str, position: int) -> int:
        nearest = self._nearest(session_id, position)
        return nearest.stamp_ms if nearest else -1

    def _nearest(self, session_id: str, position: int) -> LogEntry | None:
        """Return the entry at a position, or the nearest one before it that is there."""
        for below in range(position, max(0, position - _MOST_DEAD), -1):
            if item := self._table.get(key_of(session_id, below)):
                return entry_of(item)
        return None

    def _entries(self, session_id: str, first: int, last: int | None = None) -> list[LogEntry]:
        return list(map(entry_of, self._between(session_id, first, last)))

    def _page(self, session_id: str, first: int, limit: int) -> tuple[list[Item], bool]:
        """Read up to so many entries from a position on, `_PAGE_BYTES` of them; with whether more may follow."""
        items: list[Item] = []
        size = 0
        for item in self._between(session_id, first, limit=limit):
            items.append(item)
            size += len(item["event"]) + len(item.get("text", ""))
            if len(items) == limit or size >= _PAGE_BYTES:
                return items, True
        return items, False

    def _between(
        self, session_id: str, first: int, last: int | None = None, limit: int | None = None
    ) -> Iterator[Item]:
        low = key_of(session_id, first)["item"]
        high = _END if last is None else key_of(session_id, last)["item"]
        values = {":session": session_id, ":first": low, ":last": high}
        return self._table.query("#sessionId = :session AND #item BETWEEN :first AND :last", values, limit=limit)

    def whole(
        self, session_id: str, entries: list[LogEntry], first: int, *, live: bool, past_end: bool = False
    ) -> Iterator[list[LogEntry]]:
        """Yield these entries, which were just read, with all that is missing among them from ``first`` on."""
        seen_ms = self._table.clock.now_ms()
        run: list[LogEntry] = []
        # To who waits for a message missing positions do not matter any more, and the session's purge leaves some.
        live = live and (past_end or not any(entry.event["type"] == SESSION_CLOSING for entry in entries))
        for entry in entries:
            if live and first < entry.position <= first + _MOST_MISSING:
                if run:
                    yield run
                run = self._filled(session_id, range(first, entry.position), entry, seen_ms)
            run.append(entry)
            first = entry.position + 1
        if run:
            yield run

    def _filled(self, session_id: str, missing: range, behind: LogEntry, seen_ms: int) -> list[LogEntry]:
        """Wait for what is missing before an entry, and close what has not come `HOLE_MS` after it was seen."""
        while True:
            found = {entry.position: entry for entry in self._entries(session_id, missing[0], missing[-1])}
            if len(found) == len(missing):
                break
            if self._table.clock.now_ms() - seen_ms >= HOLE_MS:
                return self._closed(session_id, missing, behind, found)
            self._table.clock.sleep(_HOLE_PAUSE_S)
        return list(found.values())

    def _closed(self, session_id: str, missing: range, behind: LogEntry, found: dict[int, LogEntry]) -> list[LogEntry]:
        """Put voids where nothing is, from the first on: each is stamped a millisecond after what is before it.

        Whatever its writers drew for the next positions is later than that.
        """
        head = self._table.get(head_key_of(session_id))
        if head is None or is_closed(head):  # purged meanwhile: nothing is to be put any more
            return list(found.values())
        before = self._nearest(session_id, missing[0] - 1)
        stamp_ms = before.stamp_ms if before else 0
        for position in range(before.position + 1 if before else missing[0], missing.stop):
            entry = found.get(position) or self._void(session_id, Ticket(position, stamp_ms + 1), behind.expires_at)
            if entry is not None:
                found[position], stamp_ms = entry, entry.stamp_ms
        return [found[position] for position in missing if position in found]


class Follower:
    """Reads a log on and on, each position once."""

    def __init__(self, log: Log, session_id: str, position: int, in_hand: list[LogEntry] | None = None) -> None:
        self._log = log
        self._session_id = session_id
        #: What it reads next.
        self.position = position
        self._in_hand = in_hand

    def poll(self) -> Iterator[list[LogEntry]]:
        """Read what has come since the last poll, page by page."""
        in_hand, self._in_hand = self._in_hand, None
        pages = (
            self._log.pages(self._session_id, self.position)
            if in_hand is None
            else self._log.whole(self._session_id, in_hand, self.position, live=True)
        )
        for page in pages:
            self.position = page[-1].position + 1
            yield page


def key_of(session_id: str, position: int) -> Key:
    """Return the key of the entry at a position."""
    return {"sessionId": session_id, "item": f"{_PREFIX}{position:013d}"}


def head_key_of(session_id: str) -> Key:
    """Return the key of a log's head."""
    return {"sessionId": session_id, "item": _HEAD}


def head_of(item: Item) -> Ticket:
    """Read the head of a log."""
    return Ticket(item["position"], item["stampMs"])


def _packed(event: Event) -> Item:
    """Keep a message's text apart, as it is: in JSON, quotes and control characters would make it outgrow the item."""
    message = event.get("message")
    if not (isinstance(message, dict) and "text" in message):
        return {"event": _json(event)}
    rest = {name: value for name, value in message.items() if name != "text"}
    return {"event": _json({**event, "message": rest}), "text": message["text"]}


def _json(event: Event) -> str:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False)


def size_of_event(event: Event) -> int:
    """Return about how many bytes an event takes in the log."""
    return sum(len(part.encode("utf-8", "replace")) for part in _packed(event).values())


def _item(session_id: str, entry: LogEntry) -> Item:
    about = {"expiresAt": entry.expires_at, "id": entry.id, "stampMs": entry.stamp_ms}
    return {**key_of(session_id, entry.position), **about, **_packed(entry.event)}


def is_entry(sort_key: str) -> bool:
    """Return whether an item of a session is an entry of its log, by its sort key."""
    return sort_key.startswith(_PREFIX)


def entry_of(item: Item) -> LogEntry:
    """Read the item of an entry."""
    event = json.loads(item["event"])
    if "text" in item:
        event["message"]["text"] = item["text"]
    position = int(item["item"].removeprefix(_PREFIX))
    return LogEntry(item["id"], position, item["stampMs"], event, item["expiresAt"])


def is_head(item: Item) -> bool:
    """Return whether an item of a session is the head of its log."""
    return bool(item["item"] == _HEAD)


def is_closed(head: Item) -> bool:
    """Return whether the head of a log says that its session is being removed, or was."""
    return "closed" in head


def ends_waits(item: Item) -> bool:
    """Return whether an item is an entry that ends every wait of its session."""
    return item.get("id") == SESSION_CLOSING
