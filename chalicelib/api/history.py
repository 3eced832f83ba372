"""Sessions that have ended, and the summary of one that is there."""

from collections.abc import Mapping
from typing import get_args

from chalice.app import Blueprint, Request

from chalicelib import services
from chalicelib.api import logs
from chalicelib.api.paging import MAX_ANSWER_BYTES, TIME_LIMIT_MS, LogPaging, Page, Paging, fits
from chalicelib.api.routing import Extras, route
from chalicelib.domain import history, summaries, threads
from chalicelib.domain.errors import TooLarge
from chalicelib.reactions import archive
from chalicelib.store.sessions import CloseReason
from chalicelib.stores import current
from chalicelib.wire import events as wire_events
from chalicelib.wire import history as wire
from chalicelib.wire import logs as wire_logs

routes = Blueprint(__name__)

_HISTORY = "/api/v1/local/namespace/{namespace}/history"

_TIME = {"type": "string", "format": "date-time"}
_FILTERS = Extras(
    parameters=[
        {
            "name": "reason",
            "in": "query",
            "description": "Only sessions that ended for this reason.",
            "schema": {"type": "string", "enum": list(get_args(CloseReason))},
        },
        {"name": "from", "in": "query", "description": "Only sessions that closed then or later.", "schema": _TIME},
        {"name": "to", "in": "query", "description": "Only sessions that closed before.", "schema": _TIME},
    ]
)


@route(routes, "GET", _HISTORY, extras=_FILTERS)
def list_history(namespace: str, paging: Paging, request: Request) -> "Page[wire.HistoryEntry]":
    """List the sessions of a namespace that have ended, the last one first.

    The namespace need not be there any more.
    """
    stores = current()
    query: Mapping[str, str] = request.query_params or {}
    reason = history.reason_of(query.get("reason"))
    found = history.listing(
        stores,
        namespace,
        from_time=query.get("from"),
        until_time=query.get("to"),
        start=paging.start,
        limit=paging.read_limit if reason is None else None,
    )
    return paging.page(
        found,
        lambda record: None if reason not in (None, record.close_reason) else history.entry_of(stores.settings, record),
        position=lambda record: record.place,
        annotations=lambda record: record.annotations,
    )


@route(routes, "GET", f"{_HISTORY}/{{sessionId}}", raises=(TooLarge,))
def get_history(namespace: str, session_id: str) -> "wire.HistoricSession":
    """Return a session that has ended: its summary, end report, state as it was then, and why each agent stopped.

    Messages that are too many for an answer are left out, and ``omitted`` says so: its events have them.
    """
    # Reading and deleting archives is S3's: an exception to rule 1, here alone (docs/architecture.md, "Layers").
    here, deadline_ms = services.current(), current().clock.now_ms() + TIME_LIMIT_MS
    record = history.find(here, namespace, session_id)
    kept = archive.state_of(here, record)
    entry = history.entry_of(here.settings, record)
    least_bytes = record.message_bytes + record.messages * threads.MESSAGE_BYTES
    if not kept.threads_omitted and least_bytes <= MAX_ANSWER_BYTES:
        whole = archive.with_messages(here, record, kept, deadline_ms)
        if whole is not None and fits(answer := _historic(entry, whole)):
            return answer
    return _historic(entry, kept, left_out="threads" if kept.threads_omitted else "messages")


def _historic(entry: wire.HistoryEntry, kept: wire.Archive, left_out: str = "") -> wire.HistoricSession:
    omitted = None
    if left_out:
        omitted = f"its {left_out} are too large for an answer: read its events page by page, at /events under this"
    return wire.HistoricSession(
        **dict(entry), report=kept.report, state=kept.state, omitted=omitted, stop_reasons=kept.stop_reasons
    )


@route(routes, "GET", f"{_HISTORY}/{{sessionId}}/events", filtered=False, pages=LogPaging)
def list_history_events(namespace: str, session_id: str, paging: LogPaging) -> "Page[wire_events.SessionEvent]":
    """List the events of a session that has ended, in their order.

    Cursors are those that it had while it was there: who followed it goes on here.
    """
    here = services.current()
    return paging.page(
        archive.events_of(here, history.find(here, namespace, session_id), int(paging.start or 0)),
        lambda passed: passed[1],
        position=lambda passed: str(passed[0]),
    )


@route(routes, "GET", f"{_HISTORY}/{{sessionId}}/logs", filtered=False, pages=LogPaging, extras=logs.FILTERS)
def list_history_logs(
    namespace: str, session_id: str, paging: LogPaging, request: Request
) -> "Page[wire_logs.LoggingEvent]":
    """List the last lines of each agent of a session that has ended, secrets hidden.

    A warning says which lines of an agent are missing, and why.
    """
    here = services.current()
    record = history.find(here, namespace, session_id)
    return paging.page(
        archive.lines_of(here, record, logs.agent_in(request), int(paging.start or 0)),
        lambda passed: passed[1],
        position=lambda passed: str(passed[0]),
    )


@route(routes, "DELETE", f"{_HISTORY}/{{sessionId}}")
def delete_history(namespace: str, session_id: str) -> None:
    """Delete a session from the history."""
    here = services.current()
    archive.forget(here, [history.find(here, namespace, session_id)])


@route(routes, "GET", "/api/v1/local/session/{namespace}/{sessionId}/summary", raises=(TooLarge,))
def get_session_summary(namespace: str, session_id: str) -> "wire.SessionSummary":
    """Return a session in numbers."""
    return summaries.of_session(current(), namespace, session_id, current().clock.now_ms() + TIME_LIMIT_MS)
