"""Waiting for a message: from the place of a time in the session's log on.

What counts is a message by another agent, in an open thread that the waiting agent takes part in, and

- stamped at or after the ``currentUnixTime`` of the call; or
- that comes while the wait lasts, whatever its stamp; or
- in a thread to which the agent is added while it waits: the first of all that the thread holds.

Stamps rise with positions: who goes on from the millisecond after a message misses none and gets none twice. A wait
stands before the position of a slow writer for up to a second, be that longer than it was to last.
Who was told by a wait from when on to ask next need not know that (`Heard.next_ms`).
A wait may be *paused*: the client comes back for it with the position that it has reached. Nothing is written for that.
"""

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from chalicelib import telemetry
from chalicelib.domain.actors import Actor
from chalicelib.domain.errors import Conflict
from chalicelib.domain.waits.cancelling import RequestId, new_wait_id
from chalicelib.domain.waits.hearing import Filter, Hearing
from chalicelib.domain.waits.looking import first_of_past, hears
from chalicelib.store.log import Event, Follower, Full, LogEntry, Sealed, Ticket
from chalicelib.wire.events import AgentWaitStart, AgentWaitStop, FromFilter, MentionsFilter
from chalicelib.wire.threads import MAX_WAIT_MS, SessionThreadMessage
from chalicelib.wire.waits import PausedWait

if TYPE_CHECKING:
    from chalicelib.stores import Stores

#: How much longer than its deadline a wait is believed in, if it does not say that it has ended.
BELIEVED_MS = 2_000
#: How long a paused wait is left alone, in ms: a quarter of the time that it has lasted, within these.
SHORTEST_REST_MS, LONGEST_REST_MS = 500, 5_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Terms:
    """From when on messages count, and until when it is waited, or held before it is paused; all in epoch ms."""

    from_ms: int
    deadline_ms: int
    hold_until_ms: int | None = None
    #: By which its client can cancel it.
    request_id: RequestId = None


@dataclasses.dataclass(frozen=True)
class Heard:
    """The message that ended a wait, ``None`` when its time was over."""

    message: SessionThreadMessage | None
    #: From when on (epoch ms) to ask next: nothing that came since is missed, and nothing given before comes again.
    next_ms: int


class Paused(Exception):
    """A wait that the client comes back for, in ``rest_ms``."""

    def __init__(self, wait: PausedWait, rest_ms: int) -> None:
        super().__init__("the wait is paused")
        self.wait, self.rest_ms = wait, rest_ms


def for_message(stores: "Stores", actor: Actor, terms: Terms) -> Heard:
    """Wait for any message. Raises `Conflict` when session or agent end, or the client cancels it; `Paused`."""
    return _begun(stores, actor, [], terms)


def for_mention(stores: "Stores", actor: Actor, terms: Terms) -> Heard:
    """Wait for a message that mentions the actor, as `for_message` does."""
    return _begun(stores, actor, [MentionsFilter(name=actor.name)], terms)


def for_agent(stores: "Stores", actor: Actor, sender: str, terms: Terms) -> Heard:
    """Wait for a message by one agent, as `for_message` does; as in Coral, one by an unknown agent never comes."""
    return _begun(stores, actor, [FromFilter(name=sender)], terms)


def resume(stores: "Stores", actor: Actor, paused: PausedWait) -> Heard:
    """Look once more for what a paused wait is for, as `for_message` does; raise `Paused` when it is not over."""
    now_ms = stores.clock.now_ms()  # the client carries the deadline: no wait is longer than the longest
    wait = paused.model_copy(update={"deadline_ms": min(paused.deadline_ms, now_ms + MAX_WAIT_MS)})
    return _Wait(stores, actor, wait, Follower(stores.log, actor.session_id, wait.position)).run(now_ms)


def _begun(stores: "Stores", actor: Actor, filters: list[Filter], terms: Terms) -> Heard:
    started_ms = stores.clock.now_ms()
    head = actor.head or stores.log.head(actor.session_id) or Ticket(0, 0)
    follower = stores.log.follow(actor.session_id, terms.from_ms, head)
    wait = PausedWait(
        id=new_wait_id(terms.request_id),
        filters=filters,
        started_ms=started_ms,
        deadline_ms=terms.deadline_ms,
        # What comes while it lasts is stamped later than the head, be that by clocks that are behind this one.
        next_ms=min(terms.from_ms, head.stamp_ms + 1),
        position=follower.position,
    )
    return _Wait(stores, actor, wait, follower, from_ms=terms.from_ms, since=head.position).run(terms.hold_until_ms)


