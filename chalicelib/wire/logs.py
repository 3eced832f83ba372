"""`LoggingEvent`: a line of a log, with tags that say what it is about (the Coral contract, "Logs")."""

import dataclasses
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, computed_field

from .base import Timestamp, WireModel

#: A line is cut after so many characters (an API Gateway socket takes frames of 128 KB).
MAX_TEXT_CHARS = 16_000

#: What stands at the end of a line that was cut.
CUT = " … [cut]"

#: Where a process wrote a line: to its output, or to its errors.
Io = Literal["out", "error"]


class NamespaceTag(WireModel):
    """The line is about a namespace."""

    type: Literal["namespace"] = "namespace"
    namespace: str

    @computed_field  # type: ignore[prop-decorator]
    @property
    def mdc_map(self) -> dict[str, str]:
        """What the tag is in the context of Coral's logger."""
        return {"ns": self.namespace}


class SessionTag(WireModel):
    """The line is about a session."""

    type: Literal["session"] = "session"
    session_id: str

    @computed_field  # type: ignore[prop-decorator]
    @property
    def mdc_map(self) -> dict[str, str]:
        """What the tag is in the context of Coral's logger."""
        return {"sid": self.session_id}


class AgentTag(WireModel):
    """The line is about an agent of a session."""

    type: Literal["agent"] = "agent"
    name: str

    @computed_field  # type: ignore[prop-decorator]
    @property
    def mdc_map(self) -> dict[str, str]:
        """What the tag is in the context of Coral's logger."""
        return {"agent": self.name}


class StdoutTag(WireModel):
    """An agent's process printed the line."""

    type: Literal["stdout"] = "stdout"
    io: Io

    @computed_field  # type: ignore[prop-decorator]
    @property
    def mdc_map(self) -> dict[str, str]:
        """What the tag is in the context of Coral's logger."""
        return {"io": "stdout" if self.io == "out" else "stderr"}


class ProxyRequestTag(WireModel):
    """The line is about a call of a model, which are counted from 1 for each agent."""

    type: Literal["proxy_request"] = "proxy_request"
    proxy_number: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def mdc_map(self) -> dict[str, str]:
        """What the tag is in the context of Coral's logger."""
        return {"pnum": str(self.proxy_number)}


class SensitiveTag(WireModel):
    """The line is shown only to followers that ask for sensitive ones."""

    type: Literal["sensitive"] = "sensitive"


LoggingTag = Annotated[
    NamespaceTag | SessionTag | AgentTag | StdoutTag | ProxyRequestTag | SensitiveTag, Field(discriminator="type")
]


def tags_of(
    namespace: str | None = None, session_id: str | None = None, agent: str | None = None, io: Io | None = None
) -> list[LoggingTag]:
    """Return the tags of what is known of a line, in Coral's order."""
    tags: list[LoggingTag] = []
    if namespace is not None:
        tags.append(NamespaceTag(namespace=namespace))
    if session_id is not None:
        tags.append(SessionTag(session_id=session_id))
    if agent is not None:
        tags.append(AgentTag(name=agent))
    if io is not None:
        tags.append(StdoutTag(io=io))
    return tags


class _Event(WireModel):
    type: str
    timestamp: Timestamp
    text: str
    tags: list[LoggingTag]


class InfoEvent(_Event):
    """A line for information; what an agent writes to its output is one."""

    type: Literal["info"] = "info"


class WarningEvent(_Event):
    """A warning; what an agent writes to its errors is one."""

    type: Literal["warning"] = "warning"


class ErrorEvent(_Event):
    """An error, with where in the code it arose if that is known."""

    type: Literal["error"] = "error"
    exception_stack_trace: list[str] = Field(default_factory=list)


class DebugEvent(_Event):
    """A line that helps to find an error."""

    type: Literal["debug"] = "debug"


class TraceEvent(_Event):
    """A line that tells each step."""

    type: Literal["trace"] = "trace"


LoggingEvent = Annotated[InfoEvent | WarningEvent | ErrorEvent | DebugEvent | TraceEvent, Field(discriminator="type")]


@dataclasses.dataclass(frozen=True)
class LogFilter:
    """Which lines are wanted: those with exactly these tags, as far as they are given."""

    namespace: str | None = None
    session: str | None = None
    agent: str | None = None
    allow_sensitive: bool = False

    def passes(self, event: LoggingEvent) -> bool:
        """Return whether a line is wanted; one without a tag that is asked for is not."""
        found: dict[str, str] = {}
        for tag in event.tags:
            if isinstance(tag, NamespaceTag):
                found["namespace"] = tag.namespace
            elif isinstance(tag, SessionTag):
                found["session"] = tag.session_id
            elif isinstance(tag, AgentTag):
                found["agent"] = tag.name
            elif isinstance(tag, SensitiveTag) and not self.allow_sensitive:
                return False
        return self._wanted.items() <= found.items()

    @cached_property
    def _wanted(self) -> dict[str, str]:
        given = {"namespace": self.namespace, "session": self.session, "agent": self.agent}
        return {kind: value for kind, value in given.items() if value is not None}
