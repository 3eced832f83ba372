"""Agent options on the wire: the 25 types, a value of each in a request, and their definitions in a registry agent.

A value is held as its natural Python value: blobs as ``bytes``, ``u64`` as ``int``, ``f32`` rounded to 32 bits. On the
wire a blob is base64 and a ``u64`` text; the arrays of bytes and the integers of Coral's older document are read too,
and so is any number as text.
No error message of this module carries a value: it may be a secret.
"""

import base64
import binascii
import math
import re
import struct
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from .base import WireModel

U64_MAX = 2**64 - 1


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("must be text that UTF-8 can write: it has a lone surrogate") from error
    return text


def _blob_bytes(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("must be base64 with padding") from error
    if isinstance(value, list):
        if not all(type(byte) is int and -128 <= byte <= 127 for byte in value):
            raise ValueError("must be base64, or an array of bytes from -128 to 127")
        return bytes(byte & 0xFF for byte in value)
    return value


def _blob_text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _u64_int(value: Any) -> Any:
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9]{1,20}", value):
            raise ValueError("must be a whole number from 0 to 18446744073709551615, in decimal digits")
        return int(value)
    return value


_INTEGER = re.compile(r"-?[0-9]{1,20}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _integer(value: Any) -> Any:
    """Read an integer that came as text, as Coral's JSON library does; anything else is for the type to judge."""
    return int(value) if isinstance(value, str) and _INTEGER.fullmatch(value) else value


def _number(value: Any) -> Any:
    """Read a number that came as text; one beyond all floats becomes infinite, which no type takes."""
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value[:400]) else value


def _rounded_to_f32(value: float) -> float:
    try:
        rounded: float = struct.unpack(">f", struct.pack(">f", value))[0]
    except OverflowError as error:
        raise ValueError("must be in the range of a 32-bit float") from error
    return rounded


def shortest_f32(number: float) -> str:
    """Write a 32-bit float in as few digits as still read as the same one (9 always do)."""
    wanted = struct.pack(">f", number)
    for digits in range(1, 10):
        candidate = float(f"{number:.{digits}g}")
        try:
            if struct.pack(">f", candidate) == wanted:
                return str(candidate)
        except OverflowError:  # rounded up past the largest
            continue
    return str(number)


Text = Annotated[str, Field(strict=True), AfterValidator(_encodable)]
Flag = Annotated[bool, Field(strict=True)]
Blob = Annotated[
    bytes,
    Field(strict=True),
    BeforeValidator(_blob_bytes),
    PlainSerializer(_blob_text, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "contentEncoding": "base64"},
                {"type": "array", "items": {"type": "integer", "minimum": -128, "maximum": 127}},
            ]
        },
        mode="validation",
    ),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}, mode="serialization"),
]
I8 = Annotated[int, Field(strict=True, ge=-(2**7), le=2**7 - 1), BeforeValidator(_integer)]
I16 = Annotated[int, Field(strict=True, ge=-(2**15), le=2**15 - 1), BeforeValidator(_integer)]
I32 = Annotated[int, Field(strict=True, ge=-(2**31), le=2**31 - 1), BeforeValidator(_integer)]
I64 = Annotated[int, Field(strict=True, ge=-(2**63), le=2**63 - 1), BeforeValidator(_integer)]
U8 = Annotated[int, Field(strict=True, ge=0, le=2**8 - 1), BeforeValidator(_integer)]
U16 = Annotated[int, Field(strict=True, ge=0, le=2**16 - 1), BeforeValidator(_integer)]
U32 = Annotated[int, Field(strict=True, ge=0, le=2**32 - 1), BeforeValidator(_integer)]
U64 = Annotated[
    int,
    Field(strict=True, ge=0, le=U64_MAX),
    BeforeValidator(_u64_int),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": "^[0-9]{1,20}$"},
                {"type": "integer", "minimum": 0, "maximum": U64_MAX},
            ]
        },
        mode="validation",
    ),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,20}$"}, mode="serialization"),
]
#: A bound of a ``u64``, which Coral writes as a number.
U64Bound = Annotated[int, Field(strict=True, ge=0, le=U64_MAX), BeforeValidator(_u64_int)]
F64 = Annotated[float, Field(strict=True, allow_inf_nan=False), BeforeValidator(_number)]
F32 = Annotated[
    float,
    Field(strict=True, allow_inf_nan=False),
    BeforeValidator(_number),
    AfterValidator(_rounded_to_f32),
    PlainSerializer(lambda value: float(shortest_f32(value)), return_type=float, when_used="json"),
]

Type = TypeVar("Type", bound=str)
Content = TypeVar("Content")
Validation = TypeVar("Validation")


