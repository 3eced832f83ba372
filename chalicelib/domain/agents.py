"""Agents of a session as clients see them: their state, and the report of their run."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from chalicelib.store.agents import AgentRecord
from chalicelib.wire.agents import (
    Connected,
    ListedAgentState,
    NotConnected,
    Running,
    SessionAgentState,
    SessionAgentUsageReport,
    Stopped,
    StoppedForReason,
    Thinking,
    TokenUsage,
    Waiting,
    WaitingMessage,
)
from chalicelib.wire.identifiers import RegistryAgentIdentifier

if TYPE_CHECKING:
    from chalicelib.stores import Stores


def state_of(
    agent: AgentRecord, now_ms: int, tokens_by_model: Mapping[str, TokenUsage] | None = None
) -> SessionAgentState:
    """Return an agent as clients see it."""
    return SessionAgentState(
        name=agent.name,
        registry_agent_identifier=RegistryAgentIdentifier.model_validate(agent.registry_agent_identifier),
        status=_status_of(agent, now_ms),
        description=agent.description,
        links=agent.links,
        annotations=agent.annotations,
        tokens_by_model=dict(tokens_by_model or {}),
    )


def listing(
    stores: "Stores", session_id: str, tokens_of: "Callable[[AgentRecord], Mapping[str, TokenUsage]]"
) -> Callable[[AgentRecord], ListedAgentState]:
    """Return what shows agents of a session in Atoll's own listing; one call for the first that runs as a function."""
    now_ms = stores.clock.now_ms()
    waiting = cache(lambda: {turn.name: turn.waiting_until_ms for turn in stores.turns.of_session(session_id)})

    def shown(agent: AgentRecord) -> ListedAgentState:
        until_ms = waiting().get(agent.name) if agent.is_function else None
        seen = dataclasses.replace(agent, waits={"turn": until_ms}) if until_ms else agent
        return listed(seen, now_ms, tokens_of(agent))

    return shown


def listed(agent: AgentRecord, now_ms: int, tokens_by_model: Mapping[str, TokenUsage]) -> ListedAgentState:
    """Return an agent as Atoll's own listing shows it: with the reason of its stop."""
    shown = state_of(agent, now_ms, tokens_by_model).model_dump(exclude={"status"})
    status = _status_of(agent, now_ms)
    if isinstance(status, Stopped):
        status = StoppedForReason(start_time=status.start_time, reason=agent.stopped_reason)
    return ListedAgentState(**shown, status=status)


def _status_of(agent: AgentRecord, now_ms: int) -> Waiting | Running | Stopped:
    if agent.status == "stopped":
        return Stopped(start_time=agent.started_at_ms)
    if agent.status == "waiting" and agent.connected_at_ms is None:
        return Waiting()
    connection: Connected | NotConnected = NotConnected()
    if agent.connected_at_ms is not None:
        waits = (agent.waiting_until_ms or 0) > now_ms
        connection = Connected(communication_status=WaitingMessage() if waits else Thinking())
    # An agent may speak before its launch has noted that ECS took its task.
    started_ms = agent.started_at_ms or agent.connected_at_ms or now_ms
    return Running(connection_status=connection, start_time=started_ms)


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
