"""Agents of a session as clients see them: their state, and the report of their run."""

from chalicelib.store.agents import AgentRecord
from chalicelib.wire.agents import (
    Connected,
    NotConnected,
    Running,
    SessionAgentState,
    SessionAgentUsageReport,
    Stopped,
    Thinking,
    Waiting,
    WaitingMessage,
)
from chalicelib.wire.identifiers import RegistryAgentIdentifier


def state_of(agent: AgentRecord, now_ms: int) -> SessionAgentState:
    """Return an agent as clients see it."""
    return SessionAgentState(
        name=agent.name,
        registry_agent_identifier=RegistryAgentIdentifier.model_validate(agent.registry_agent_identifier),
        status=_status_of(agent, now_ms),
        description=agent.description,
        links=agent.links,
        annotations=agent.annotations,
    )


def _status_of(agent: AgentRecord, now_ms: int) -> Waiting | Running | Stopped:
    if agent.status == "stopped":
        return Stopped(reason=agent.stopped_reason)
    if agent.connected_at_ms is not None:
        waits = (agent.waiting_until_ms or 0) > now_ms
        return Running(
            connection_status=Connected(communication_status=WaitingMessage() if waits else Thinking()),
        )
    return Running(connection_status=NotConnected()) if agent.status == "running" else Waiting()


def usage_of(agent: AgentRecord, now_ms: int) -> SessionAgentUsageReport | None:
    """Return the report of an agent's run; ``None`` when it never ran."""
    if agent.started_at_ms is None:
        return None
    return SessionAgentUsageReport(
        name=agent.name,
        registry_identifier=RegistryAgentIdentifier.model_validate(agent.registry_agent_identifier),
        start_time=agent.started_at_ms,
        end_time=agent.stopped_at_ms or now_ms,
        annotations=agent.annotations,
    )