class TypedValue(WireModel, Generic[Type, Content]):
    """The value of an option, with its type beside it."""

    type: Type
    value: Content


# The 25 types, one class each, so that each has a name of its own in a schema.
# fmt: off
class StringValue(TypedValue[Literal["string"], Text]): ...
class StringListValue(TypedValue[Literal["list[string]"], list[Text]]): ...
class BlobValue(TypedValue[Literal["blob"], Blob]): ...
class BlobListValue(TypedValue[Literal["list[blob]"], list[Blob]]): ...
class BoolValue(TypedValue[Literal["bool"], Flag]): ...
class I8Value(TypedValue[Literal["i8"], I8]): ...
class I8ListValue(TypedValue[Literal["list[i8]"], list[I8]]): ...
class I16Value(TypedValue[Literal["i16"], I16]): ...
class I16ListValue(TypedValue[Literal["list[i16]"], list[I16]]): ...
class I32Value(TypedValue[Literal["i32"], I32]): ...
class I32ListValue(TypedValue[Literal["list[i32]"], list[I32]]): ...
class I64Value(TypedValue[Literal["i64"], I64]): ...
class I64ListValue(TypedValue[Literal["list[i64]"], list[I64]]): ...
class U8Value(TypedValue[Literal["u8"], U8]): ...
class U8ListValue(TypedValue[Literal["list[u8]"], list[U8]]): ...
class U16Value(TypedValue[Literal["u16"], U16]): ...
class U16ListValue(TypedValue[Literal["list[u16]"], list[U16]]): ...
class U32Value(TypedValue[Literal["u32"], U32]): ...
class U32ListValue(TypedValue[Literal["list[u32]"], list[U32]]): ...
class U64Value(TypedValue[Literal["u64"], U64]): ...
class U64ListValue(TypedValue[Literal["list[u64]"], list[U64]]): ...
class F32Value(TypedValue[Literal["f32"], F32]): ...
class F32ListValue(TypedValue[Literal["list[f32]"], list[F32]]): ...
class F64Value(TypedValue[Literal["f64"], F64]): ...
class F64ListValue(TypedValue[Literal["list[f64]"], list[F64]]): ...

OptionValue = Annotated[
    StringValue | StringListValue | BlobValue | BlobListValue
    | BoolValue | I8Value | I8ListValue | I16Value
    | I16ListValue | I32Value | I32ListValue | I64Value
    | I64ListValue | U8Value | U8ListValue | U16Value
    | U16ListValue | U32Value | U32ListValue | U64Value
    | U64ListValue | F32Value | F32ListValue | F64Value
    | F64ListValue,
    Field(discriminator="type"),
]
# fmt: on


class AgentOptionDisplay(WireModel):
    """How a form shows an option."""

    label: str | None = None
    description: str | None = None
    group: str | None = None
    multiline: bool = False


class NumberValidation(WireModel, Generic[Content]):
    """What a number may be. An empty ``variants`` restricts nothing."""

    min: Content | None = None
    max: Content | None = None
    variants: list[Content] | None = None


class StringAgentOptionValidation(WireModel):
    """What a string may be; lengths in bytes of UTF-8. Coral writes these keys in snake_case."""

    model_config = ConfigDict(alias_generator=None)

    min_length: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    max_length: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    #: Matches the whole value.
    regex: Annotated[str, Field(max_length=1_024)] | None = None
    variants: list[Text] | None = None


_BYTES_OF_UNIT = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_UNIT_IN_ANY_CASE = {unit.lower(): unit for unit in _BYTES_OF_UNIT}

_SIZE = re.compile(r"\s*([0-9]{1,16}(?:\.[0-9]{1,16})?)\s*([A-Za-z]+)\s*")


def _unit(given: Any) -> Any:
    return _UNIT_IN_ANY_CASE.get(given.lower(), given) if isinstance(given, str) else given


