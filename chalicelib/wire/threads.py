"""Threads and their messages on the wire, and what the thread tools and the puppet API take and answer."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from . import strict_json
from .base import Timestamp, WireModel
from .limits import EACH_ONCE, at_most_bytes

#: Atoll's limits of a thread. A message must fit into one DynamoDB item (400 KB) with its mentions.
MAX_MESSAGE_BYTES = 300_000
MAX_SUMMARY_BYTES = 100_000
MAX_THREAD_NAME_BYTES = 256
MAX_ID_BYTES = 256
#: One DynamoDB condition names them all (its expression has at most 4 KB).
MAX_NAMES = 100

#: What a wait asks for that does not say how long it may last: Coral's default, and Coral's limit.
DEFAULT_WAIT_MS = 60_000
#: The longest that a wait lasts: many clients give up after 60 s (TypeScript's SDK and what is made with it, Koog).
MAX_WAIT_MS = 58_000
#: Behind all time, in ms: what is later is as good.
LATEST_MS = 10**15


def _at_most(limit: int) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if isinstance(value, list) and len(value) > limit:
            raise ValueError(f"at most {limit} names are taken, not {len(value)}")
        return value

    return check


def _listed(value: Any) -> Any:
    """Return the list that a model meant: the one in a JSON text, an empty one for null."""
    if value is None:
        return []
    if not isinstance(value, str):
        return value
    try:
        found = strict_json.loads(value)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise ValueError(f"a list of names is taken, not the text {value[:80]!r}")
    return found


def _or(default: int) -> BeforeValidator:
    return BeforeValidator(lambda value: default if value is None else value)


def _between(low: int, high: int) -> AfterValidator:
    return AfterValidator(lambda value: None if value is None else max(low, min(value, high)))


ThreadId = Annotated[str, at_most_bytes(MAX_ID_BYTES)]
AgentName = Annotated[str, at_most_bytes(MAX_ID_BYTES)]
#: A set of agent names; their order is the caller's.
AgentNames = Annotated[
    list[AgentName], BeforeValidator(_at_most(MAX_NAMES)), BeforeValidator(_listed), EACH_ONCE
]  # what is named last runs first


class SessionThreadMessage(WireModel):
    """A message in a thread."""

    id: str
    thread_id: str
    text: str
    sender_name: str
    mention_names: list[str]
    timestamp: Timestamp


class OpenThread(WireModel):
    """Messages may be sent."""

    state: Literal["open"] = "open"


class ClosedThread(WireModel):
    """The thread has ended: what is left of it is its summary."""

    state: Literal["closed"] = "closed"
    summary: str
    timestamp: Timestamp


class SessionThread(WireModel):
    """A thread of a session. A closed one shows no messages."""

    id: str
    name: str
    creator_name: str
    participants: list[str]
    messages: list[SessionThreadMessage]
    state: OpenThread | ClosedThread
    timestamp: Timestamp


class SessionThreadOverview(WireModel):
    """A thread of a session as a listing of threads has it: without its messages, which have their own."""

    id: str
    name: str
    creator_name: str
    participants: list[str]
    message_count: int
    state: OpenThread | ClosedThread
    timestamp: Timestamp


class CreateThreadInput(WireModel):
    """A thread to open."""

    thread_name: Annotated[
        str,
        at_most_bytes(MAX_THREAD_NAME_BYTES),
        Field(description="The name of the thread: a few words on its topic."),
    ]
    participant_names: Annotated[
        AgentNames,
        Field(
            default_factory=list,
            description="The agents who take part from the start. You take part in any case; do not name yourself.",
        ),
    ]


class CloseThreadInput(WireModel):
    """A thread to close, and what is to be kept of it."""

    thread_id: Annotated[ThreadId, Field(description="The id of the thread to close.")]
    summary: Annotated[
        str,
        at_most_bytes(MAX_SUMMARY_BYTES),
        Field(description="What came out of the thread. Its messages are gone once it is closed; this stays."),
    ]


class AddParticipantInput(WireModel):
    """An agent to bring into a thread."""

    thread_id: Annotated[ThreadId, Field(description="The id of the thread to add the agent to.")]
    participant_name: Annotated[AgentName, Field(description="The name of the agent to add.")]


class RemoveParticipantInput(WireModel):
    """An agent to take out of a thread."""

    thread_id: Annotated[ThreadId, Field(description="The id of the thread to remove the agent from.")]
    participant_name: Annotated[AgentName, Field(description="The name of the agent to remove.")]


class SendMessageInput(WireModel):
    """A message to send."""

    thread_id: Annotated[ThreadId, Field(description="The id of the thread to send the message in.")]
    content: Annotated[str, at_most_bytes(MAX_MESSAGE_BYTES), Field(description="The text of the message.")]
    mentions: Annotated[
        AgentNames,
        Field(
            default_factory=list,
            description="The participants that the message addresses. A wait for mentions ends for those named here.",
        ),
    ]


class WaitInput(WireModel):
    """How long to wait, and from when on messages count."""

    #: ``None`` for the time at which the call comes.
    current_unix_time: Annotated[
        int | None,
        _between(0, LATEST_MS),
        WithJsonSchema({"type": "integer"}),
        Field(
            # A factory: a default that is null would be part of the schema.
            default_factory=lambda: None,
            description="The current Unix time in milliseconds. Messages stamped at or after it that you may have "
            "missed are returned first.",
        ),
    ]
    max_wait_ms: Annotated[
        int,
        _between(0, MAX_WAIT_MS),
        _or(DEFAULT_WAIT_MS),
        Field(
            validate_default=True,
            description=f"The longest time to wait in milliseconds; no wait is longer than {MAX_WAIT_MS}.",
        ),
    ] = DEFAULT_WAIT_MS


class WaitForAgentInput(WaitInput):
    """The same, for the messages of one agent."""

    agent_name: Annotated[AgentName, Field(description="The name of the agent to wait for.")]


class CloseSessionInput(WireModel):
    """Why the session is to end."""

    reason: Annotated[str, at_most_bytes(1024), Field(description="Why the session is to be closed.")]


class CreateThreadOutput(WireModel):
    """The new thread."""

    thread: SessionThread


class SendMessageOutput(WireModel):
    """The message as it was sent."""

    status: str
    message: SessionThreadMessage


class WaitOutput(WireModel):
    """How a wait ended, and the message it ended with."""

    status: str
    message: SessionThreadMessage | None = None


class Done(WireModel):
    """Says what was done."""

    message: str
