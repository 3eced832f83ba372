"""A turn of an agent that runs as a function: what it is given, what it answers, and what is told of it in a queue."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from .base import WireModel
from .sessions import MAX_DURATION_MS
from .threads import SessionThreadMessage

#: Why a function is called: for the first time, for a message that it waits for, or because its wait is over.
Reason = Literal["started", "message", "timeout"]

#: Which messages a function waits for: any, those that mention it, or those of one agent.
WaitsFor = Literal["message", "mention", "agent"]

#: Largest state of an agent, as JSON in UTF-8.
MAX_STATE_BYTES = 256 * 1024


class TurnAgent(WireModel):
    """The agent that a function is called for: what a process finds in its environment."""

    name: str
    namespace: str
    session_id: str
    #: Where the agent's tools are, over MCP. It holds the secret.
    connection_url: str = Field(repr=False)
    secret: str = Field(repr=False)
    #: Base URL of the REST API.
    api_url: str
    #: Option values by name: numbers, texts, booleans, lists of them; what is binary is in base64.
    options: dict[str, Any] = Field(repr=False)
    system_prompt: str | None = None


class TurnInput(WireModel):
    """What a function is called with."""

    agent: TurnAgent
    #: Counts the agent's turns from 1. A turn that is tried again has the same number.
    turn: int
    reason: Reason
    message: SessionThreadMessage | None = None
    #: What the last turn has answered as its state.
    state: Any = None

    def to_wire(self) -> dict[str, Any]:
        """Return it as JSON: the state as it was given, whose nulls are its own."""
        shown = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"state"})
        return shown if self.state is None else {**shown, "state": self.state}


class TurnWait(WireModel):
    """What an agent waits for after a turn."""

    model_config = ConfigDict(extra="forbid", strict=True)

    for_: WaitsFor = Field("mention", alias="for")
    agent_name: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    #: After how many ms the function is called all the same; without it waits have no end.
    max_wait_ms: Annotated[int, Field(ge=0, le=MAX_DURATION_MS)] | None = None

    @model_validator(mode="after")
    def _named(self) -> "TurnWait":
        if (self.for_ == "agent") != (self.agent_name is not None):
            raise ValueError('agentName goes with "for": "agent", and with that alone')
        return self


class TurnOutput(WireModel):
    """What a function answers; an empty object waits for a mention, without limit."""

    model_config = ConfigDict(extra="forbid", strict=True)

    #: Without it the state stays as it was.
    state: Any = None
    wait: TurnWait = Field(default_factory=TurnWait)
    #: Whether the agent has come to its end.
    exit: bool = False


class Nudge(WireModel):
    """What a message of the queue of turns says: look whether this agent has something to do. Identifiers alone."""

    namespace: str
    session_id: str
    agent: str
    #: The entry of the log for which it is sent, and its thread; what else is due is found all the same.
    position: int | None = None
    thread_id: str | None = None
    #: How far the agent had read by then.
    after: int | None = None
    #: Whether what follows from the last turn may not have been done: a machine was switched off.
    again: bool = False


class LaterNudge(WireModel):
    """What a message of the queue of deadlines says: nudge at a time (epoch ms), unless the turn is another by then."""

    nudge: Nudge
    due_ms: int
    turn: int
    #: Tells nudges of one turn apart.
    number: int = 0
