"""The history of sessions in S3: written before a session's items go, read for clients, deleted with its row.

An object is named after its content, so that a call that was overtaken cannot spoil what another one has written; the
row of the history names those that count. What no row names goes by the bucket's lifecycle rule.
"""

import dataclasses
import gzip
import hashlib
import io
import json
import logging
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from chalicelib.domain import budgets, events, sessions, summaries
from chalicelib.domain.errors import NotFound
from chalicelib.reactions import last_lines, reports
from chalicelib.settings import DAY_S
from chalicelib.store.history import ArchiveProgress, HistoryRecord, place_of
from chalicelib.store.log import LogEntry
from chalicelib.store.sessions import SessionRecord
from chalicelib.wire.events import ThreadMessageSent
from chalicelib.wire.history import Archive
from chalicelib.wire.logs import LogFilter, LoggingEvent
from chalicelib.wire.threads import OpenThread

if TYPE_CHECKING:
    from chalicelib.services import Services
    from chalicelib.wire.events import SessionEvent

logger = logging.getLogger(__name__)

#: How long one call goes on reading a log before it leaves the rest to the next: its function has five minutes.
SLICE_MS = 60_000
#: How many bytes of JSON a part of a log has before it is compressed; its last entry may exceed it.
PART_BYTES = 4_000_000
#: Sessions whose history is deleted together.
FORGOTTEN_AT_ONCE = 100


# Writing


def archive(services: "Services", namespace: str, session_id: str) -> bool:
    """Archive a slice of a closed session; ``True`` when nothing is left to do, and its items may go.

    Nothing is done for a session that is gone or was never executed. Of one that ends with its namespace, whose history
    goes too, and where no history is kept, only the budgets are concluded.
    """
    space, session = services.reads.session(namespace, session_id)
    if session is None or session.status != "closing" or session.archived_at_ms is not None:
        return True
    ends_with_namespace = session.close_reason == "namespace_deleted" or (space is not None and space.forced)
    if ends_with_namespace or services.settings.history_days == 0:
        budgets.conclude(services, session)  # no call is begun any more that nobody books, and what is low is told
        return True
    last = services.log.seal(session_id, expires_at=session.expires_at)
    found = services.archives.find(session_id)
    begun = found or ArchiveProgress(
        session_id=session_id, expires_at=session.expires_at, begun_at_ms=services.clock.now_ms()
    )
    tally = summaries.Tally.of(json.loads(begun.tally)) if begun.tally else summaries.Tally()
    reached = _log(services, begun, tally, last)
    if reached.last_position < last:
        # Refused to a call that was overtaken: the next one goes on from where the other is.
        services.archives.keep(reached, seen=begun.last_position)
        return False
    services.history.keep(_row(services, session, reached, tally))
    return True


def _log(services: "Services", begun: ArchiveProgress, tally: summaries.Tally, last: int) -> ArchiveProgress:
    """Write parts of the log from where it was left, up to its last position or for as long as a slice takes."""
    end_ms = services.clock.now_ms() + SLICE_MS
    parts, part, position = list(begun.parts), _Part(begun.last_position + 1), begun.last_position
    for entry in services.log.read(begun.session_id, position + 1, past_end=True):
        if entry.position > last:
            position = last
            break
        part.add(entry.position, _event_text(entry))
        tally.note(entry)
        position = entry.position
        if part.size >= PART_BYTES:
            parts.append(_put(services, begun.session_id, part.name, part.content()))
            part = _Part(position + 1)
        if services.clock.now_ms() >= end_ms:
            break
    else:
        position = last
    if part.size:
        parts.append(_put(services, begun.session_id, part.name, part.content()))
    counted = json.dumps(dataclasses.asdict(tally))
    return dataclasses.replace(begun, parts=parts, last_position=position, tally=counted)


class _Part:
    """A part of a log, compressed as it grows: a line ``[position, event]`` for each entry."""

    def __init__(self, first: int) -> None:
        self.name = f"log-{first:013d}"
        self.size = 0
        self._compressed = io.BytesIO()
        self._file = _gzip_file(self._compressed)

    def add(self, position: int, event: str) -> None:
        self.size += self._file.write(f"[{position},{event}]\n".encode())

    def content(self) -> bytes:
        self._file.close()
        return self._compressed.getvalue()


def _event_text(entry: LogEntry) -> str:
    """Return the JSON of an entry as the API shows it, ``null`` for one that it does not show."""
    try:
        event = events.event_of(entry)
    except ValidationError:
        # The session has to go all the same: the API could not show it either.
        logger.exception("an entry of a log is no event", extra={"position": entry.position})
        return "null"
    return "null" if event is None else event.model_dump_json(by_alias=True, exclude_none=True)


