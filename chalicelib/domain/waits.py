"""Waiting for a message: a replay of what the agent may have missed, then polls of the session's log.

A wait asks DynamoDB once for the threads and from then on for the log alone, which tells of messages, of changes of who
takes part in what, and of the session's end. What is waited for is a message by another agent in a thread that the
waiting agent takes part in, and

- stamped at or after the ``currentUnixTime`` of the call; or
- that appears while the wait lasts, whatever its stamp; or
- in a thread to which the agent is added while it waits: the first that matches of all that the thread holds.

Two more rules close the gap between one wait and the next. Writers stamp a message a little before it can be read, so
the answer to one wait may be stamped later than a message that appears only after it, and an agent that goes on
from that stamp would never see the other. So the agent's record keeps what its last wait could see of the last moments
(`Heard`) and which messages it was given lately, and the next wait also returns

- what was stamped before that wait's last poll, or before the latest message given, and was not to be seen then;
- when it asks from the millisecond after a message that it was given, others of that same millisecond, however long
  ago that is.

A wait may be *paused* (`Paused`): nobody holds it open any more, and the client comes back for it with all that it has
seen so far. Nothing is written for that, and to the agent it is one wait.
"""

import dataclasses
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from chalicelib import telemetry
from chalicelib.domain.actors import Actor
from chalicelib.domain.errors import BadRequest, Conflict, NotFound
from chalicelib.store.log import OVERLAP_MS, SESSION_CLOSING, Follower, LogEntry
from chalicelib.store.threads import ThreadRecord
from chalicelib.wire.events import AgentWaitStart, AgentWaitStop, FromFilter, MentionsFilter
from chalicelib.wire.threads import MAX_WAIT_MS, SessionThreadMessage
from chalicelib.wire.waits import HeardOfLog, PausedWait

if TYPE_CHECKING:
    from chalicelib.stores import Stores

#: Pauses between two polls: a message usually comes soon, and an idle wait of 25 s must not make more than 80 calls.
FIRST_PAUSE_S = 0.05
PAUSE_GROWTH = 1.15
LONGEST_PAUSE_S = 0.4

#: How much longer than its deadline a wait is believed in, if it does not say that it has ended.
BELIEVED_MS = 2_000

#: How long a paused wait is left alone, in ms: a quarter of the time that it has lasted, within these.
SHORTEST_REST_MS, LONGEST_REST_MS = 500, 5_000

#: How many messages of the last moments an agent's record lists.
_MOST_IDS = 64

Filter = FromFilter | MentionsFilter


@dataclasses.dataclass(frozen=True, kw_only=True)
class Terms:
    """How long a wait may last, and from when on messages count."""

    #: Messages stamped at or after this (epoch ms).
    from_ms: int
    max_wait_ms: int
    #: After which time it is paused; ``None`` for a client that does not come back for it.
    hold_ms: int | None = None


class Paused(Exception):
    """A wait that the client comes back for, in ``rest_ms``."""

    def __init__(self, wait: PausedWait, rest_ms: int) -> None:
        super().__init__("the wait is paused")
        self.wait = wait
        self.rest_ms = rest_ms


def for_message(stores: "Stores", actor: Actor, terms: Terms) -> SessionThreadMessage | None:
    """Wait for any message; ``None`` when the time is over (see `_Wait.run` for what is raised)."""
    return _Wait(stores, actor, terms.from_ms, []).run(terms)


def for_mention(stores: "Stores", actor: Actor, terms: Terms) -> SessionThreadMessage | None:
    """Wait for a message that mentions the actor; ``None`` when the time is over."""
    return _Wait(stores, actor, terms.from_ms, [MentionsFilter(name=actor.name)]).run(terms)


def for_agent(stores: "Stores", actor: Actor, sender: str, terms: Terms) -> SessionThreadMessage | None:
    """Wait for a message by one agent; ``None`` when the time is over. Raises `NotFound` for an unknown agent."""
    if sender == actor.name:
        raise BadRequest(f"the agent {sender!r} cannot wait for itself")
    if sender not in actor.agent.links and stores.agents.find(actor.session_id, sender) is None:
        raise NotFound(f"not in this session: {sender!r}")
    return _Wait(stores, actor, terms.from_ms, [FromFilter(name=sender)]).run(terms)


