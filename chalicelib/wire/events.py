"""`SessionEvent`: the entries of a session's log (the Coral contract, "Events"), each with its type first."""

from typing import Annotated, Literal

from pydantic import Field

from .base import Timestamp, WireModel
from .threads import SessionThread, SessionThreadMessage


class RuntimeStarted(WireModel):
    """An agent's task was started."""

    type: Literal["runtime_started"] = "runtime_started"
    timestamp: Timestamp
    name: str


class RuntimeStopped(WireModel):
    """An agent's task has ended. Why is in the listing of agents: Coral's event has no place for it."""

    type: Literal["runtime_stopped"] = "runtime_stopped"
    timestamp: Timestamp
    name: str


class DockerContainerCreated(WireModel):
    """The container of an agent runs; its id is that of the ECS task."""

    type: Literal["docker_container_created"] = "docker_container_created"
    timestamp: Timestamp
    container_id: str


class DockerContainerRemoved(WireModel):
    """The container of an agent is gone."""

    type: Literal["docker_container_removed"] = "docker_container_removed"
    timestamp: Timestamp
    container_id: str


class AgentConnected(WireModel):
    """An agent made its first MCP request."""

    type: Literal["agent_connected"] = "agent_connected"
    timestamp: Timestamp
    name: str


class FromFilter(WireModel):
    """Only messages of one sender."""

    type: Literal["from"] = "from"
    name: str


class MentionsFilter(WireModel):
    """Only messages that mention an agent."""

    type: Literal["mentions"] = "mentions"
    name: str


SessionThreadMessageFilter = Annotated[FromFilter | MentionsFilter, Field(discriminator="type")]


class AgentWaitStart(WireModel):
    """An agent waits for a message, which may be there already."""

    type: Literal["agent_wait_start"] = "agent_wait_start"
    timestamp: Timestamp
    name: str
    filters: list[SessionThreadMessageFilter]


class AgentWaitStop(WireModel):
    """An agent received the message that it waited for."""

    type: Literal["agent_wait_stop"] = "agent_wait_stop"
    timestamp: Timestamp
    name: str
    message: SessionThreadMessage


class ThreadCreated(WireModel):
    """A thread was opened."""

    type: Literal["thread_created"] = "thread_created"
    timestamp: Timestamp
    thread: SessionThread


class ThreadParticipantAdded(WireModel):
    """An agent was brought into a thread."""

    type: Literal["thread_participant_added"] = "thread_participant_added"
    timestamp: Timestamp
    thread_id: str
    name: str


class ThreadParticipantRemoved(WireModel):
    """An agent was taken out of a thread."""

    type: Literal["thread_participant_removed"] = "thread_participant_removed"
    timestamp: Timestamp
    thread_id: str
    name: str


class ThreadClosed(WireModel):
    """A thread was closed."""

    type: Literal["thread_closed"] = "thread_closed"
    timestamp: Timestamp
    thread_id: str
    summary: str


class ThreadMessageSent(WireModel):
    """A message was sent."""

    type: Literal["thread_message_sent"] = "thread_message_sent"
    timestamp: Timestamp
    message: SessionThreadMessage


class LlmUsage(WireModel):
    """How many tokens a call of a model took, as far as its provider said."""

    input_tokens: int | None = None
    output_tokens: int | None = None


class LlmProxyCall(WireModel):
    """A model's provider has answered an agent, which may be with an error."""

    type: Literal["llm_proxy_call"] = "llm_proxy_call"
    timestamp: Timestamp
    agent_name: str
    model_name: str
    #: The name of the agent's proxy.
    provider_request_name: str
    status_code: int
    usage: LlmUsage


#: An entry of a session's log; Coral has more kinds, of which Atoll writes none.
SessionEvent = Annotated[
    RuntimeStarted
    | RuntimeStopped
    | DockerContainerCreated
    | DockerContainerRemoved
    | AgentConnected
    | AgentWaitStart
    | AgentWaitStop
    | ThreadCreated
    | ThreadParticipantAdded
    | ThreadParticipantRemoved
    | ThreadClosed
    | ThreadMessageSent
    | LlmProxyCall,
    Field(discriminator="type"),
]
