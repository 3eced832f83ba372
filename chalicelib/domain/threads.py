"""Threads: agents talk in them, by their tools or by the puppet API. One implementation for both doors.

Each change is one conditional update of the thread, then one entry of the session's log, from which waiting agents
learn of it. A crash between the two loses nothing that was acknowledged.
"""

import uuid
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NoReturn

from chalicelib.domain.actors import Actor
from chalicelib.domain.errors import BadRequest, NotFound, TooLarge
from chalicelib.store.log import WRITE_LIMIT_MS, LogEntry
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


def create(stores: "Stores", actor: Actor, name: str, participants: Iterable[str]) -> SessionThread:
    """Open a thread with its creator and these agents in it.

    Raises `NotFound` that lists the names which are not in the session, `BadRequest` that lists those not linked to
    the creator.
    """
    others = [other for other in participants if other != actor.name]
    _check_reachable(stores, actor, others)
    record = ThreadRecord(
        session_id=actor.session_id,
        thread_id=str(uuid.uuid4()),
        name=name,
        creator_name=actor.name,
        created_at_ms=stores.clock.now_ms(),
        expires_at=actor.agent.expires_at,
        participants={actor.name, *others},
    )
    stores.threads.create(record)
    thread = view(record)
    _tell(stores, actor, ThreadCreated(timestamp=record.created_at_ms, thread=thread), seq=0)
    return thread


def close(stores: "Stores", actor: Actor, thread_id: str, summary: str) -> None:
    """Close a thread: its messages are gone from every view, its summary stays.

    Raises `NotFound` for an unknown thread, `BadRequest` when it is closed already or the actor takes no part in it.
    """
    now_ms = stores.clock.now_ms()
    change = stores.threads.close(actor.session_id, thread_id, requester=actor.name, summary=summary, now_ms=now_ms)
    thread = _existing(change.thread, thread_id)
    if not change.made:
        _check_open(thread)
        _check_takes_part(thread, actor.name)
        _raced(thread)
    _tell(stores, actor, ThreadClosed(timestamp=now_ms, thread_id=thread_id, summary=summary), seq=thread.change_count)


def add_participant(stores: "Stores", actor: Actor, thread_id: str, name: str) -> None:
    """Add an agent to a thread in which the actor takes part and the agent does not yet.

    Raises `NotFound` for an unknown thread or agent, `BadRequest` for anything else that is against it.
    """
    _check_reachable(stores, actor, [name])
    now_ms = stores.clock.now_ms()
    change = stores.threads.add(actor.session_id, thread_id, requester=actor.name, name=name)
    thread = _existing(change.thread, thread_id)
    if not change.made:
        _check_open(thread)
        _check_takes_part(thread, actor.name)
        if name in thread.participants:
            raise BadRequest(f"the agent {name!r} takes part in the thread {thread_id!r} already")
        _raced(thread)
    _tell(
        stores,
        actor,
        ThreadParticipantAdded(timestamp=now_ms, thread_id=thread_id, name=name),
        seq=thread.change_count,
    )


def remove_participant(stores: "Stores", actor: Actor, thread_id: str, name: str) -> None:
    """Remove an agent from a thread in which both take part; the actor may remove itself.

    Raises `NotFound` for an unknown thread, `BadRequest` for anything else that is against it.
    """
    now_ms = stores.clock.now_ms()
    change = stores.threads.remove(actor.session_id, thread_id, requester=actor.name, name=name)
    thread = _existing(change.thread, thread_id)
    if not change.made:
        _check_open(thread)
        _check_takes_part(thread, actor.name)
        _check_takes_part(thread, name)
        _raced(thread)
    _tell(
        stores,
        actor,
        ThreadParticipantRemoved(timestamp=now_ms, thread_id=thread_id, name=name),
        seq=thread.change_count,
    )


def send(stores: "Stores", actor: Actor, thread_id: str, content: str, mentions: list[str]) -> SessionThreadMessage:
    """Send a message to an open thread; whom it mentions must take part in it.

    Raises `NotFound` for an unknown thread or a mentioned agent that takes no part in it, `BadRequest` when the thread
    is closed, the sender mentions itself or takes no part.
    """
    if actor.name in mentions:
        raise BadRequest(f"the agent {actor.name!r} cannot mention itself")
    change = stores.threads.take_place(actor.session_id, thread_id, sender=actor.name, mentions=mentions)
    thread = _existing(change.thread, thread_id)
    if not change.made:
        _check_open(thread)
        _check_takes_part(thread, actor.name)
        absent = [name for name in mentions if name not in thread.participants]
        if absent:
            raise NotFound(f"not in the thread {thread_id!r}, so not to be mentioned: {_listed(absent)}")
        _raced(thread)
    message = SessionThreadMessage(
        id=str(uuid.uuid4()),
        thread_id=thread_id,
        text=content,
        sender_name=actor.name,
        mention_names=mentions,
        timestamp=stores.clock.now_ms(),  # now, not before the update: the shorter ago, the fewer readers are past it
    )
    _tell(stores, actor, ThreadMessageSent(timestamp=message.timestamp, message=message), seq=thread.message_count)
    return message