def resume(stores: "Stores", actor: Actor, paused: PausedWait) -> SessionThreadMessage | None:
    """Look once more for what a paused wait is for; ``None`` when its time is over, `Paused` when it is not."""
    return _Wait(stores, actor, paused.heard.until_ms, list(paused.filters), paused).resume()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heard:
    """What an agent's last wait has seen: of messages stamped in ``[from_ms, until_ms)`` those with these ids."""

    from_ms: int = 0
    until_ms: int = 0
    ids: frozenset[str] = frozenset()
    #: The latest stamp of a message that it was given.
    given_ms: int = -1

    @classmethod
    def of(cls, stored: dict[str, Any] | None) -> "Heard":
        """Read what the agent's record keeps."""
        if stored is None:
            return cls()
        return cls(
            from_ms=stored["fromMs"],
            until_ms=stored["untilMs"],
            ids=frozenset(stored["ids"]),
            given_ms=stored["givenMs"],
        )

    def to_item(self) -> dict[str, Any]:
        """Return what the agent's record keeps."""
        return {
            "fromMs": self.from_ms,
            "untilMs": self.until_ms,
            "ids": sorted(self.ids),
            "givenMs": self.given_ms,
        }

    def overlooked(self, entry: LogEntry) -> bool:
        """Tell whether an entry appeared only after the last poll, though it is stamped before it.

        Or before a message that was given then: the clock of that message's writer may be ahead.
        """
        return self.from_ms <= entry.at_ms < max(self.until_ms, self.given_ms) and entry.id not in self.ids

    def with_given(self, entry: LogEntry) -> "Heard":
        """Add a message that the agent is given; one that it had overlooked is not the last of them."""
        return dataclasses.replace(self, ids=self.ids | {entry.id}, given_ms=max(self.given_ms, entry.at_ms))

    def with_poll(self, started_ms: int, visible: dict[str, int]) -> "Heard":
        """Replace what was seen by what a poll that started then could see: ids of messages with their stamps."""
        from_ms = started_ms - OVERLAP_MS
        newest = sorted(((at_ms, entry_id) for entry_id, at_ms in visible.items() if at_ms >= from_ms), reverse=True)
        if len(newest) > _MOST_IDS:  # rather a shorter window than a growing record
            from_ms = newest[_MOST_IDS - 1][0] + 1
        ids = frozenset(entry_id for at_ms, entry_id in newest if at_ms >= from_ms)
        return dataclasses.replace(self, from_ms=from_ms, until_ms=started_ms, ids=ids)


class Hearing:
    """Which threads an agent hears: those it takes part in that are open.

    Entries about one thread may come in another order than they happened; each says how many changes there were.
    """

    def __init__(self, name: str, threads: Iterable[ThreadRecord]) -> None:
        self._name = name
        self._known = {
            thread.thread_id: (thread.change_count, thread.state == "open" and name in thread.participants)
            for thread in threads
        }
        self._closed = {thread.thread_id for thread in threads if thread.state != "open"}

    def hears(self, thread_id: str) -> bool:
        """Tell whether a message of this thread counts."""
        return thread_id not in self._closed and self._known.get(thread_id, (0, False))[1]

    def note(self, entry: LogEntry) -> str | None:
        """Take an entry into account; return the thread to which it adds the agent, if it does."""
        event = entry.event
        match event["type"]:
            case "thread_created":
                self._set(event["thread"]["id"], 0, self._name in event["thread"]["participants"])
            case "thread_closed":
                self._closed.add(event["threadId"])
            case "thread_participant_removed" if event["name"] == self._name:
                self._set(event["threadId"], entry.seq or 0, False)
            case "thread_participant_added" if event["name"] == self._name:
                if self._set(event["threadId"], entry.seq or 0, True):
                    return str(event["threadId"])
        return None

    def _set(self, thread_id: str, change: int, takes_part: bool) -> bool:
        if change <= self._known.get(thread_id, (-1, False))[0]:
            return False
        self._known[thread_id] = (change, takes_part)
        return True


