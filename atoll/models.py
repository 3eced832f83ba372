"""The models of what is sent and received, under Coral's names; times are in epoch milliseconds.

They are the server's own (`atoll.wire` is its folder of them), so there is one source of every shape.
"""

from typing import Annotated

from pydantic import ConfigDict, Field

from atoll.wire.agents import ListedAgentState, SessionAgentState
from atoll.wire.base import Timestamp, WireModel
from atoll.wire.budgets import Balance, BudgetNotice, BudgetRequest, Budgets, NewLimit, NewLimits
from atoll.wire.deliveries import Delivery, DeliveryAttempt, SignedDelivery
from atoll.wire.events import (
    AgentConnected,
    AgentWaitStart,
    AgentWaitStop,
    DockerContainerCreated,
    DockerContainerRemoved,
    LlmProxyCall,
    RuntimeStarted,
    RuntimeStopped,
    SessionEvent,
    ThreadClosed,
    ThreadCreated,
    ThreadMessageSent,
    ThreadParticipantAdded,
    ThreadParticipantRemoved,
)
from atoll.wire.history import HistoricSession, HistoryEntry, SessionSummary
from atoll.wire.logs import LoggingEvent
from atoll.wire.namespaces import SessionNamespaceRequest, SessionNamespaceStateBase
from atoll.wire.registry import AgentRegistrySource, RegistryAgent, RegistryAgentCatalog, RestrictedRegistryAgent
from atoll.wire.requests import SessionRequest
from atoll.wire.sessions import (
    SessionEndReport,
    SessionIdentifier,
    SessionRuntimeSettings,
    SessionStateBase,
    SessionStateExtended,
)
from atoll.wire.threads import SessionThread, SessionThreadMessage, SessionThreadOverview
from atoll.wire.webhooks import WebhookEndpoint, WebhookKeys


class UnknownEvent(WireModel):
    """An event of a kind that only a newer server has, with all that it says."""

    model_config = ConfigDict(extra="allow")

    type: str
    timestamp: Timestamp


#: An entry of a session's log.
Event = Annotated[SessionEvent | UnknownEvent, Field(union_mode="left_to_right")]

__all__ = [
    "AgentConnected",
    "AgentRegistrySource",
    "AgentWaitStart",
    "AgentWaitStop",
    "Balance",
    "BudgetNotice",
    "BudgetRequest",
    "Budgets",
    "Delivery",
    "DeliveryAttempt",
    "DockerContainerCreated",
    "DockerContainerRemoved",
    "Event",
    "HistoricSession",
    "HistoryEntry",
    "ListedAgentState",
    "LlmProxyCall",
    "LoggingEvent",
    "NewLimit",
    "NewLimits",
    "RegistryAgent",
    "RegistryAgentCatalog",
    "RestrictedRegistryAgent",
    "RuntimeStarted",
    "RuntimeStopped",
    "SessionAgentState",
    "SessionEndReport",
    "SessionEvent",
    "SessionIdentifier",
    "SessionNamespaceRequest",
    "SessionNamespaceStateBase",
    "SessionRequest",
    "SessionRuntimeSettings",
    "SessionStateBase",
    "SessionStateExtended",
    "SessionSummary",
    "SessionThread",
    "SessionThreadMessage",
    "SessionThreadOverview",
    "SignedDelivery",
    "ThreadClosed",
    "ThreadCreated",
    "ThreadMessageSent",
    "ThreadParticipantAdded",
    "ThreadParticipantRemoved",
    "UnknownEvent",
    "WebhookEndpoint",
    "WebhookKeys",
]
