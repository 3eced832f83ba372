"""Sessions on the wire."""

from typing import Annotated, Literal

from pydantic import Field

from .agents import SessionAgentState, SessionAgentUsageReport
from .base import Timestamp, WireModel
from .namespaces import SessionNamespaceStateBase
from .threads import SessionThread
from .urls import CallableUrl

#: Atoll's limit of every duration in a request: 365 days.
MAX_DURATION_MS = 365 * 24 * 3_600_000

DurationMs = Annotated[int, Field(ge=0, le=MAX_DURATION_MS)]


class NoPersistence(WireModel):
    """The session is gone when its agents are."""

    mode: Literal["none"] = "none"


class HoldAfterExit(WireModel):
    """The session is held for a time after it ends."""

    mode: Literal["hold_after_exit"]
    duration: DurationMs


class MinimumTime(WireModel):
    """The session is held until it has existed for a time, counted from its creation."""

    mode: Literal["minimum_time"]
    time: DurationMs


SessionPersistenceMode = Annotated[NoPersistence | HoldAfterExit | MinimumTime, Field(discriminator="mode")]


class SessionEndWebhook(WireModel):
    """Where the end report goes."""

    url: CallableUrl


class BudgetReachedWebhook(WireModel):
    """Where it is told that a budget is low, or was reached."""

    url: CallableUrl


class SessionWebhooks(WireModel):
    """The webhooks of a session."""

    session_end: SessionEndWebhook | None = None
    #: Where it is told that a budget is low, or was reached; Atoll's own.
    budget_reached: BudgetReachedWebhook | None = None


class SessionRuntimeSettings(WireModel):
    """How a session runs and ends; times in milliseconds."""

    ttl: DurationMs | None = None
    extended_end_report: bool = False
    persistence_mode: SessionPersistenceMode = Field(default_factory=NoPersistence)
    webhooks: SessionWebhooks = Field(default_factory=SessionWebhooks)


class SessionIdentifier(WireModel):
    """Where a session is."""

    namespace: str
    session_id: str


class PendingExecution(WireModel):
    """The session waits for its execution."""

    type: Literal["pending_execution"] = "pending_execution"


class Executed(WireModel):
    """The session runs."""

    type: Literal["executed"] = "executed"
    execution_time: Timestamp


class Closing(WireModel):
    """The session has ended and is held."""

    type: Literal["closing"] = "closing"
    execution_time: Timestamp
    closing_time: Timestamp


class SessionStateBase(WireModel):
    """What a session is."""

    id: str
    timestamp: Timestamp
    namespace: str
    status: PendingExecution | Executed | Closing
    annotations: dict[str, str]


class SessionStateExtended(WireModel):
    """What a session is and what is in it."""

    base: SessionStateBase
    agents: list[SessionAgentState]
    threads: list[SessionThread]


class SessionNamespaceStateExtended(WireModel):
    """What a namespace is and what is in it."""

    base: SessionNamespaceStateBase
    sessions: list[SessionStateBase]


class BaseReport(WireModel):
    """The short form of a session in an end report."""

    type: Literal["base"] = "base"
    state: SessionStateBase


class ExtendedReport(WireModel):
    """The long form of a session in an end report."""

    type: Literal["extended"] = "extended"
    state: SessionStateExtended


class SessionEndReport(WireModel):
    """What a webhook receives when a session ends."""

    timestamp: Timestamp
    namespace_state: SessionNamespaceStateBase
    session_state: BaseReport | ExtendedReport
    agent_stats: list[SessionAgentUsageReport]
