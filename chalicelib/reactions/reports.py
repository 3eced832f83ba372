"""The end report of a session: the body of its webhook, frozen when the session closes.

The end of a session never depends on its report. In place of an extended one that is too large, takes too long or fails
the base report is sent, and says so beside its body. One that cannot be made at all is logged.
"""

import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from chalicelib import telemetry
from chalicelib.aws.errors import is_transient
from chalicelib.domain import agents, sessions, threads
from chalicelib.domain.errors import TooLarge
from chalicelib.reactions import deliveries, report_files
from chalicelib.store.agents import AgentRecord
from chalicelib.store.log import LogEntry
from chalicelib.store.sessions import SessionRecord
from chalicelib.wire.namespaces import SessionNamespaceStateBase
from chalicelib.wire.sessions import BaseReport, ExtendedReport, SessionEndReport, SessionRuntimeSettings

if TYPE_CHECKING:
    from chalicelib.services import Services

logger = logging.getLogger(__name__)

#: How long an extended report may take to be made: its function has fifteen minutes.
MAKING_MS = 5 * 60_000
#: How long after the closing an extended report is tried again when AWS fails or the function dies of it.
PATIENCE_MS = 30 * 60_000


def freeze(services: "Services", record: SessionRecord, stopped: list[AgentRecord]) -> None:
    """Write the end report of a closed session as a delivery, if it has a webhook. The first to write it wins.

    What AWS refuses for a moment is raised, so that it is tried again. What cannot be made is no obstacle.
    """
    settings = SessionRuntimeSettings.model_validate(record.runtime_settings or {})
    webhook = settings.webhooks.session_end
    if webhook is None:
        return
    freezing = functools.partial(
        deliveries.freeze,
        services,
        delivery_id=delivery_id(record.session_id),
        namespace=record.namespace,
        session_id=record.session_id,
        url=webhook.url,
    )
    reduced = _freeze_extended(services, record, stopped, freezing) if settings.extended_end_report else ""
    if reduced is None:
        return
    try:
        body = end_report(services, record, stopped).model_dump_json(by_alias=True, exclude_none=True).encode()
        freezing(body=body, reduced=reduced or None, history_path=_history_path(services, record) if reduced else None)
    except Exception as error:
        if is_transient(error):
            raise
        logger.exception("a session ends without its report")
        telemetry.count("ReportsLost")


def _freeze_extended(
    services: "Services", record: SessionRecord, stopped: list[AgentRecord], freezing: Callable[..., bool]
) -> str | None:
    """Freeze the extended report; return why it cannot be, ``None`` when it is frozen."""
    now_ms = services.clock.now_ms()
    if now_ms - (record.closing_at_ms or now_ms) > PATIENCE_MS:
        return f"the extended report could not be made in {PATIENCE_MS // 60_000} minutes"
    try:
        with report_files.temporary() as file:
            _write_extended(services, record, stopped, file)
            freezing(body=file)
    except TooLarge as refusal:
        logger.info("an extended report is too large", extra={"why": str(refusal)})
        return str(refusal)
    except Exception as error:
        if is_transient(error):
            raise
        logger.exception("an extended report cannot be made")
        return "the extended report cannot be made"
    return None


def _write_extended(services: "Services", record: SessionRecord, stopped: list[AgentRecord], to: IO[bytes]) -> None:
    deadline_ms = services.clock.now_ms() + MAKING_MS
    state, threads_omitted = sessions.state_without_messages(services, record, stopped)
    if threads_omitted:
        raise TooLarge(f"the threads of the session have more than {threads.MOST_BYTES} bytes")
    report_files.write(
        end_report(services, record, stopped, ExtendedReport(state=state)),
        _in_time(services, services.log.read(record.session_id, live=threads.is_live(record)), deadline_ms),
        to,
        at_most_bytes=services.settings.extended_report_bytes,
    )


def _in_time(services: "Services", entries: Iterable[LogEntry], deadline_ms: int) -> Iterator[LogEntry]:
    for entry in entries:
        if services.clock.now_ms() > deadline_ms:
            raise TooLarge(f"the extended report takes more than {MAKING_MS // 60_000} minutes to be made")
        yield entry


def _history_path(services: "Services", record: SessionRecord) -> str | None:
    """Return where the session is in the API once its hold is over; ``None`` when it is not kept."""
    if services.settings.history_days == 0 or record.close_reason == "namespace_deleted":
        return None
    return f"/api/v1/local/namespace/{quote(record.namespace, safe='')}/history/{record.session_id}"


def delivery_id(session_id: str) -> str:
    """Return the id of a session's end report among the deliveries."""
    return f"{session_id}-end"


def end_report(
    services: "Services", record: SessionRecord, stopped: list[AgentRecord], extended: ExtendedReport | None = None
) -> SessionEndReport:
    """Say how a session ended (`SessionEndReport` of the Coral contract), in the base form unless it is extended."""
    now_ms = services.clock.now_ms()
    runs = (agents.usage_of(agent, now_ms) for agent in stopped)
    return SessionEndReport(
        timestamp=record.closing_at_ms or now_ms,
        namespace_state=SessionNamespaceStateBase.model_validate(record.namespace_state),
        session_state=extended or BaseReport(state=sessions.state_of(record)),
        agent_stats=[run for run in runs if run is not None],
    )
