"""A wait between two requests, as the client carries it."""

from typing import Annotated

from pydantic import Field

from chalicelib.wire.base import WireModel
from chalicelib.wire.events import FromFilter, MentionsFilter
from chalicelib.wire.threads import MAX_ID_BYTES

_Id = Annotated[str, Field(max_length=MAX_ID_BYTES)]
_Ids = Annotated[list[_Id], Field(max_length=1_000)]


class HeardOfLog(WireModel):
    """What a wait has seen of its session's log (`domain.waits.Heard`)."""

    from_ms: int
    until_ms: int
    ids: _Ids
    given_ms: int


class PausedWait(WireModel):
    """All that is needed to go on with a wait; times in epoch ms."""

    #: A word in expressions of the store.
    id: Annotated[str, Field(pattern="^w[0-9a-f]{32}$")]
    filters: Annotated[list[Annotated[FromFilter | MentionsFilter, Field(discriminator="type")]], Field(max_length=1)]
    started_ms: int
    deadline_ms: int
    heard: HeardOfLog
