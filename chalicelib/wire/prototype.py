"""``[runtimes.prototype]``: an agent that is prompts and a model, as an agent's file and the registry have it (C.4).

Texts and numbers may be options of the agent, and texts may be composed; an agent's file may also write them plainly.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

from .base import WireModel
from .limits import at_most_entries

#: The default prompts, in Atoll's own words. What is between the marks is replaced by a resource of the agent's.
SYSTEM_PROMPT = (
    "You are an agent that acts for its author in a session with other agents.\n\n"
    "<resource>coral://instruction</resource>\n<resource>coral://state</resource>"
)
INITIAL_PROMPT = (
    "You work on your own, together with the agents that you are linked to. Do what users ask for with your tools."
)
FOLLOWUP_PROMPT = "Go on with what is still to be done."

#: How many iterations an agent has that does not say it.
ITERATIONS = 20

#: How many servers of tools an agent may have: each is connected to in each turn.
MAX_TOOL_SERVERS = 16

#: How deep and how wide compositions are is bounded by their parts, which are counted where they are used.
_PARTS = WithJsonSchema({"type": "array", "items": {"type": "object", "additionalProperties": {}}})


class _Part(WireModel):
    model_config = ConfigDict(strict=True)


class InlineString(_Part):
    """A text."""

    type: Literal["inline"] = "inline"
    value: str


class OptionString(_Part):
    """The value of one of the agent's options, which is of the type ``string``."""

    type: Literal["option"] = "option"
    name: str


class ComposedString(_Part):
    """Texts that are joined."""

    type: Literal["composed_string"] = "composed_string"
    parts: Annotated[list["PrototypeString"], _PARTS]
    separator: str = ""


class PathSegment(_Part):
    """Something behind a URL's path."""

    type: Literal["path_segment"] = "path_segment"
    value: "PrototypeString"


class QueryParameter(_Part):
    """One more parameter of a URL."""

    type: Literal["query_parameter"] = "query_parameter"
    name: str
    value: "PrototypeString"


class ComposedUrl(_Part):
    """A URL with more behind it, encoded as it must be."""

    type: Literal["composed_url"] = "composed_url"
    base: str
    parts: Annotated[list["PrototypeUrlPart"], _PARTS]


PrototypeUrlPart = Annotated[PathSegment | QueryParameter, Field(discriminator="type")]
PrototypeString = Annotated[
    InlineString | OptionString | ComposedString | ComposedUrl, Field(discriminator="type", title="PrototypeString")
]


class InlineInteger(_Part):
    """A number."""

    type: Literal["inline"] = "inline"
    value: Annotated[int, Field(ge=-(2**63), lt=2**63)]


class OptionInteger(_Part):
    """The value of one of the agent's options, which is of the type of an integer."""

    type: Literal["option"] = "option"
    name: str


PrototypeInteger = Annotated[InlineInteger | OptionInteger, Field(discriminator="type", title="PrototypeInteger")]


class NoAuth(_Part):
    """A server of tools that asks for nothing."""

    type: Literal["none"] = "none"


class BearerAuth(_Part):
    """A server of tools that asks for a bearer's token."""

    type: Literal["bearer"] = "bearer"
    token: PrototypeString


class HeaderAuth(_Part):
    """A server of tools that asks for something else in the header ``Authorization``."""

    type: Literal["authorization_header"] = "authorization_header"
    header: PrototypeString


PrototypeToolServerAuth = Annotated[NoAuth | BearerAuth | HeaderAuth, Field(discriminator="type")]


class PrototypeToolServer(_Part):
    """A server of tools that speaks MCP."""

    type: Literal["mcp_sse", "mcp_streamable_http"]
    url: PrototypeString
    auth: PrototypeToolServerAuth = Field(default_factory=NoAuth)


def _inline(text: str) -> Any:
    return lambda: InlineString(value=text)


class SystemPrompt(_Part):
    """What the model is told first."""

    base: PrototypeString = Field(default_factory=_inline(SYSTEM_PROMPT))
    extra: PrototypeString | None = None


class InitialPrompt(_Part):
    """What the model is asked in the first iteration."""

    base: PrototypeString = Field(default_factory=_inline(INITIAL_PROMPT))
    extra: PrototypeString | None = None


class LoopPrompts(_Part):
    """What the model is asked, iteration by iteration."""

    initial: InitialPrompt = Field(default_factory=InitialPrompt)
    followup: PrototypeString = Field(default_factory=_inline(FOLLOWUP_PROMPT))


class Prompts(_Part):
    """All that the model is told by the agent's author."""

    system: SystemPrompt = Field(default_factory=SystemPrompt)
    loop: LoopPrompts = Field(default_factory=LoopPrompts)


class PrototypeRuntime(_Part):
    """The agent as prompts and a model."""

    volatile: bool = False
    #: The name of one of the agent's proxies.
    proxy: PrototypeString
    client: Literal["openai", "anthropic", "openrouter"] | None = None
    iterations: PrototypeInteger = Field(default_factory=lambda: InlineInteger(value=ITERATIONS))
    #: Before each iteration but the first, ms.
    delay: PrototypeInteger = Field(default_factory=lambda: InlineInteger(value=0))
    prompts: Prompts = Field(default_factory=Prompts)
    tools: Annotated[list[PrototypeToolServer], at_most_entries(MAX_TOOL_SERVERS)] = Field(default_factory=list)
