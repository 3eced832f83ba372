"""Threads: agents talk in them, by their tools or by the puppet API. One implementation for both.

Who takes part in a thread, and its end, are each one conditional update of the thread, then one entry of the session's
log, from which waiting agents learn of it. A crash between the two loses nothing that was acknowledged. A message is an
entry of the log alone: whether it may be sent is judged on the thread as it was read for it.
"""

import dataclasses
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, NoReturn

from chalicelib.domain import actors
from chalicelib.domain.actors import Actor
from chalicelib.domain.errors import BadRequest, NotFound, TooLarge, TryLater
from chalicelib.store.log import LogEntry, Ticket
from chalicelib.store.message_counts import Counted
from chalicelib.store.sessions import SessionRecord
from chalicelib.store.threads import ThreadRecord
from chalicelib.wire.events import (
    SessionEvent,
    ThreadClosed,
    ThreadCreated,
    ThreadMessageSent,
    ThreadParticipantAdded,
    ThreadParticipantRemoved,
)
from chalicelib.wire.threads import (
    ClosedThread,
    OpenThread,
    SessionThread,
    SessionThreadMessage,
    SessionThreadOverview,
)

if TYPE_CHECKING:
    from chalicelib.stores import Stores

logger = logging.getLogger(__name__)

#: The most bytes of a session's threads, without messages, that are read together: more, no answer could hold.
MOST_BYTES = 5_000_000
#: How much of a log is read for one answer, about as DynamoDB counts it: 50 MB are 12,000 read units.
READ_BYTES = 50_000_000
#: What an entry takes besides a text, about, and what a message takes at least in an answer.
_ENTRY_BYTES, MESSAGE_BYTES = 300, 170
#: How many entries are counted anew each time rather than kept.
COUNTED_ANEW = 500


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What an answer may take to be built: its own bytes, and time (until a time, epoch ms)."""

    answer_bytes: int
    deadline_ms: int


def create(stores: "Stores", actor: Actor, name: str, participants: Iterable[str]) -> SessionThread:
    """Open a thread with its creator and these agents in it.

    Raises `NotFound` that lists the names which are not in the session, `BadRequest` that lists those not linked to
    the creator, or says that the session has no room for another.
    """
    others = [other for other in participants if other != actor.name]
    _check_reachable(stores, actor, others)
    # About what its entry takes, which has the stamp that is drawn here.
    size = 500 + len(name.encode()) + sum(len(each.encode()) + 3 for each in [*others, actor.name])
    with actors.writing(actor):
        ticket = stores.log.draw_for_thread(actor.session_id, size, expires_at=actor.agent.expires_at)
    record = ThreadRecord(
        session_id=actor.session_id,
        thread_id=str(uuid.uuid4()),
        name=name,
        creator_name=actor.name,
        created_at_ms=ticket.stamp_ms,
        expires_at=actor.agent.expires_at,
        participants={actor.name, *others},
        log_position=ticket.position,
    )
    stores.threads.create(record)
    thread = view(record)
    _append(stores, actor, lambda stamp_ms: ThreadCreated(timestamp=stamp_ms, thread=thread), ticket)
    logger.info("thread created", extra={**actor.ids, "threadId": record.thread_id})
    return thread


def close(stores: "Stores", actor: Actor, thread_id: str, summary: str) -> None:
    """Close a thread: its messages are gone from every view, its summary stays.

    As in Coral, any agent of the session may. Raises `NotFound` for an unknown thread, `BadRequest` when it is closed
    already.
    """
    change = stores.threads.close(actor.session_id, thread_id, summary=summary, now_ms=stores.clock.now_ms())
    thread = _existing(change.thread, thread_id)
    if not change.made:
        _check_open(thread)
        _raced(thread)
    _append(
        stores,
        actor,
        lambda stamp_ms: ThreadClosed(timestamp=stamp_ms, thread_id=thread_id, summary=summary),
        reserve=True,
    )


def add_participant(stores: "Stores", actor: Actor, thread_id: str, name: str) -> None:
    """Add an agent to a thread, open or closed, in which the actor takes part and the agent does not yet.

    Raises `NotFound` for an unknown thread or agent, `BadRequest` for anything else that is against it.
    """
    _check_reachable(stores, actor, [name])
    change = stores.threads.add(actor.session_id, thread_id, requester=actor.name, name=name)
    thread = _existing(change.thread, thread_id)
    if not change.made:
        _check_takes_part(thread, actor.name)
        if name in thread.participants:
            raise BadRequest(f"the agent {name!r} takes part in the thread {thread_id!r} already")
        _raced(thread)
    _append(
        stores,
        actor,
        lambda stamp_ms: ThreadParticipantAdded(timestamp=stamp_ms, thread_id=thread_id, name=name),
        reserve=True,
    )


def remove_participant(stores: "Stores", actor: Actor, thread_id: str, name: str) -> None:
    """Remove an agent from a thread, open or closed, in which both take part; the actor may remove itself.

    Raises `NotFound` for an unknown thread, `BadRequest` for anything else that is against it.
    """
    change = stores.threads.remove(actor.session_id, thread_id, requester=actor.name, name=name)
    thread = _existing(change.thread, thread_id)
    if not change.made:
        _check_takes_part(thread, actor.name)
        _check_takes_part(thread, name)
        _raced(thread)
    _append(
        stores,
        actor,
        lambda stamp_ms: ThreadParticipantRemoved(timestamp=stamp_ms, thread_id=thread_id, name=name),
        reserve=True,
    )


def send(stores: "Stores", actor: Actor, thread_id: str, content: str, mentions: list[str]) -> SessionThreadMessage:
    """Send a message to an open thread; whom it mentions must take part in it, its sender need not, as in Coral.

    Raises `NotFound` for an unknown thread or a mentioned agent that takes no part in it, `BadRequest` when the thread
    is closed or the sender mentions itself.
    """
    if actor.name in mentions:
        raise BadRequest(f"the agent {actor.name!r} cannot mention itself")
    thread = _existing(_read_for(stores, actor, thread_id), thread_id)
    _check_open(thread)
    absent = [name for name in mentions if name not in thread.participants]
    if absent:
        raise NotFound(f"not in the thread {thread_id!r}, so not to be mentioned: {_listed(absent)}")
    message = SessionThreadMessage(
        id=str(uuid.uuid4()),
        thread_id=thread_id,
        text=content,
        sender_name=actor.name,
        mention_names=mentions,
        timestamp=0,
    )

    def sent_at(stamp_ms: int) -> ThreadMessageSent:
        return ThreadMessageSent(timestamp=stamp_ms, message=message.model_copy(update={"timestamp": stamp_ms}))

    return message.model_copy(update={"timestamp": _append(stores, actor, sent_at).stamp_ms})


def _read_for(stores: "Stores", actor: Actor, thread_id: str) -> ThreadRecord | None:
    # An agent's first request may have waited for others after it was read.
    fresh = actor.agent.connected_at_ms is not None or not actor.agent.blocking
    if fresh and actor.thread is not None and actor.thread.thread_id == thread_id:
        return actor.thread
    return stores.threads.find(actor.session_id, thread_id)


def views(stores: "Stores", session_id: str, *, live: bool = True, bounds: Bounds | None = None) -> list[SessionThread]:
    """Return all threads of a session, oldest first, each with its messages in the order of the log.

    Raises `TooLarge` as soon as that takes more than the bounds, or there are more threads than any answer holds.
    """
    records = bounded(stores, session_id)
    if records is None:
        raise TooLarge(
            f"the threads of the session have more than {MOST_BYTES} bytes: list them page by page, at /thread under it"
        )
    if not any(record.state == "open" for record in records):
        return [view(record) for record in records]
    entries = stores.log.read(session_id, live=live)
    return with_messages(records, entries if bounds is None else _bounded(stores, entries, records, bounds))


def bounded(stores: "Stores", session_id: str) -> list[ThreadRecord] | None:
    """Read the threads of a session, oldest first; ``None`` when they have more than `MOST_BYTES`."""
    found, size = [], 0
    for record in stores.threads.page(session_id, start=None, limit=None):
        size += record.item_bytes
        if size > MOST_BYTES:
            return None
        found.append(record)
    return sorted(found, key=lambda record: (record.created_at_ms, record.thread_id))


def is_live(session: SessionRecord) -> bool:
    """Return whether the log of a session still grows by what its agents do."""
    return session.status != "closing"


def _bounded(
    stores: "Stores", entries: Iterable[LogEntry], records: list[ThreadRecord], bounds: Bounds
) -> Iterator[LogEntry]:
    shown = {record.thread_id for record in records if record.state == "open"}
    answered = read = 0
    for entry in entries:
        message = entry.event["message"] if entry.event["type"] == "thread_message_sent" else None
        text = len(message["text"].encode()) if message else 0
        read += _ENTRY_BYTES + text
        if message and message["threadId"] in shown:
            answered += MESSAGE_BYTES + text + sum(map(len, message["mentionNames"]))
        if answered > bounds.answer_bytes:
            raise _too_large(f"the messages of the session have more than {bounds.answer_bytes} bytes")
        if read > READ_BYTES:
            raise _too_large(f"the log of the session has more than {READ_BYTES} bytes")
        if stores.clock.now_ms() > bounds.deadline_ms:
            raise _too_large("the log of the session takes too long to be read")
        yield entry


def _too_large(why: str) -> TooLarge:
    return TooLarge(f"{why}: read its threads page by page, at /thread and /thread/{{threadId}}/message under it")


def find(stores: "Stores", session_id: str, thread_id: str) -> ThreadRecord:
    """Return a thread of a session; raise `NotFound` when there is none."""
    return _existing(stores.threads.find(session_id, thread_id), thread_id)


def messages(
    stores: "Stores", session: SessionRecord, thread: ThreadRecord, start: str | None
) -> Iterator[tuple[str, SessionThreadMessage | None]]:
    """Read a thread's messages in the order of the log, from behind a position on.

    Gives each entry of the log that it passes, with its position: a message of the thread or ``None``. A closed
    thread has none. Raises `BadRequest` for a ``start`` that is not a position.
    """
    if start is not None and not start.isdecimal():
        raise BadRequest("cursor: it was given by an earlier version of this listing")
    if thread.state != "open":
        return
    for entry in stores.log.read(session.session_id, int(start or 0) + 1, live=is_live(session)):
        message = entry.event["message"] if entry.event["type"] == "thread_message_sent" else None
        wanted = message is not None and message["threadId"] == thread.thread_id
        yield str(entry.position), SessionThreadMessage.model_validate(message) if wanted else None


def with_messages(records: list[ThreadRecord], entries: Iterable[LogEntry]) -> list[SessionThread]:
    """Put the messages among these entries of the log into their threads; closed threads show none."""
    found: dict[str, list[SessionThreadMessage]] = {
        record.thread_id: [] for record in records if record.state == "open"
    }
    for entry in entries:
        if entry.event["type"] == "thread_message_sent" and entry.event["message"]["threadId"] in found:
            message = SessionThreadMessage.model_validate(entry.event["message"])
            found[message.thread_id].append(message)
    return [view(record, found.get(record.thread_id, [])) for record in records]


def message_counts(stores: "Stores", session: SessionRecord, deadline_ms: int) -> dict[str, int]:
    """Count the messages of each thread of a session, going on from where somebody counted last.

    Raises `TryLater` when it takes past a time (epoch ms), and the next one goes on from there; `TooLarge` for a
    session that has ended, where it cannot.
    """
    kept = stores.message_counts.find(session.session_id)
    counts, position, late = Counter(kept.by_thread), kept.position, False
    for entry in stores.log.read(session.session_id, position + 1, live=is_live(session)):
        position = entry.position
        if entry.event["type"] == "thread_message_sent":
            counts[entry.event["message"]["threadId"]] += 1
        if late := stores.clock.now_ms() > deadline_ms:
            break
    if is_live(session) and (late or position - kept.position > COUNTED_ANEW):
        stores.message_counts.keep(session.session_id, Counted(position, counts), expires_at=session.expires_at)
    if late and is_live(session):
        raise TryLater("the messages of the session are still being counted")
    if late:
        raise TooLarge(
            "the log of the session takes too long to be read: it is in the history once the session is gone"
        )
    return counts


def overviews(
    stores: "Stores", session: SessionRecord, deadline_ms: int
) -> Callable[[ThreadRecord], SessionThreadOverview]:
    """Return what makes overviews of a session's threads; the messages are counted for the first open one.

    It raises as `message_counts`.
    """
    counts = cache(lambda: message_counts(stores, session, deadline_ms))
    return lambda record: _overview(record, counts().get(record.thread_id, 0) if record.state == "open" else 0)


def _overview(record: ThreadRecord, message_count: int) -> SessionThreadOverview:
    """Return a thread without its messages. A closed one has none left."""
    whole = view(record)
    return SessionThreadOverview(
        id=whole.id,
        name=whole.name,
        creator_name=whole.creator_name,
        participants=whole.participants,
        message_count=message_count,
        state=whole.state,
        timestamp=whole.timestamp,
    )


def view(record: ThreadRecord, messages: Iterable[SessionThreadMessage] = ()) -> SessionThread:
    """Return a thread as clients see it: its creator first, the other participants by name."""
    return SessionThread(
        id=record.thread_id,
        name=record.name,
        creator_name=record.creator_name,
        participants=sorted(record.participants, key=lambda name: (name != record.creator_name, name)),
        messages=list(messages),
        state=OpenThread()
        if record.state == "open"
        else ClosedThread(summary=record.summary or "", timestamp=record.closed_at_ms or 0),
        timestamp=record.created_at_ms,
    )


def _append(
    stores: "Stores",
    actor: Actor,
    event_at: Callable[[int], SessionEvent],
    ticket: Ticket | None = None,
    *,
    reserve: bool = False,
) -> LogEntry:
    with actors.writing(actor):
        return stores.log.append(
            actor.session_id,
            lambda stamp_ms: event_at(stamp_ms).to_wire(),
            expires_at=actor.agent.expires_at,
            ticket=ticket,
            reserve=reserve,
        )


def _check_reachable(stores: "Stores", actor: Actor, names: list[str]) -> None:
    """Check that agents are in the session and, where its groups say who knows whom, that the actor knows them."""
    strangers = [name for name in names if name != actor.name and name not in actor.agent.links]
    if not strangers:  # linked agents are in the session: the links were made of its graph
        return
    found = stores.reads.agents(actor.session_id, strangers)
    unknown = [name for name, agent in zip(strangers, found, strict=True) if agent is None]
    if unknown:
        raise NotFound(f"not in this session: {_listed(unknown)}")
    if actor.session.groups:
        raise BadRequest(f"not linked to the agent {actor.name!r} by a group: {_listed(strangers)}")


def _existing(thread: ThreadRecord | None, thread_id: str) -> ThreadRecord:
    if thread is None:
        raise NotFound(f"there is no thread {thread_id!r} in this session")
    return thread


def _check_open(thread: ThreadRecord) -> None:
    if thread.state != "open":
        raise BadRequest(f"the thread {thread.thread_id!r} is closed")


def _check_takes_part(thread: ThreadRecord, name: str) -> None:
    if name not in thread.participants:
        raise BadRequest(f"the agent {name!r} takes no part in the thread {thread.thread_id!r}")


def _raced(thread: ThreadRecord) -> NoReturn:
    raise AssertionError(f"the thread {thread.thread_id} refused a change for no reason that is known")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
