"""Budgets on the wire (no part of Coral's own API): limits in US dollars, balances in millionths of one."""

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
)

from .base import Timestamp, WireModel
from .limits import at_most_entries

#: The largest limit, and largest amount at once: in millionths of a US dollar, a million dollars.
MAX_MICRO_USD = 1_000_000 * 1_000_000
#: Agents of a session whose limits one request changes: more make no expression that DynamoDB takes (4 KB).
MAX_CHANGED_AGENTS = 20

#: What follows from a call that is refused: nothing else, its agent is stopped, or its session is closed.
OnReached = Literal["refuse", "stop_agent", "close_session"]
NoticeKind = Literal["budget_low", "budget_reached"]

_USD = re.compile(r"[0-9]{1,7}(\.[0-9]{1,6})?", re.ASCII)
_RULE = 'a budget is 0 to 1000000 US dollars with at most 6 decimal places, as a number or as text like "0.50"'


def micro_usd_of(value: Any) -> int:
    """Read an amount in US dollars, decimal text or a number, as millionths of one; exact, nothing is rounded.

    Raises ``ValueError`` for anything else: a sign, an exponent in a text, more than 6 places, more than the largest.
    """
    # The shortest text that is this float: what a client wrote, unless it wrote more digits than a float has.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    text = format(Decimal(repr(value)), "f") if number else value
    if not isinstance(text, str) or not _USD.fullmatch(text):
        raise ValueError(f"{str(value)[:40]!r}: {_RULE}")
    micro_usd = int(Decimal(text).scaleb(6))
    if micro_usd > MAX_MICRO_USD:
        raise ValueError(f"{text!r}: {_RULE}")
    return micro_usd


def usd_of(micro_usd: int) -> str:
    """Write millionths of a US dollar as dollars: ``0.5`` for 500,000."""
    text = format(Decimal(micro_usd).scaleb(-6), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


#: US dollars on the wire, held in millionths.
Usd = Annotated[
    int,
    BeforeValidator(micro_usd_of),
    PlainSerializer(usd_of, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^[0-9]{1,7}(\.[0-9]{1,6})?$"},
                {"type": "number", "minimum": 0, "maximum": 1_000_000},
            ],
            "description": "US dollars, at most 1000000, with at most 6 decimal places.",
        }
    ),
]


class BudgetRequest(WireModel):
    """A limit of what an agent, or a session, may spend, and what follows from a call beyond it."""

    limit_micro_usd: Usd = Field(alias="usd")
    on_reached: OnReached = "refuse"


class NewLimit(WireModel):
    """Another limit; what follows from a call beyond it stays as it is unless it is given."""

    limit_micro_usd: Usd = Field(alias="usd")
    on_reached: OnReached | None = None


class NewLimits(WireModel):
    """Other limits of a session and of its agents."""

    session: NewLimit | None = None
    agents: Annotated[dict[str, NewLimit], at_most_entries(MAX_CHANGED_AGENTS)] = Field(default_factory=dict)


class Balance(WireModel):
    """A limit and what has become of it, in millionths of a US dollar: ``spent + held + available`` is the limit."""

    limit: int
    spent: int
    #: For calls under way.
    held: int
    #: Below 0 when a call has cost more than was held for it.
    available: int


class ModelUsage(WireModel):
    """What was booked for the calls of one model; ``spent`` in millionths of a US dollar."""

    calls: int
    input_tokens: int
    output_tokens: int
    spent: int


class Budgets(WireModel):
    """The budgets of a session: its own, those of its agents, and what was booked by ``<provider>/<model>``."""

    #: ``null`` without a limit of its own: written, unlike in other answers, as the one place to look for it.
    session: Balance | None = None
    agents: dict[str, Balance]
    models: dict[str, ModelUsage]

    @model_serializer(mode="wrap")
    def _with_null(self, handler: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        return {"session": None, **handler(self)}


class BudgetNotice(WireModel):
    """What the bus and the webhook tell of a budget; amounts in millionths of a US dollar, as they were then."""

    type: NoticeKind
    timestamp: Timestamp
    namespace: str
    session_id: str
    #: Whose limit it is.
    level: Literal["session", "agent"]
    #: The agent whose call was booked or refused; there for limits that a user has changed only when it is its own.
    agent_name: str | None = None
    on_reached: OnReached
    limit: int
    spent: int
    held: int
    available: int