class ValidationFileSize(WireModel):
    """A size as Coral Server 1.2 has it: read as text or as a table, its unit in any case, and written as text.

    ``TB`` and ``TiB`` are Atoll's own, and written in units of Coral's.
    """

    size: Annotated[float, Field(ge=0, le=10**15, allow_inf_nan=False)]
    unit: Annotated[
        Literal["B", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"],
        BeforeValidator(_unit),
    ]

    @property
    def byte_count(self) -> int:
        """The size in bytes, rounded down."""
        return math.floor(Decimal(repr(self.size)) * _BYTES_OF_UNIT[self.unit])

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        parts = _SIZE.fullmatch(given)
        if parts is None:
            raise ValueError("must be a number and a unit, such as 1.5 MiB")
        return {"size": float(parts[1]), "unit": parts[2]}

    @model_serializer(when_used="json")
    def _text(self) -> str:
        return str(self)

    def __str__(self) -> str:
        size, unit = Decimal(repr(self.size)), str(self.unit)
        if unit in ("TB", "TiB"):
            size, unit = size * (1000 if unit == "TB" else 1024), unit.replace("T", "G")
        return f"{size.normalize():f} {unit}"


class BlobAgentOptionValidation(WireModel):
    """What a blob may be. Coral writes these keys in snake_case."""

    model_config = ConfigDict(alias_generator=None)

    min_size: ValidationFileSize | None = None
    max_size: ValidationFileSize | None = None


class _Option(WireModel):
    required: bool = False
    display: AgentOptionDisplay | None = None
    transport: Literal["env", "fs"] = "env"
    description: str | None = None


class BoolOption(_Option):
    """The definition of a ``bool``, which has no validation."""

    type: Literal["bool"]
    default: Flag | None = None


class ValidatedOption(_Option, Generic[Type, Content, Validation]):
    """The definition of a blob, a number, or a list of them."""

    type: Type
    default: Content | None = None
    validation: Validation | None = None


class StringLikeOption(_Option, Generic[Type, Content]):
    """The definition of a string or a list of them: they may travel as base64, and may be secret."""

    type: Type
    default: Content | None = None
    validation: StringAgentOptionValidation | None = None
    base64: bool = False
    secret: bool = False


# fmt: off
class I8Validation(NumberValidation[I8]): ...
class I16Validation(NumberValidation[I16]): ...
class I32Validation(NumberValidation[I32]): ...
class I64Validation(NumberValidation[I64]): ...
class U8Validation(NumberValidation[U8]): ...
class U16Validation(NumberValidation[U16]): ...
class U32Validation(NumberValidation[U32]): ...
class U64Validation(NumberValidation[U64Bound]): ...
class F32Validation(NumberValidation[F32]): ...
class F64Validation(NumberValidation[F64]): ...
class StringOption(StringLikeOption[Literal["string"], Text]): ...
class StringListOption(StringLikeOption[Literal["list[string]"], list[Text]]): ...
class BlobOption(ValidatedOption[Literal["blob"], Blob, BlobAgentOptionValidation]): ...
class BlobListOption(ValidatedOption[Literal["list[blob]"], list[Blob], BlobAgentOptionValidation]): ...
class I8Option(ValidatedOption[Literal["i8"], I8, I8Validation]): ...
class I8ListOption(ValidatedOption[Literal["list[i8]"], list[I8], I8Validation]): ...
class I16Option(ValidatedOption[Literal["i16"], I16, I16Validation]): ...
class I16ListOption(ValidatedOption[Literal["list[i16]"], list[I16], I16Validation]): ...
class I32Option(ValidatedOption[Literal["i32"], I32, I32Validation]): ...
class I32ListOption(ValidatedOption[Literal["list[i32]"], list[I32], I32Validation]): ...
class I64Option(ValidatedOption[Literal["i64"], I64, I64Validation]): ...
class I64ListOption(ValidatedOption[Literal["list[i64]"], list[I64], I64Validation]): ...
class U8Option(ValidatedOption[Literal["u8"], U8, U8Validation]): ...
class U8ListOption(ValidatedOption[Literal["list[u8]"], list[U8], U8Validation]): ...
class U16Option(ValidatedOption[Literal["u16"], U16, U16Validation]): ...
class U16ListOption(ValidatedOption[Literal["list[u16]"], list[U16], U16Validation]): ...
class U32Option(ValidatedOption[Literal["u32"], U32, U32Validation]): ...
class U32ListOption(ValidatedOption[Literal["list[u32]"], list[U32], U32Validation]): ...
class U64Option(ValidatedOption[Literal["u64"], U64, U64Validation]): ...
class U64ListOption(ValidatedOption[Literal["list[u64]"], list[U64], U64Validation]): ...
class F32Option(ValidatedOption[Literal["f32"], F32, F32Validation]): ...
class F32ListOption(ValidatedOption[Literal["list[f32]"], list[F32], F32Validation]): ...
class F64Option(ValidatedOption[Literal["f64"], F64, F64Validation]): ...
class F64ListOption(ValidatedOption[Literal["list[f64]"], list[F64], F64Validation]): ...

AgentOption = Annotated[
    StringOption | StringListOption | BlobOption | BlobListOption
    | BoolOption | I8Option | I8ListOption | I16Option
    | I16ListOption | I32Option | I32ListOption | I64Option
    | I64ListOption | U8Option | U8ListOption | U16Option
    | U16ListOption | U32Option | U32ListOption | U64Option
    | U64ListOption | F32Option | F32ListOption | F64Option
    | F64ListOption,
    Field(discriminator="type"),
]
# fmt: on
