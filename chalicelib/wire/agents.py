"""Agents on the wire: their state in a session, and the report of their run."""

from typing import Literal

from pydantic import Field

from .base import Timestamp, WireModel
from .identifiers import RegistryAgentIdentifier


class Thinking(WireModel):
    """The agent is at work."""

    type: Literal["thinking"] = "thinking"


class WaitingMessage(WireModel):
    """The agent waits for a message."""

    type: Literal["waiting_message"] = "waiting_message"


class NotConnected(WireModel):
    """The agent has not spoken to its MCP endpoint yet."""

    type: Literal["not_connected"] = "not_connected"


class Connected(WireModel):
    """The agent has spoken to its MCP endpoint."""

    type: Literal["connected"] = "connected"
    communication_status: Thinking | WaitingMessage


class Waiting(WireModel):
    """The agent is still to be started."""

    type: Literal["waiting"] = "waiting"


class Running(WireModel):
    """The agent's task was started."""

    type: Literal["running"] = "running"
    start_time: Timestamp
    connection_status: NotConnected | Connected


class Stopped(WireModel):
    """The agent's task has ended, or could not be started: then it has no `startTime`."""

    type: Literal["stopped"] = "stopped"
    start_time: Timestamp | None = None


class StoppedForReason(Stopped):
    """The same with the reason, which is Atoll's own: Coral's clients refuse keys that they do not know."""

    reason: str | None = None


class TokenUsage(WireModel):
    """Tokens that were read and written."""

    input_tokens: int = 0
    output_tokens: int = 0


class SessionAgentState(WireModel):
    """An agent as its session sees it."""

    name: str
    registry_agent_identifier: RegistryAgentIdentifier
    status: Waiting | Running | Stopped
    description: str | None = None
    links: list[str]
    annotations: dict[str, str]
    #: By ``provider/model``, of the models that it has called.
    tokens_by_model: dict[str, TokenUsage] = Field(default_factory=dict)


class ListedAgentState(SessionAgentState):
    """An agent in Atoll's own listing, which says why one has stopped."""

    status: Waiting | Running | StoppedForReason


class SessionAgentUsageReport(WireModel):
    """One run of an agent."""

    name: str
    registry_identifier: RegistryAgentIdentifier
    start_time: Timestamp
    end_time: Timestamp
    annotations: dict[str, str]
