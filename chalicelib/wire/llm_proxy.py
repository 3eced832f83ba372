"""The table ``[llm-proxy]`` of Coral's configuration: which providers of models there are, and how they are called.

Two forms of it are kept: the whole, with the providers' keys, and what of it a request needs that creates a session
(`ModelOffer`), which has none.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from . import bounded_toml
from .base import WireModel
from .faults import rule_of
from .limits import EACH_ONCE, at_most_entries, between_characters
from .urls import CallableUrl

#: The file may have so many bytes: with all that it says, it is kept in one secret of Secrets Manager.
MAX_CONFIG_BYTES = 60_000
#: A model's name, of a session or of a provider.
MAX_MODEL_NAME_CHARACTERS = 256
#: Most providers of one deployment.
MAX_PROVIDERS = 64
#: The largest size that can be configured: an answer that is not streamed is held in memory.
MAX_SIZE_BYTES = 256 * 2**20
#: The longest time that can be configured: a Lambda function runs for 15 min at most.
MAX_TIME_MS = 900_000
#: Most retries of one call.
MAX_RETRIES = 10

LlmFormat = Literal["OpenAI", "Anthropic"]

_BYTES_OF_UNIT = {"": 1, "b": 1} | {
    f"{letter}{infix}b": base**power
    for base, infix in ((1000, ""), (1024, "i"))
    for power, letter in enumerate("kmg", 1)
}
_SIZE = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([A-Za-z]*)\s*")

_MS_OF_UNIT = {
    **dict.fromkeys(("ms", "milli", "millis", "millisecond", "milliseconds"), 1),
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1000),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60_000),
    **dict.fromkeys(("h", "hour", "hours"), 3_600_000),
}
_TIME_PART = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([A-Za-z]+)\s*")
_ISO_TIME = re.compile(r"PT(?:([0-9]{1,9})H)?(?:([0-9]{1,9})M)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)S)?")

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _bytes_of(given: Any) -> Any:
    """Read ``20MiB`` as Coral does; a number is of bytes."""
    parts = _SIZE.fullmatch(given) if isinstance(given, str) else None
    if parts is None:
        return given
    unit = _BYTES_OF_UNIT.get(parts[2].lower())
    if unit is None:
        raise PydanticCustomError("size", "must be a size such as 20MiB, not {given}", {"given": given[:40]})
    return int(Decimal(parts[1]) * unit)


def _ms_of(given: Any) -> Any:
    """Read ``10m``, ``1m 30s`` or ``PT10M`` as Coral does; a number without a unit says nothing."""
    if not isinstance(given, str):
        raise PydanticCustomError("time", "must be a time with its unit, such as 10m")
    if (iso := _ISO_TIME.fullmatch(given)) and any(iso.groups()):
        hours, minutes, seconds = (Decimal(part or 0) for part in iso.groups())
        return int(hours * 3_600_000 + minutes * 60_000 + seconds * 1000)
    total, at = Decimal(0), 0
    while at < len(given):
        part = _TIME_PART.match(given, at)
        unit = _MS_OF_UNIT.get(part[2].lower()) if part else None
        if part is None or unit is None:
            raise PydanticCustomError("time", "must be a time such as 10m, not {given}", {"given": given[:40]})
        total, at = total + Decimal(part[1]) * unit, part.end()
    if not given.strip():
        raise PydanticCustomError("time", "must be a time such as 10m")
    return int(total)


def _price(given: Any) -> Any:
    """Take a number of any exact form; one that went through binary fractions is what it is written as."""
    if isinstance(given, bool) or not isinstance(given, str | int | float | Decimal):
        raise PydanticCustomError("price", "must be a number of US dollars, such as 0.25 or '0.25'")
    text = str(given)
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text):
        raise PydanticCustomError(
            "price", "must be below a million US dollars, with at most six decimals, not {given}", {"given": text[:40]}
        )
    return Decimal(text)


Bytes = Annotated[int, BeforeValidator(_bytes_of), Field(ge=1, le=MAX_SIZE_BYTES)]
#: Read as text with a unit. What is stored is ms, as text with that unit.
Milliseconds = Annotated[
    int,
    BeforeValidator(_ms_of),
    Field(ge=0, le=MAX_TIME_MS),
    PlainSerializer(lambda value: f"{value}ms", return_type=str),
]
#: US dollars for a million tokens.
Usd = Annotated[Decimal, BeforeValidator(_price), PlainSerializer(lambda value: f"{value:f}", return_type=str)]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _one_line(text: str) -> str:
    if _CONTROL.search(text):
        raise PydanticCustomError("line", "must not have control characters")
    return text


ModelName = Annotated[str, between_characters(1, MAX_MODEL_NAME_CHARACTERS), AfterValidator(_one_line)]
ProviderName = Annotated[str, between_characters(1, 128), AfterValidator(_one_line)]


class _Table(WireModel):
    """A table of the file: a key that it does not know is an error, as it is a misspelled one."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class LlmProviderFormat(_Table):
    """Which API a provider speaks."""

    type: LlmFormat


class ModelOffer(_Table):
    """What can be had of a provider: all that choosing a model needs to know."""

    name: ProviderName
    format: LlmProviderFormat
    models: Annotated[list[ModelName], at_most_entries(1_000), EACH_ONCE] = Field(default_factory=list)
    #: By default of a provider that names no models.
    allow_any_model: bool = True

    @model_validator(mode="before")
    @classmethod
    def _any_when_none_is_named(cls, given: Any) -> Any:
        if isinstance(given, dict) and not {"allowAnyModel", "allow_any_model"} & given.keys():
            return {**given, "allowAnyModel": not given.get("models")}
        return given


