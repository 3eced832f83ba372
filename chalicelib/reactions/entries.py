"""What follows from an entry of a session's log: it is pushed to the session's followers, and told to its functions.

The stream has entries in the order in which they were written, which is not always that of their positions: a slow
writer's comes late. So a record only says that there is something; what is pushed is the log from where it was pushed
before, position by position, as every reader reads it. What comes twice is not pushed twice.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from chalicelib.domain import events
from chalicelib.reactions import lifecycle, nudges
from chalicelib.store.followers import Followed
from chalicelib.store.log import LogEntry
from chalicelib.wire.events import AgentWaitStop, ThreadClosed, ThreadMessageSent

if TYPE_CHECKING:
    from chalicelib.services import Services
    from chalicelib.wire.events import SessionEvent


#: Largest event on the bus, in bytes: beyond it the text of a message is left out (EventBridge takes 256 KB in all).
LARGEST_ON_BUS = 200_000


def to_entries(services: "Services", session_id: str, entries: Iterable[LogEntry]) -> None:
    """React to entries that were written to a session's log, in whatever order; they are taken only when needed."""
    if services.settings.session_events:
        entries = list(entries)
        _publish(services, session_id, entries)
    followed = services.session_followers.of_session(session_id)
    if followed.turns:
        entries = list(entries)
        nudges.to_entries(services, followed.turns, entries)
    if followed.caught_up:
        _push_pages(services, session_id, followed, _pages(services, session_id, followed.position, entries))


def to_follower(services: "Services", session_id: str, connection_id: str) -> None:
    """React to a new follower: push what is in the log behind its beginning; from then on it gets what comes."""
    followed = services.session_followers.of_session(session_id)
    follower = next((each for each in followed.followers if each.connection_id == connection_id), None)
    if follower is None or follower.caught_up:  # gone meanwhile, or this comes twice
        return
    position = follower.position
    for page in services.log.pages(session_id, position + 1, past_end=True):
        frames = [frame for _, frame in _frames(services, page, cursors=follower.cursors)]
        if not _deliver(services, session_id, {connection_id: frames}):
            return
        position = page[-1].position
    if not followed.caught_up and followed.position < position:
        services.session_followers.pushed(session_id, position, expires_at=followed.expires_at)
    services.session_followers.caught_up(session_id, connection_id, position)


def to_end(services: "Services", session_id: str) -> None:
    """React to the end of a session that is followed: push what is left of its log, and delete that and its followers.

    The reaction to their removal closes their connections. The stream has this behind all that was acknowledged, so
    there is something left to push only if a record before this one was given up.
    """
    for follower in services.session_followers.of_session(session_id).followers:
        if not follower.caught_up:
            to_follower(services, session_id, follower.connection_id)
    followed = services.session_followers.of_session(session_id)
    if followed.caught_up:
        rest = services.log.pages(session_id, followed.position + 1, past_end=True)
        _push_pages(services, session_id, followed, rest)
    while not services.session_items.purge(session_id, at_most=lifecycle.PURGE_SLICE, waits_end=True):
        pass


def to_follower_gone(services: "Services", connection_id: str) -> None:
    """React to a follower that was forgotten, or went with its session: close its connection."""
    services.connections.close([connection_id])


def to_stopped(services: "Services", session_id: str) -> None:
    """React to an agent that ran as a function and has stopped: its session closes when it was the last one."""
    agent = next(iter(services.agents.page(session_id, start=None, limit=1)), None)
    if agent is not None:
        lifecycle.close_when_exited(services, agent.namespace, session_id)


def _publish(services: "Services", session_id: str, entries: Sequence[LogEntry]) -> None:
    """Put events on the bus, for the deployment's own rules; a rule knows by the cursor what comes twice or late."""
    agent = next(iter(services.agents.page(session_id, start=None, limit=1)), None)
    namespace = agent.namespace if agent else services.session_items.removed_from(session_id)
    if namespace is None:  # removed more than an hour ago
        return
    about = {"namespace": namespace, "sessionId": session_id}
    for position, text in _frames(services, entries, cursors=False, largest=LARGEST_ON_BUS):
        services.bus.publish("session_event", {**about, "cursor": str(position), "event": json.loads(text)})


def _pages(
    services: "Services", session_id: str, position: int, entries: Iterable[LogEntry]
) -> Iterator[Sequence[LogEntry]]:
    """Return the log from behind a position on; without a read, when that is what the records have."""
    news = sorted((entry for entry in entries if entry.position > position), key=lambda entry: entry.position)
    if not news:
        return
    if news[0].position == position + 1 and news[-1].position == position + len(news):
        yield news
    else:
        yield from services.log.pages(session_id, position + 1, past_end=True)


def _push_pages(services: "Services", session_id: str, followed: Followed, pages: Iterable[Sequence[LogEntry]]) -> None:
    for page in pages:
        _push(services, session_id, followed, page)
        services.session_followers.pushed(session_id, page[-1].position, expires_at=followed.expires_at)


def _push(services: "Services", session_id: str, followed: Followed, page: Sequence[LogEntry]) -> None:
    followers = followed.caught_up
    made = {cursors: _frames(services, page, cursors=cursors) for cursors in {each.cursors for each in followers}}
    frames = {
        each.connection_id: [frame for position, frame in made[each.cursors] if position > each.position]
        for each in followers
    }
    _deliver(services, session_id, frames)


def _deliver(services: "Services", session_id: str, frames: Mapping[str, Sequence[str]]) -> bool:
    """Push frames to followers and forget those that take no more; ``False`` when there were such."""
    lost = services.connections.push({connection: found for connection, found in frames.items() if found})
    for connection_id in lost:
        services.session_followers.remove(session_id, connection_id)
    return not lost


def _frames(
    services: "Services", page: Sequence[LogEntry], *, cursors: bool, largest: int | None = None
) -> list[tuple[int, str]]:
    """Return the events of a page as text, each with its position; what is Atoll's own is left out."""
    largest = services.connections.largest_frame if largest is None else largest
    found = ((entry.position, events.event_of(entry)) for entry in page)
    return [
        (position, _frame(event, position, cursors=cursors, largest=largest))
        for position, event in found
        if event is not None
    ]


def _frame(event: "SessionEvent", position: int, *, cursors: bool, largest: int) -> str:
    text = _text(event, position, cursors=cursors)
    return text if len(text.encode()) <= largest else _text(_without_text(event, position), position, cursors=cursors)


def _text(event: "SessionEvent", position: int, *, cursors: bool) -> str:
    text = event.model_dump_json(by_alias=True, exclude_none=True)
    return f'{text[:-1]},"cursor":"{position}"}}' if cursors else text


def _without_text(event: "SessionEvent", position: int) -> "SessionEvent":
    """Return an event that is too large for a frame without its long text, which says where that is."""

    def left_out(text: str) -> str:
        return f"[{len(text.encode())} bytes left out: GET …/events?after={position - 1}&limit=1]"

    if isinstance(event, ThreadMessageSent | AgentWaitStop):
        message = event.message.model_copy(update={"text": left_out(event.message.text)})
        return event.model_copy(update={"message": message})
    return event.model_copy(update={"summary": left_out(event.summary)}) if isinstance(event, ThreadClosed) else event
