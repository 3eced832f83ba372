"""What agents claim for their own work: booked to their budgets, whole or not at all.

A claim in Coral is worth what the operator says (`Settings.coral_usd_price`), rounded up to the next micro-USD. What is
left is told in Coral too, rounded down, so that what is told can be claimed. Without a price one Coral is told as one
US dollar: what is left, times the price that is told, is always what is left in US dollars.
"""

import hashlib
import math
import secrets
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from chalicelib.domain import budgets, idempotency
from chalicelib.domain.errors import BadRequest, BudgetReached
from chalicelib.wire.budgets import MAX_MICRO_USD, usd_of
from chalicelib.wire.payments import AgentClaimAmount, AgentRemainingBudget, CoralAmount, UsdAmount

if TYPE_CHECKING:
    from chalicelib.domain.actors import Actor
    from chalicelib.stores import Stores

_MICRO = 1_000_000


def claim(stores: "Stores", actor: "Actor", amount: AgentClaimAmount, key: str | None) -> AgentRemainingBudget:
    """Book an agent's claim on its budget and on its session's; under a ``key`` once, as long as its session is there.

    Raises `BadRequest` beyond what is left (nothing is booked then, and it is as for any call beyond a budget), without
    a budget, for an amount that cannot be booked, and for Coral without a price; `Conflict` for a key under which
    another amount was claimed.
    """
    price = stores.settings.coral_usd_price
    micro_usd = micro_usd_of(amount, price)
    try:
        after = budgets.spend(stores, actor, spending_id=_id_of(actor.name, key), micro_usd=micro_usd)
    except BudgetReached as error:
        raise BadRequest(str(error)) from None
    left = budgets.left_for(after, actor.name)
    if left is None:
        raise BadRequest(f"neither the agent {actor.name!r} nor its session has a budget that it could claim of")
    return _remaining(left, price)


def micro_usd_of(amount: AgentClaimAmount, coral_usd_price: Decimal | None) -> int:
    """Return what an amount is worth, rounded up to the next millionth of a US dollar.

    Raises `BadRequest` for Coral without a price, and for more than a budget can hold.
    """
    exact = Fraction(repr(amount.amount))  # the shortest text that is this number: what the agent wrote
    if not isinstance(amount, UsdAmount):
        if coral_usd_price is None:
            raise BadRequest(
                f"amount: {amount.type!r} needs the price of a Coral, which this deployment does not have "
                "(ATOLL_CORAL_USD_PRICE): claim in 'usd'"
            )
        exact *= Fraction(coral_usd_price) / (1 if isinstance(amount, CoralAmount) else _MICRO)
    if exact * _MICRO > MAX_MICRO_USD:
        raise BadRequest(f"amount: at most {usd_of(MAX_MICRO_USD)} US dollars can be claimed at once")
    return math.ceil(exact * _MICRO)


def _remaining(micro_usd: int, coral_usd_price: Decimal | None) -> AgentRemainingBudget:
    price = coral_usd_price or Decimal(1)
    micro_coral = math.floor(micro_usd / Fraction(price))
    return AgentRemainingBudget(remaining_budget=micro_coral, coral_usd_price=float(price))


def _id_of(agent: str, key: str | None) -> str:
    """Return under which id a claim is booked: of two agents' keys each is its own."""
    if key is None:
        return f"claim-{secrets.token_hex(16)}"
    idempotency.check_key(key)
    return "claim-" + hashlib.sha256(f"{agent}\0{key}".encode("utf-8", "surrogatepass")).hexdigest()