class _Wait:
    """One wait of one agent, from its beginning, or (without a time) from a pause on."""

    def __init__(
        self,
        stores: "Stores",
        actor: Actor,
        wait: PausedWait,
        follower: Follower,
        *,
        from_ms: int | None = None,
        since: int = 0,
    ) -> None:
        self._stores, self._actor, self._wait, self._follower = stores, actor, wait, follower
        self._hearing = Hearing(actor.name, wait, since)
        #: From when on messages count that were there before; ``None`` once these are judged.
        self._from_ms = from_ms
        #: Whether the agent is seen waiting.
        self._noted = from_ms is None

    def run(self, hold_until_ms: int | None) -> Heard:
        try:
            entry = self._first(hold_until_ms)
        except Paused:
            raise
        except BaseException:
            self._end()
            raise
        self._end()
        telemetry.count("Waits", outcome="timeout" if entry is None else "message")
        message = None if entry is None else SessionThreadMessage.model_validate(entry.event["message"])
        self._tell(message)
        # Not before the time that it was to ask from: the past of a thread may have its message from then.
        return Heard(message, max(self._wait.next_ms, entry.stamp_ms + 1 if entry else 0))

    def _first(self, hold_until_ms: int | None) -> LogEntry | None:
        clock, deadline_ms = self._stores.clock, self._wait.deadline_ms
        end_ms = deadline_ms if hold_until_ms is None else min(deadline_ms, hold_until_ms)
        for _ in self._stores.looks(self._actor.session_id, end_ms, self._hearing.cares):
            for page in self._follower.poll():
                if (found := self._judged(page)) is not None:
                    return found
            self._from_ms = None
            if clock.now_ms() >= deadline_ms:
                return None
            if not self._noted:
                self._note()
        if hold_until_ms is None:  # its time has ended since it was looked at
            return None
        rest_ms = min(max((clock.now_ms() - self._wait.started_ms) // 4, SHORTEST_REST_MS), LONGEST_REST_MS)
        reached = self._wait.model_copy(update={"position": self._follower.position})
        raise Paused(reached, max(0, min(rest_ms, deadline_ms - clock.now_ms())))

    def _judged(self, page: list[LogEntry]) -> LogEntry | None:
        """Return the message of a page with which the wait ends."""
        hearing, known = self._hearing, set(self._hearing.known)
        for place, entry in enumerate(page):
            hearing.note(entry)
            joined = hearing.adds_to(entry) if self._from_ms is None else None
            if joined and (past := self._first_of_past(joined, entry)):
                return past
            if entry.stamp_ms < (self._from_ms or 0) or not hearing.wants(entry) or not self._hears(page[place:]):
                continue
            thread_id = entry.event["message"]["threadId"]
            if self._from_ms is None and thread_id not in known:
                # The thread was read later than this page: the agent may be in it only by what is behind this message.
                behind = chain(page[place:], *self._follower.poll())
                if thread_id in map(hearing.adds_to, behind):
                    return self._first_of_past(thread_id, entry) or entry
            return entry
        return None

    def _hears(self, page: list[LogEntry]) -> bool:
        return hears(self._stores, self._actor.session_id, self._hearing, page)

    def _first_of_past(self, thread_id: str, before: LogEntry) -> LogEntry | None:
        return first_of_past(self._stores, self._actor.session_id, self._hearing, (thread_id, before))

    def _note(self) -> None:
        """Say that the agent waits, in its state and in the log."""
        self._noted, now_ms, until_ms = True, self._stores.clock.now_ms(), self._wait.deadline_ms + BELIEVED_MS
        most = self._stores.settings.agent_waits
        if not self._stores.agents.start_wait(
            self._actor.agent, self._wait.id, until_ms=until_ms, now_ms=now_ms, most=most
        ):
            self._noted = False
            raise Conflict(f"the agent {self._actor.name!r} has {most} waits under way, as many as it may have at once")
        self._append(self._started)

    def _tell(self, message: SessionThreadMessage | None) -> None:
        """Put into the log what it does not have yet of a wait that has ended: as in Coral, no stop without a message.

        A wait that is answered at once has its start here too: with one ticket for both, that costs three calls.
        """
        started = self._noted or (message is None and self._wait.deadline_ms <= self._wait.started_ms)
        self._append(*([] if started else [self._started]), *([partial(self._stopped, message)] if message else []))

    def _started(self, stamp_ms: int) -> Event:
        return AgentWaitStart(timestamp=stamp_ms, name=self._actor.name, filters=list(self._wait.filters)).to_wire()

    def _stopped(self, message: SessionThreadMessage, stamp_ms: int) -> Event:
        return AgentWaitStop(timestamp=stamp_ms, name=self._actor.name, message=message).to_wire()

    def _end(self) -> None:
        if self._noted:
            self._stores.agents.end_wait(self._actor.agent, self._wait.id)

    def _append(self, *events_at: Callable[[int], Event]) -> None:
        if events_at:
            expires_at = self._actor.agent.expires_at
            # The session is over, and what ends the wait is in its log or on the way; or the log has no room for more.
            with suppress(Sealed, Full):
                self._stores.log.append_in_a_row(self._actor.session_id, events_at, expires_at=expires_at)
