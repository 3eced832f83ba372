"""``coral-agent.toml``, editions 3 and 4: its keys, and Coral's limits of each, in characters as Coral counts them.

Keys that are not listed here are tolerated, as Coral does; a runtime of another kind is one of them. The runtime
``function`` is in Coral's list of runtimes, but only for functions of Coral itself: its table is Atoll's own.
"""

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from .fargate import Fargate
from .limits import EACH_ONCE, WITHOUT_NUL, at_most_entries, between_characters, characters_of
from .options import AgentOption
from .prototype import PrototypeRuntime
from .registry import OWN_FUNCTION_PREFIX, AgentCapability, License, Transport

#: Semantic Versioning 2.0.0, "Is there a suggested regular expression": numbers without leading zeros, then
#: dot-separated pre-release identifiers, then build identifiers.
_IDENTIFIER = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER = re.compile(
    rf"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)){{2}}(?:-{_IDENTIFIER}(?:\.{_IDENTIFIER})*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_AGENT_NAME = re.compile(r"[a-z0-9]([a-z0-9]*(-[a-z0-9]+)*)?")
_OPTION_NAME = re.compile(r"[a-zA-Z_][a-zA-Z_$0-9]*")
_PROXY_NAME = re.compile(r"[A-Z_0-9]+")
#: Digits of Base58 (Bitcoin's).
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LINK_NAME = re.compile(r"[a-zA-Z][a-zA-Z_\-0-9]*")

COMMAND_CHARACTERS = 2 * 1024

#: What the name of a Lambda function must begin with that agents may name: ``run_turn`` may call no other function.
FUNCTION_PREFIX = "coral-agent-"

#: A function's name has 64 characters at most, a version or an alias 128 (Lambda API reference, "Invoke").
_FUNCTION_NAME = rf"{FUNCTION_PREFIX}[A-Za-z0-9_-]{{1,52}}(?::[A-Za-z0-9_$-]{{1,128}})?"
_FUNCTION = re.compile(
    rf"{OWN_FUNCTION_PREFIX}[a-z]+|{_FUNCTION_NAME}"
    rf"|arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{{12}}:function:{_FUNCTION_NAME}"
)
_HANDLER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def _form(pattern: re.Pattern[str], rule: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise PydanticCustomError("form", "must be {rule}", {"rule": rule})
        return text

    return AfterValidator(check)


def _together(parts: list[str]) -> list[str]:
    size = sum(map(characters_of, parts))
    if size > COMMAND_CHARACTERS:
        raise PydanticCustomError(
            "length",
            "has {size} characters together: at most {high} are allowed",
            {"size": size, "high": COMMAND_CHARACTERS},
        )
    return parts


def _link(value: str) -> str:
    try:
        scheme = urlsplit(value).scheme
    except ValueError:
        scheme = ""
    if scheme not in ("https", "mailto", "tel"):
        raise PydanticCustomError("link", "must be an https, mailto or tel URI")
    return value


def _https(value: str) -> str:
    try:
        parts = urlsplit(value)
        callable_ = parts.scheme == "https" and bool(parts.hostname)
    except ValueError:
        callable_ = False
    if not callable_:
        raise PydanticCustomError("link", "must be an https URI")
    return value


def _wallet(value: str) -> str:
    number = 0
    for letter in value[:64]:
        digit = _BASE58.find(letter)
        if digit < 0:
            raise PydanticCustomError("wallet", "must be Base58")
        number = number * 58 + digit
    zeros = len(value) - len(value.lstrip("1"))
    size = zeros + (number.bit_length() + 7) // 8
    if len(value) > 64 or not 25 <= size <= 32:
        raise PydanticCustomError("wallet", "must be Base58 of 25 to 32 bytes")
    return value


AgentName = Annotated[
    str,
    between_characters(1, 32),
    _form(_AGENT_NAME, "lower-case letters and digits, in words joined by single hyphens"),
]
AgentVersion = Annotated[str, between_characters(1, 24), _form(_SEMVER, "a semantic version such as 1.0.0")]
OptionName = Annotated[
    str,
    between_characters(1, 256),
    _form(_OPTION_NAME, "letters, digits, _ and $, and must not start with a digit or $"),
]
LinkName = Annotated[
    str, between_characters(1, 32), _form(_LINK_NAME, "letters, digits, _ and -, and must start with a letter")
]
Link = Annotated[str, between_characters(1, 256), AfterValidator(_link)]
Argument = Annotated[str, WITHOUT_NUL]
Command = Annotated[list[Argument], at_most_entries(1_024), AfterValidator(_together)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class AgentTable(_Table):
    """``[agent]``."""

    name: AgentName
    version: AgentVersion
    description: Annotated[str, between_characters(1, 1_024)] | None = None
    summary: Annotated[str, between_characters(1, 256)] | None = None
    readme: Annotated[str, between_characters(1, 4_096)] | None = None
    license: License | None = None
    keywords: Annotated[list[Annotated[str, between_characters(1, 64)]], at_most_entries(256), EACH_ONCE] = Field(
        default_factory=list
    )
    links: Annotated[
        dict[LinkName, Annotated[str, between_characters(1, 256), AfterValidator(_link)]], at_most_entries(16)
    ] = Field(default_factory=dict)
    capabilities: Annotated[list[AgentCapability], EACH_ONCE] = Field(default_factory=list)


class DockerTable(_Table):
    """``[runtimes.docker]``."""

    image: Annotated[str, between_characters(1, 512), WITHOUT_NUL]
    command: Command | None = None
    transport: Transport = "streamable_http"
    #: Atoll's own; Coral passes over it.
    fargate: Fargate | None = None


class ExecutableTable(_Table):
    """``[runtimes.executable]``; ``path`` is absolute, relative to the file, or on ``PATH``."""

    path: Annotated[str, between_characters(1, 4_096), WITHOUT_NUL]
    arguments: Command = Field(default_factory=list)
    transport: Transport = "streamable_http"


class FunctionTable(_Table):
    """``[runtimes.function]``: what is called once a turn, on AWS and on one machine."""

    function: (
        Annotated[
            str,
            between_characters(1, 512),
            _form(
                _FUNCTION,
                f"the name or ARN of a Lambda function whose name begins with {FUNCTION_PREFIX}, or one of Atoll's own "
                f"({OWN_FUNCTION_PREFIX}echo)",
            ),
        ]
        | None
    ) = None
    handler: Annotated[str, between_characters(1, 256), _form(_HANDLER, "module:callable")] | None = None
    transport: Transport = "streamable_http"

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.function or self.handler):
            raise PydanticCustomError(
                "function", "must have a function (for AWS) or a handler (for one machine), or both"
            )
        return self


class RuntimesTable(_Table):
    """``[runtimes]``: at least one that Atoll can run."""

    docker: DockerTable | None = None
    executable: ExecutableTable | None = None
    function: FunctionTable | None = None
    prototype: PrototypeRuntime | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.docker or self.executable or self.function or self.prototype):
            raise PydanticCustomError("runtimes", "must have a docker, an executable, a function or a prototype table")
        return self


class LlmProxyFormatTable(_Table):
    """Which API a model is spoken to with, spelled exactly so."""

    type: Literal["OpenAI", "Anthropic"]


class LlmProxyTable(_Table):
    """``[[llm.proxies]]``: a model that the agent needs."""

    name: Annotated[str, between_characters(1, 32), _form(_PROXY_NAME, "upper-case letters, digits and _")]
    format: LlmProxyFormatTable
    models: Annotated[list[Annotated[str, between_characters(1, 128)]], EACH_ONCE, at_most_entries(32)] = Field(
        default_factory=list
    )


class LlmTable(_Table):
    """``[llm]``."""

    proxies: Annotated[list[LlmProxyTable], at_most_entries(16)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _each_name_once(self) -> Self:
        names = [proxy.name for proxy in self.proxies]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise PydanticCustomError("names", "has two proxies named {name}", {"name": twice})
        return self


class RecommendationsTable(_Table):
    """What the author thinks the agent should cost, from ``min`` to ``max``."""

    min: Annotated[float, Field(ge=0, le=20, allow_inf_nan=False, strict=False)]
    max: Annotated[float, Field(allow_inf_nan=False, strict=False)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max <= self.min:
            raise PydanticCustomError("range", "must have a max that is more than its min")
        return self


class PricingTable(_Table):
    """``[marketplace.pricing]``."""

    description: Annotated[str, between_characters(1, 256)]
    currency: Literal["USD"] = "USD"
    recommendations: RecommendationsTable | None = None


class EndpointTable(_Table):
    """``[[marketplace.identities.erc8004.endpoints]]``."""

    name: LinkName
    endpoint: Annotated[str, between_characters(1, 256), AfterValidator(_https)]


class Erc8004Table(_Table):
    """``[marketplace.identities.erc8004]``."""

    wallet: Annotated[str, AfterValidator(_wallet)]
    endpoints: Annotated[list[EndpointTable], at_most_entries(32)] = Field(default_factory=list)


class IdentitiesTable(_Table):
    """``[marketplace.identities]``."""

    erc8004: Erc8004Table | None = None


class MarketplaceTable(_Table):
    """``[marketplace]``."""

    keywords: Annotated[list[str], EACH_ONCE] = Field(default_factory=list)
    pricing: PricingTable | None = None
    identities: IdentitiesTable | None = None


class AgentFile(_Table):
    """The whole file."""

    edition: Literal[3, 4]
    agent: AgentTable
    runtimes: RuntimesTable
    options: Annotated[dict[OptionName, AgentOption], at_most_entries(512)] = Field(default_factory=dict)
    llm: LlmTable | None = None
    marketplace: MarketplaceTable | None = None
