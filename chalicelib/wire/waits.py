"""A wait between two requests, as the client carries it."""

from typing import Annotated

from pydantic import Field

from .base import WireModel
from .events import FromFilter, MentionsFilter


class PausedWait(WireModel):
    """All that is needed to go on with a wait; times in epoch ms."""

    #: A word in expressions of the store.
    id: Annotated[str, Field(pattern="^w[0-9a-f]{32}$")]
    filters: Annotated[list[Annotated[FromFilter | MentionsFilter, Field(discriminator="type")]], Field(max_length=1)]
    started_ms: int
    deadline_ms: int
    #: From when on to ask next if nothing comes; an id that was given before there was this field goes on without.
    next_ms: Annotated[int, Field(ge=0, default_factory=lambda given: given["started_ms"])]
    #: The position of the session's log that it reads next.
    position: Annotated[int, Field(ge=1, lt=10**12)]
