"""Payments on the wire: what an agent claims for its work, and calls that are paid by x402."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from .base import WireModel
from .urls import CallableUrl

#: The methods that such a call may have, and those that carry no body.
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
METHODS: tuple[Method, ...] = get_args(Method)
WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})


class UsdAmount(WireModel):
    """An amount in US dollars."""

    type: Literal["usd"]
    amount: float = Field(ge=0, allow_inf_nan=False)


class CoralAmount(WireModel):
    """An amount in Coral."""

    type: Literal["coral"]
    amount: float = Field(ge=0, allow_inf_nan=False)


class MicroCoralAmount(WireModel):
    """An amount in millionths of a Coral."""

    type: Literal["micro_coral"]
    amount: int = Field(ge=0, lt=2**63)


AgentClaimAmount = Annotated[UsdAmount | CoralAmount | MicroCoralAmount, Field(discriminator="type")]


class AgentPaymentClaimRequest(WireModel):
    """What an agent claims for its work."""

    amount: AgentClaimAmount


class AgentRemainingBudget(WireModel):
    """What an agent may still spend: in millionths of a Coral, and what one Coral is worth in US dollars."""

    remaining_budget: int
    coral_usd_price: float


class X402ProxyRequest(WireModel):
    """A call of a resource that may ask to be paid."""

    endpoint: CallableUrl
    method: Annotated[Method, BeforeValidator(lambda name: name.upper() if isinstance(name, str) else name)]
    body: dict[str, Any]


class X402ProxiedResponse(WireModel):
    """What that resource answered."""

    code: int
    body: str