class _Wait:
    """One wait of one agent."""

    def __init__(
        self,
        stores: "Stores",
        actor: Actor,
        from_ms: int,
        filters: list[Filter],
        paused: PausedWait | None = None,
    ) -> None:
        self._stores = stores
        self._actor = actor
        self._from_ms = from_ms
        self._filters = filters
        self._paused = paused
        self._id = paused.id if paused else f"w{uuid.uuid4().hex}"
        self._noted = paused is not None
        self._heard = Heard.of(paused.heard.to_wire() if paused else actor.agent.heard)
        self._started_ms = paused.started_ms if paused else stores.clock.now_ms()
        #: Messages seen so far, and changes that made the agent take part in a thread, and their stamps.
        self._visible: dict[str, int] = {}

    def run(self, terms: Terms) -> SessionThreadMessage | None:
        """Return the first message that counts; ``None`` when ``max_wait_ms`` or the door's limit is over.

        Raises `Conflict` when the session closes or the agent is stopped meanwhile, `Paused` when it has been held as
        long as it is to be: then the door's limit is no matter.
        """
        limit_ms = min(terms.max_wait_ms, MAX_WAIT_MS)
        if terms.hold_ms is not None:
            return self._run(self._started_ms + limit_ms, self._started_ms + terms.hold_ms)
        deadline_ms = self._started_ms + min(limit_ms, self._stores.settings.mcp_wait_limit_ms)
        return self._run(deadline_ms, deadline_ms)

    def resume(self) -> SessionThreadMessage | None:
        """Poll once; see `run`."""
        assert self._paused is not None
        now_ms = self._stores.clock.now_ms()
        return self._run(min(self._paused.deadline_ms, now_ms + MAX_WAIT_MS), now_ms)

    def _run(self, deadline_ms: int, hold_until_ms: int) -> SessionThreadMessage | None:
        try:
            entry = self._first(deadline_ms, hold_until_ms)
        except Paused:
            raise
        except BaseException:
            if self._noted:
                self._stores.agents.end_wait(self._actor.agent, self._id, heard=None)
            raise
        if entry is not None:
            self._heard = self._heard.with_given(entry)
        given = (entry.id, entry.at_ms) if entry is not None else None
        self._stores.agents.end_wait(self._actor.agent, self._id, heard=self._heard.to_item(), given=given)
        telemetry.count("Waits", outcome="timeout" if entry is None else "message")
        if entry is None:
            return None
        message = SessionThreadMessage.model_validate(entry.event["message"])
        if self._noted:
            self._tell(AgentWaitStop(timestamp=self._stores.clock.now_ms(), name=self._actor.name, message=message))
        return message

    def _first(self, deadline_ms: int, hold_until_ms: int) -> LogEntry | None:
        clock, session_id = self._stores.clock, self._actor.session_id
        now_ms = clock.now_ms()
        hearing = Hearing(self._actor.name, self._stores.threads.of_session(session_id))
        from_ms = self._from_ms - 1 if self._asks_behind_given else self._from_ms
        read_from_ms = min(from_ms, now_ms - OVERLAP_MS, self._heard.from_ms or now_ms)
        follower = Follower(self._stores.log, clock, session_id, read_from_ms)
        watch = self._stores.watch(session_id, self._cares)
        pause_s = FIRST_PAUSE_S
        counts: Callable[[LogEntry], bool] = self._counts_at_first
        while True:
            watch.arm()
            started_ms = clock.now_ms()
            found = self._poll(follower, hearing, counts, settled_ms=started_ms - OVERLAP_MS)
            if found is not None:
                return found
            self._heard = self._heard.with_poll(started_ms, self._visible)
            remaining_ms = deadline_ms - clock.now_ms()
            if remaining_ms <= 0:
                return None
            if not self._noted:
                self._note(deadline_ms)
            held_ms = min(deadline_ms, hold_until_ms) - clock.now_ms()
            if held_ms <= 0:
                raise self._pause(deadline_ms)
            watch.wait(pause_s, held_ms / 1000)
            pause_s = min(pause_s * PAUSE_GROWTH, LONGEST_PAUSE_S)
            counts = _always

    def _poll(
        self, follower: Follower, hearing: Hearing, counts: Callable[[LogEntry], bool], *, settled_ms: int
    ) -> LogEntry | None:
        """Return the first message that counts among the new entries.

        What is stamped before ``settled_ms`` can be judged as it comes: every change of that time is in the threads
        as they were read. Of later ones all are noted first, since their order is that of their writers' clocks.
        """
        recent: list[LogEntry] = []
        joined: list[str] = []
        started_ms = self._stores.clock.now_ms()
        for entry in follower.poll():
            if self._joined_while_paused(entry, hearing):
                joined.append(entry.event["threadId"])
            if entry.at_ms >= settled_ms:
                recent.append(entry)
            elif self._matches(entry, hearing) and counts(entry):
                return entry
        joined += [thread_id for entry in recent if (thread_id := self._note_entry(entry, hearing)) is not None]
        found = next((entry for entry in recent if self._matches(entry, hearing) and counts(entry)), None)
        for thread_id in joined:
            found = self._first_of_past(thread_id, hearing) or found
        if found is not None:
            self._heard = self._heard.with_poll(started_ms, self._visible)
        return found

    def _note_entry(self, entry: LogEntry, hearing: Hearing) -> str | None:
        event = entry.event
        if event["type"] == "thread_message_sent" and not self._heard.overlooked(entry):
            self._visible[entry.id] = entry.at_ms
        if event["type"] == "thread_participant_added":
            self._visible[entry.id] = entry.at_ms
        if event["type"] == SESSION_CLOSING:
            raise Conflict(f"the session {self._actor.session_id!r} is closing")
        if event["type"] == "runtime_stopped" and event["name"] == self._actor.name:
            raise Conflict(f"the agent {self._actor.name!r} was stopped: {event.get('reason', 'ended')}")
        return hearing.note(entry)

    def _joined_while_paused(self, entry: LogEntry, hearing: Hearing) -> bool:
        """Tell whether an entry adds the agent to a thread since the last poll before a pause.

        The threads were read after the pause and know of it: `Hearing.note` finds nothing new in it.
        """
        event = entry.event
        if self._paused is None or event["type"] != "thread_participant_added" or event["name"] != self._actor.name:
            return False
        return self._counts_at_first(entry) and hearing.hears(event["threadId"])

    def _pause(self, deadline_ms: int) -> Paused:
        now_ms = self._stores.clock.now_ms()
        rest_ms = min(max((now_ms - self._started_ms) // 4, SHORTEST_REST_MS), LONGEST_REST_MS, deadline_ms - now_ms)
        paused = PausedWait(
            id=self._id,
            filters=list(self._filters),
            started_ms=self._started_ms,
            deadline_ms=deadline_ms,
            heard=HeardOfLog.model_validate(self._heard.to_item()),
        )
        return Paused(paused, rest_ms)

    def _first_of_past(self, thread_id: str, hearing: Hearing) -> LogEntry | None:
        thread = self._stores.threads.find(self._actor.session_id, thread_id)
        if thread is None or not hearing.hears(thread_id):
            return None
        entries: Iterator[LogEntry] = self._stores.log.since(self._actor.session_id, thread.created_at_ms - OVERLAP_MS)
        return next(
            (e for e in entries if self._matches(e, hearing) and e.event["message"]["threadId"] == thread_id), None
        )

    def _counts_at_first(self, entry: LogEntry) -> bool:
        if self._paused is not None:  # the clock of what was seen already may be ahead of ours
            return entry.at_ms >= self._heard.from_ms and entry.id not in self._heard.ids
        return entry.at_ms >= self._from_ms or self._heard.overlooked(entry) or self._beside_given(entry)

    @property
    def _asks_behind_given(self) -> bool:
        """Whether it asks from the millisecond after a message that the agent was given."""
        return self._paused is None and self._from_ms - 1 in self._actor.agent.given.values()

    def _beside_given(self, entry: LogEntry) -> bool:
        """Tell whether an entry shares the millisecond of that message and was not given itself."""
        return self._asks_behind_given and entry.at_ms == self._from_ms - 1 and entry.id not in self._actor.agent.given

    def _cares(self, event: dict[str, Any]) -> bool:
        """Tell whether an event may end the wait; with the next poll all others are noted too."""
        match event["type"]:
            case "thread_message_sent":
                return all(_passes(event["message"], wanted) for wanted in self._filters)
            case "thread_participant_added" | "runtime_stopped":
                return bool(event["name"] == self._actor.name)
            case kind:
                return bool(kind == SESSION_CLOSING)

    def _matches(self, entry: LogEntry, hearing: Hearing) -> bool:
        if entry.event["type"] != "thread_message_sent":
            return False
        message = entry.event["message"]
        if message["senderName"] == self._actor.name or not hearing.hears(message["threadId"]):
            return False
        return all(_passes(message, wanted) for wanted in self._filters)

    def _note(self, deadline_ms: int) -> None:
        """Say that the agent waits, in its state and in the log; what is answered at once never was a wait."""
        now_ms = self._stores.clock.now_ms()
        self._noted = True
        self._stores.agents.start_wait(self._actor.agent, self._id, until_ms=deadline_ms + BELIEVED_MS, now_ms=now_ms)
        self._tell(AgentWaitStart(timestamp=now_ms, name=self._actor.name, filters=list(self._filters)))

    def _tell(self, event: AgentWaitStart | AgentWaitStop) -> None:
        self._stores.log.append(
            self._actor.session_id,
            event.to_wire(),
            at_ms=event.timestamp,
            expires_at=self._actor.agent.expires_at,
        )


def _passes(message: dict[str, Any], wanted: Filter) -> bool:
    if isinstance(wanted, FromFilter):
        return bool(message["senderName"] == wanted.name)
    return wanted.name in message["mentionNames"]


def _always(_entry: LogEntry) -> bool:
    return True