def views(stores: "Stores", session_id: str, *, at_most_bytes: int | None = None) -> list[SessionThread]:
    """Return all threads of a session, oldest first, each with its messages in the order of the thread.

    Raises `TooLarge` as soon as the messages have more than ``at_most_bytes``.
    """
    records = stores.threads.of_session(session_id)
    if not any(record.state == "open" and record.message_count for record in records):
        return [view(record) for record in records]
    entries = stores.log.since(session_id, 0)
    return with_messages(records, entries if at_most_bytes is None else _bounded(entries, records, at_most_bytes))


def _bounded(entries: Iterable[LogEntry], records: list[ThreadRecord], at_most_bytes: int) -> Iterator[LogEntry]:
    shown = {record.thread_id for record in records if record.state == "open"}
    size = 0
    for entry in entries:
        if entry.event["type"] == "thread_message_sent" and entry.event["message"]["threadId"] in shown:
            size += len(entry.event["message"]["text"].encode())
            if size > at_most_bytes:
                raise TooLarge(
                    f"the messages of the session have more than {at_most_bytes} bytes: read its threads "
                    "page by page, at /thread and /thread/{threadId}/message under it"
                )
        yield entry


def find(stores: "Stores", session_id: str, thread_id: str) -> ThreadRecord:
    """Return a thread of a session; raise `NotFound` when there is none."""
    return _existing(stores.threads.find(session_id, thread_id), thread_id)


def messages(
    stores: "Stores", thread: ThreadRecord, start: str | None
) -> Iterator[tuple[str, SessionThreadMessage | None]]:
    """Read a thread's messages in the order in which they were written, each once, from behind a position on.

    Gives each entry of the log that it passes, with its position: a message of the thread or ``None``. A closed
    thread has none.
    """
    if thread.state != "open":
        return
    for entry in stores.log.behind(thread.session_id, start):
        event = entry.event
        if event["type"] != "thread_message_sent" or event["message"]["threadId"] != thread.thread_id:
            yield entry.position, None
            continue
        message = SessionThreadMessage.model_validate(event["message"])
        yield entry.position, None if _told_before(stores, thread, entry, message) else message


def _told_before(stores: "Stores", thread: ThreadRecord, entry: LogEntry, message: SessionThreadMessage) -> bool:
    """Tell whether an entry is the copy of an earlier one: a writer repeats what took it too long (`store.log`)."""
    if entry.at_ms - message.timestamp <= WRITE_LIMIT_MS:
        return False
    for earlier in stores.log.since(thread.session_id, message.timestamp):
        if earlier.at_ms >= entry.at_ms:
            return False
        if earlier.id == entry.id:
            return True
    return False


def with_messages(records: list[ThreadRecord], entries: Iterable[LogEntry]) -> list[SessionThread]:
    """Put the messages among these entries of the log into their threads; closed threads show none."""
    found: dict[str, dict[str, tuple[int, SessionThreadMessage]]] = {
        record.thread_id: {} for record in records if record.state == "open"
    }
    for entry in entries:
        if entry.event["type"] == "thread_message_sent":
            message = entry.event["message"]
            if message["threadId"] in found:
                found[message["threadId"]][entry.id] = (entry.seq or 0, SessionThreadMessage.model_validate(message))
    in_order = {thread: sorted(places.values(), key=lambda place: place[0]) for thread, places in found.items()}
    return [view(record, [message for _, message in in_order.get(record.thread_id, [])]) for record in records]


def overview(record: ThreadRecord) -> SessionThreadOverview:
    """Return a thread without its messages. A closed one has none left."""
    whole = view(record)
    return SessionThreadOverview(
        id=whole.id,
        name=whole.name,
        creator_name=whole.creator_name,
        participants=whole.participants,
        message_count=record.message_count if record.state == "open" else 0,
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


def _tell(stores: "Stores", actor: Actor, event: SessionEvent, *, seq: int) -> None:
    stores.log.append(
        actor.session_id, event.to_wire(), at_ms=event.timestamp, expires_at=actor.agent.expires_at, seq=seq
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
