"""The end report of a session: the body of its webhook, frozen when the session closes."""

from typing import TYPE_CHECKING

from chalicelib.domain import agents, sessions
from chalicelib.reactions import deliveries
from chalicelib.store.agents import AgentRecord
from chalicelib.store.sessions import SessionRecord
from chalicelib.wire.namespaces import SessionNamespaceStateBase
from chalicelib.wire.sessions import BaseReport, ExtendedReport, SessionEndReport, SessionRuntimeSettings

if TYPE_CHECKING:
    from chalicelib.services import Services


def freeze(services: "Services", record: SessionRecord, stopped: list[AgentRecord]) -> None:
    """Write the end report of a closed session as a delivery, if it has a webhook. The first to write it wins."""
    settings = SessionRuntimeSettings.model_validate(record.runtime_settings or {})
    webhook = settings.webhooks.session_end
    if webhook is None:
        return
    report = end_report(services, record, stopped, extended=settings.extended_end_report)
    deliveries.freeze(
        services,
        delivery_id=delivery_id(record.session_id),
        namespace=record.namespace,
        session_id=record.session_id,
        url=webhook.url,
        body=report.model_dump_json(by_alias=True, exclude_none=True).encode(),
    )


def delivery_id(session_id: str) -> str:
    """Return the id of a session's end report among the deliveries."""
    return f"{session_id}-end"


def end_report(
    services: "Services", record: SessionRecord, stopped: list[AgentRecord], *, extended: bool
) -> SessionEndReport:
    """Say how a session ended (`SessionEndReport` of the Coral contract)."""
    now_ms = services.clock.now_ms()
    runs = (agents.usage_of(agent, now_ms) for agent in stopped)
    return SessionEndReport(
        timestamp=record.closing_at_ms or now_ms,
        namespace_state=SessionNamespaceStateBase.model_validate(record.namespace_state),
        session_state=ExtendedReport(state=sessions.extended_state_of(services, record))
        if extended
        else BaseReport(state=sessions.state_of(record)),
        agent_stats=[run for run in runs if run is not None],
    )