def _row(
    services: "Services", session: SessionRecord, reached: ArchiveProgress, tally: summaries.Tally
) -> HistoryRecord:
    """Write the state of a session, and return its row."""
    closing_ms = session.closing_at_ms or reached.begun_at_ms
    records = services.agents.of_session(session.session_id)
    state, threads_omitted = sessions.state_without_messages(services, session, records)
    kept = Archive(
        report=reports.end_report(services, session, records),
        state=state,
        threads_omitted=threads_omitted,
        stop_reasons={each.name: each.stopped_reason for each in records if each.stopped_reason},
    )
    budget = budgets.conclude(services, session)
    # Now: what is to be hidden in them goes with the items of the session.
    lines = list(last_lines.of_session(services, session, records, ended_at_ms=reached.begun_at_ms))
    return HistoryRecord(
        namespace=session.namespace,
        session_id=session.session_id,
        place=place_of(closing_ms, session.session_id),
        # Not longer than its objects: S3 counts from when they were written.
        expires_at=reached.begun_at_ms // 1000 + services.settings.history_days * DAY_S,
        created_at_ms=session.created_at_ms,
        executed_at_ms=session.executed_at_ms or session.created_at_ms,
        closing_at_ms=closing_ms,
        ended_at_ms=reached.begun_at_ms,
        close_reason=session.close_reason or "failed",
        annotations=session.annotations,
        messages=tally.messages,
        message_bytes=tally.message_bytes,
        threads=tally.threads,
        waits=tally.waits,
        agents=[agent.to_wire() for agent in tally.agents(records, closing_ms)],
        last_position=reached.last_position,
        budget=budgets.view(budget).to_wire() if budget is not None else None,
        state=_put_text(services, session.session_id, "state", kept.model_dump_json(by_alias=True, exclude_none=True)),
        parts=reached.parts,
        lines=_put_text(services, session.session_id, "lines", "\n".join(lines)) if lines else None,
    )


def _gzip_file(to: io.BytesIO) -> gzip.GzipFile:
    # Without a time in it: the same content is the same bytes.
    return gzip.GzipFile(fileobj=to, mode="wb", mtime=0)


def _put_text(services: "Services", session_id: str, name: str, text: str) -> str:
    compressed = io.BytesIO()
    with _gzip_file(compressed) as file:
        file.write(text.encode())
    return _put(services, session_id, name, compressed.getvalue())


def _put(services: "Services", session_id: str, name: str, content: bytes) -> str:
    """Store an object of a session; return its name."""
    named = f"{name}-{hashlib.sha256(content).hexdigest()[:16]}"
    services.bodies.put(_key(session_id, named), content, content_type="application/gzip")
    return named


def _key(session_id: str, name: str) -> str:
    return f"history/{session_id}/{name}"


# Reading


def events_of(
    services: "Services", record: HistoryRecord, after: int = 0
) -> "Iterator[tuple[int, SessionEvent | None]]":
    """Read the events of an archived session from behind a position of its log on, as `domain.events.read` does.

    Raises `NotFound` when its archive has expired.
    """
    if after >= record.last_position:
        return
    firsts = [int(name.split("-")[1]) for name in record.parts]
    for name in record.parts[max(0, bisect_right(firsts, after + 1) - 1) :]:
        for line in _opened(services, record, name):
            if int(line[1 : line.index(b",")]) > after:
                position, event = json.loads(line)
                yield position, None if event is None else events.parsed(event)


def lines_of(
    services: "Services", record: HistoryRecord, agent: str | None = None, after: int = 0
) -> Iterator[tuple[int, LoggingEvent | None]]:
    """Read the last lines of an archived session from behind a number on, or those of one of its agents.

    Gives each line with its number, and the number alone of a line of another agent. Raises `NotFound` when the archive
    has expired.
    """
    if record.lines is None:
        return
    wanted = LogFilter(agent=agent)
    for number, text in enumerate(_opened(services, record, record.lines), 1):
        if number > after:
            line = _lines().validate_json(text)
            yield number, line if wanted.passes(line) else None


@cache
def _lines() -> TypeAdapter[LoggingEvent]:
    return TypeAdapter(LoggingEvent)


def state_of(services: "Services", record: HistoryRecord) -> Archive:
    """Return the end report and the state of an archived session, its threads without messages.

    Raises `NotFound` when its archive has expired.
    """
    return Archive.model_validate_json(_opened(services, record, record.state).read())


def with_messages(services: "Services", record: HistoryRecord, kept: Archive, deadline_ms: int) -> Archive | None:
    """Put the messages of an archived session into its open threads; ``None`` when it takes past a time (epoch ms)."""
    state = kept.state.model_copy(deep=True)
    found = {thread.id: thread.messages for thread in state.threads if isinstance(thread.state, OpenThread)}
    for _, event in events_of(services, record) if found else ():
        if services.clock.now_ms() > deadline_ms:
            return None
        if isinstance(event, ThreadMessageSent) and event.message.thread_id in found:
            found[event.message.thread_id].append(event.message)
    return kept.model_copy(update={"state": state})


def _opened(services: "Services", record: HistoryRecord, name: str) -> gzip.GzipFile:
    content = services.bodies.find(_key(record.session_id, name))
    if content is None:
        raise NotFound(f"the archive of the session {record.session_id!r} has expired")
    return gzip.GzipFile(fileobj=io.BytesIO(content))


# Deleting


def forget(services: "Services", records: Sequence[HistoryRecord]) -> None:
    """Delete sessions from the history. Their rows go first: what a crash leaves of the rest goes by itself."""
    services.history.remove(records)
    services.bodies.delete([_key(record.session_id, name) for record in records for name in record.objects])


def forget_namespace(services: "Services", namespace: str) -> None:
    """Delete the history of a namespace, some sessions at a time; a call that was cut off is simply repeated."""
    while some := list(islice(services.history.of_namespace(namespace, limit=FORGOTTEN_AT_ONCE), FORGOTTEN_AT_ONCE)):
        forget(services, some)
