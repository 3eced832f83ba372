"""Sessions that have ended, for clients. Their namespaces need not be there any more."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, get_args

from chalicelib.domain import summaries
from chalicelib.domain.errors import BadRequest, NotFound
from chalicelib.settings import Settings
from chalicelib.store.history import HistoryRecord
from chalicelib.store.sessions import CloseReason
from chalicelib.wire.budgets import Budgets
from chalicelib.wire.history import AgentSummary, HistoryEntry, SessionSummary

if TYPE_CHECKING:
    from chalicelib.stores import Stores


def find(stores: "Stores", namespace: str, session_id: str) -> HistoryRecord:
    """Return a session of the history; raise `NotFound` for one that is not in it."""
    record = stores.history.find(namespace, session_id)
    if record is None:
        raise NotFound(f"the history of the namespace {namespace!r} has no session {session_id!r}")
    return record


def listing(
    stores: "Stores",
    namespace: str,
    *,
    from_time: str | None = None,
    until_time: str | None = None,
    start: str | None = None,
    limit: int | None = None,
) -> Iterator[HistoryRecord]:
    """Read the history of a namespace, the last session to end first; `History.of_namespace`.

    Raises `BadRequest` for what is no time.
    """
    from_ms, until_ms = _time_ms("from", from_time), _time_ms("to", until_time)
    if from_ms is not None and until_ms is not None and from_ms > until_ms:
        raise BadRequest(f"from: {from_time} is later than to, {until_time}")
    return stores.history.of_namespace(namespace, from_ms=from_ms, until_ms=until_ms, start=start, limit=limit)


def reason_of(text: str | None) -> CloseReason | None:
    """Read the reason for which sessions ended; raise `BadRequest` for an unknown one."""
    for reason in get_args(CloseReason):
        if text == reason:
            return reason  # type: ignore[no-any-return]
    if text is None:
        return None
    raise BadRequest(f"reason: {text[:80]!r} is none of {', '.join(get_args(CloseReason))}")


def entry_of(settings: Settings, record: HistoryRecord) -> HistoryEntry:
    """Return a session of the history as clients see it."""
    agents = [AgentSummary.model_validate(agent) for agent in record.agents]
    return HistoryEntry(
        namespace=record.namespace,
        session_id=record.session_id,
        annotations=record.annotations,
        reason=record.close_reason,
        summary=SessionSummary(
            created_at=record.created_at_ms,
            executed_at=record.executed_at_ms,
            closing_at=record.closing_at_ms,
            ended_at=record.ended_at_ms,
            run_ms=record.closing_at_ms - record.executed_at_ms,
            hold_ms=record.ended_at_ms - record.closing_at_ms,
            messages=record.messages,
            threads=record.threads,
            waits=record.waits,
            agents=agents,
            estimate=summaries.estimated(
                settings,
                messages=record.messages,
                message_bytes=record.message_bytes,
                threads=record.threads,
                waits=record.waits,
                agents=agents,
            ),
            budget=Budgets.model_validate(record.budget) if record.budget is not None else None,
        ),
        expires_at=record.expires_at * 1000,
    )


def _time_ms(name: str, text: str | None) -> int | None:
    """Read a time in ISO 8601, in UTC unless it says otherwise."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment_ms = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        moment_ms = -1
    if moment_ms < 0:
        raise BadRequest(f"{name}: {text[:40]!r} is no time in ISO 8601, like 2026-11-22T16:39:47Z")
    return moment_ms