class LlmProvider(ModelOffer):
    """``[[llm-proxy.providers]]``."""

    api_key: Annotated[
        SecretStr, Field(min_length=1, max_length=4_096), PlainSerializer(SecretStr.get_secret_value, when_used="json")
    ]
    base_url: CallableUrl
    #: Of a whole call that is not streamed, and of each silence of a stream.
    timeout: Milliseconds = 600_000

    @model_validator(mode="after")
    def _sendable(self) -> "LlmProvider":
        key = self.api_key.get_secret_value()
        if not key.isascii() or _CONTROL.search(key) or key != key.strip():
            raise PydanticCustomError("key", "must have an apiKey that a header can carry: printable ASCII")
        if "?" in self.base_url or "#" in self.base_url:
            raise PydanticCustomError("url", "must have a baseUrl without a query: an agent's path comes behind it")
        return self

    @property
    def offer(self) -> ModelOffer:
        """What others may know of it."""
        return ModelOffer(name=self.name, format=self.format, models=self.models, allow_any_model=self.allow_any_model)


class TokenPrice(_Table):
    """What a million tokens cost, in US dollars."""

    input: Usd
    output: Usd


class ModelPrice(TokenPrice):
    """``[[llm-proxy.prices]]``: Atoll's own."""

    model: ModelName
    #: The longest output of the model: what a call is held for that names no limit.
    output_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None


class LlmProxyConfig(_Table):
    """``[llm-proxy]``, with Coral's defaults."""

    retry_max_attempts: Annotated[int, Field(ge=0, le=MAX_RETRIES)] = 0
    retry_base_delay: Milliseconds = 1_000
    retry_delay_exponent: Annotated[float, Field(ge=1, le=10, allow_inf_nan=False)] = 2.0
    retry_max_delay: Milliseconds = 10_000
    max_request_size: Bytes = 20 * 2**20
    max_response_size: Bytes = 80 * 2**20
    max_stream_size: Bytes = 80 * 2**20
    send_session_headers: bool = False
    providers: Annotated[list[LlmProvider], at_most_entries(MAX_PROVIDERS)] = Field(default_factory=list)
    prices: Annotated[list[ModelPrice], at_most_entries(1_000)] = Field(default_factory=list)
    #: What a model costs of which no price is known; without it, such a model is refused where there is a budget.
    unknown_model_price: TokenPrice | None = None

    @model_validator(mode="after")
    def _each_once(self) -> "LlmProxyConfig":
        for what, names in (
            ("providers", [each.name for each in self.providers]),
            ("prices", [each.model for each in self.prices]),
        ):
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise PydanticCustomError("names", "has two {what} for {name}", {"what": what, "name": twice})
        return self

    @property
    def offers(self) -> list[ModelOffer]:
        """What can be had, in the configured order."""
        return [provider.offer for provider in self.providers]

    def provider(self, name: str) -> LlmProvider | None:
        """Return a provider by its name."""
        return next((provider for provider in self.providers if provider.name == name), None)

    def to_text(self) -> str:
        """Return all of it as JSON, keys and all: `of_text` reads it."""
        return self.model_dump_json(by_alias=True, exclude_none=True)

    @classmethod
    def of_text(cls, text: str) -> "LlmProxyConfig":
        """Read what `to_text` wrote."""
        return cls.model_validate_json(text)


#: The secret of a deployment whose operator has configured nothing.
NOTHING = "{}"


class ConfigFault(ValueError):
    """A configuration that cannot be taken. The message names the key and the rule, and no value of a variable."""


def parse(toml_text: str, variables: Mapping[str, str]) -> LlmProxyConfig:
    """Read a configuration of Coral's: its table ``llm-proxy``, with ``${NAME}`` in texts replaced.

    Other tables are Coral's, and left alone. Raises `ConfigFault`.
    """
    if (size := len(toml_text.encode())) > MAX_CONFIG_BYTES:
        raise ConfigFault(f"the file has {size} bytes: at most {MAX_CONFIG_BYTES} are taken")
    try:
        document = bounded_toml.loads(toml_text.removeprefix("\ufeff"), parse_float=_written)
    except ValueError as error:
        raise ConfigFault(f"it is not TOML: {error}") from error
    try:
        return LlmProxyConfig.model_validate(_filled(document.get("llm-proxy", {}), variables))
    except ValidationError as error:
        # Never the input, which may be a key.
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        said = "; ".join(f"{'.'.join(map(str, fault['loc']))} {rule_of(fault)}".strip() for fault in faults[:5])
        raise ConfigFault(f"llm-proxy: {said}") from None


def _written(text: str) -> Decimal:
    """Keep a number of the file as it is written."""
    try:
        return Decimal(text.replace("_", ""))
    except ArithmeticError:
        raise ValueError(f"{text[:40]} is no number") from None


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(each, variables) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, variables) for each in value]
    if not isinstance(value, str):
        return value

    def of(found: re.Match[str]) -> str:
        if found[1] not in variables:
            raise ConfigFault(f"it names the variable {found[1]}, which is not set")
        return variables[found[1]]

    return _VARIABLE.sub(of, value)


class ResolvedProxy(WireModel):
    """Which provider's model an agent got for a proxy that it declares."""

    configuration_name: str
    model_name: str
    format: LlmFormat

    @property
    def model_key(self) -> str:
        """What the model is counted under: ``provider/model``."""
        return f"{self.configuration_name}/{self.model_name}"
