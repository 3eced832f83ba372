"""Sessions that have ended, and what is summed up of a session (no part of Coral's own API)."""

from typing import Literal

from pydantic import Field

from .base import Timestamp, WireModel
from .budgets import Budgets
from .sessions import SessionEndReport, SessionStateExtended


class AgentSummary(WireModel):
    """How long an agent has run, and how long of that it has waited for messages."""

    name: str
    #: Missing where the session was archived before it was told.
    runtime: str | None = None
    running_ms: int
    waiting_ms: int


class AwsEstimate(WireModel):
    """What a session has taken of AWS, estimated from what happened in it: no bill, and no metering."""

    aws_calls: int
    #: Of DynamoDB.
    read_units: int
    write_units: int
    #: Millionths of a US dollar.
    micro_usd: int


class SessionSummary(WireModel):
    """A session in numbers."""

    created_at: Timestamp
    executed_at: Timestamp | None = None
    closing_at: Timestamp | None = None
    #: When its hold was over.
    ended_at: Timestamp | None = None
    #: From its execution to its closing, or until now.
    run_ms: int | None = None
    #: From its closing to its end, or until now.
    hold_ms: int | None = None
    messages: int
    threads: int
    waits: int
    agents: list[AgentSummary]
    estimate: AwsEstimate
    #: What was booked to its budgets; missing for a session without any.
    budget: Budgets | None = None


class HistoryEntry(WireModel):
    """A session that has ended."""

    namespace: str
    session_id: str
    annotations: dict[str, str]
    reason: Literal[
        "closed_by_user", "closed_by_agent", "agents_exited", "ttl", "failed", "budget_reached", "namespace_deleted"
    ]
    summary: SessionSummary
    #: When Atoll forgets it.
    expires_at: Timestamp


class Archive(WireModel):
    """What is archived of a session beside its log: the messages of its threads are in that alone."""

    report: SessionEndReport
    state: SessionStateExtended
    #: Whether its threads are too many to be here.
    threads_omitted: bool = False
    #: Why each of its agents has stopped; empty where the session was archived before it was told.
    stop_reasons: dict[str, str] = Field(default_factory=dict)


class HistoricSession(HistoryEntry):
    """A session that has ended, as it was at its end."""

    report: SessionEndReport
    state: SessionStateExtended
    #: What the state lacks because it would be too large, and how to read it.
    omitted: str | None = None
    #: Why each of its agents has stopped.
    stop_reasons: dict[str, str] = Field(default_factory=dict)
