"""Nudges of agents that run as functions: which agents get one, and in which group of the queue."""

from typing import Any

from chalicelib.store.agents import AgentRecord
from chalicelib.store.turns import TurnRecord
from chalicelib.wire.turns import Nudge


def group_of(agent: AgentRecord | TurnRecord) -> str:
    """Return the group of an agent's nudges: one of them is under way at a time."""
    position = agent.agent_position if isinstance(agent, TurnRecord) else agent.position
    return f"{agent.session_id}/{position}"


def nudge_of(agent: AgentRecord | TurnRecord, **more: Any) -> Nudge:
    """Return a nudge of an agent; ``more`` are fields of `Nudge`."""
    return Nudge(namespace=agent.namespace, session_id=agent.session_id, agent=agent.name, **more)
