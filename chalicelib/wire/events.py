"""`SessionEvent`: the entries of a session's log (the Coral contract, "Events")."""

from typing import Annotated, Literal

from pydantic import Field

from chalicelib.wire.base import Timestamp, WireModel
from chalicelib.wire.threads import SessionThread, SessionThreadMessage


class _Event(WireModel):
    timestamp: Timestamp


class RuntimeStarted(_Event):
    """An agent's task was started."""

    type: Literal["runtime_started"] = "runtime_started"
    name: str


class RuntimeStopped(_Event):
    """An agent's task has ended. Why is in the listing of agents: Coral's event has no place for it."""

    type: Literal["runtime_stopped"] = "runtime_stopped"
    name: str


class DockerContainerCreated(_Event):
    """The container of an agent runs; its id is that of the ECS task."""

    type: Literal["docker_container_created"] = "docker_container_created"
    container_id: str


class DockerContainerRemoved(_Event):
    """The container of an agent is gone."""

    type: Literal["docker_container_removed"] = "docker_container_removed"
    container_id: str


class AgentConnected(_Event):
    """An agent made its first MCP request."""

    type: Literal["agent_connected"] = "agent_connected"
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


class AgentWaitStart(_Event):
    """An agent waits for a message, which may be there already."""

    type: Literal["agent_wait_start"] = "agent_wait_start"
    name: str
    filters: list[SessionThreadMessageFilter]


class AgentWaitStop(_Event):
    """An agent received the message that it waited for."""

    type: Literal["agent_wait_stop"] = "agent_wait_stop"
    name: str
    message: SessionThreadMessage


class ThreadCreated(_Event):
    """A thread was opened."""

    type: Literal["thread_created"] = "thread_created"
    thread: SessionThread


class ThreadParticipantAdded(_Event):
    """An agent was brought into a thread."""

    type: Literal["thread_participant_added"] = "thread_participant_added"
    thread_id: str
    name: str


class ThreadParticipantRemoved(_Event):
    """An agent was taken out of a thread."""

    type: Literal["thread_participant_removed"] = "thread_participant_removed"
    thread_id: str
    name: str


class ThreadClosed(_Event):
    """A thread was closed."""

    type: Literal["thread_closed"] = "thread_closed"
    thread_id: str
    summary: str


class ThreadMessageSent(_Event):
    """A message was sent."""

    type: Literal["thread_message_sent"] = "thread_message_sent"
    message: SessionThreadMessage


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
    | ThreadMessageSent,
    Field(discriminator="type"),
]
