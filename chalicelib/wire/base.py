"""The base of every wire model: Coral's JSON rules.

Unknown keys of a request are ignored, a null is left out of an answer, a default is written out, and times are
ISO 8601 in UTC with milliseconds (the Coral contract, "JSON").
"""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel


def iso_from_ms(time_ms: int) -> str:
    """Write a time in epoch milliseconds as Coral does: ``2026-11-22T16:39:47.715Z``."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def ms_from_iso(text: str) -> int:
    """Read a time that `iso_from_ms` wrote; raise ``ValueError`` for anything else."""
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000


#: A time, held in epoch milliseconds and written as ISO 8601; both are read.
Timestamp = Annotated[
    int,
    BeforeValidator(lambda value: ms_from_iso(value) if isinstance(value, str) else value),
    PlainSerializer(iso_from_ms, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]


class WireModel(BaseModel):
    """A model whose fields are snake_case in Python and camelCase on the wire.

    It is built when it is first used: most processes use few of the models, and each would cost them its cold start.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", defer_build=True)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object a client sees."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class RouteException(WireModel):
    """The body of every error."""

    message: str
