"""Which of an agent's budgets pays for a call that answers 402 (x402, version 1, "PaymentRequirements")."""

import json
from collections.abc import Iterable
from typing import Any

from chalicelib.store.agents import AgentRecord
from chalicelib.wire import strict_json
from chalicelib.wire.graph import X402BudgetedResource

#: The most requirements that are looked at.
MOST_REQUIREMENTS = 64
#: Decimal digits of the largest amount that is understood: 256 bits have no more.
LONGEST_AMOUNT_DIGITS = 78


def budgets_of(agent: AgentRecord) -> list[X402BudgetedResource]:
    """Return an agent's budgets in the order in which they pay: by rising priority, then as they were given."""
    given = json.loads(agent.x402_budgets) if agent.x402_budgets else []
    return sorted(map(X402BudgetedResource.model_validate, given), key=lambda budget: budget.priority)


def paying(agent: AgentRecord, answer: bytes) -> X402BudgetedResource | None:
    """Return the first budget of an agent from which the answer of a 402 asks no more than there is; ``None`` without.

    It is for the same resource as one of the ways to pay that the answer accepts; what cannot be read accepts none.
    """
    accepted = list(_accepted(answer))
    for budget in budgets_of(agent):
        for resource, amount in accepted:
            if resource == budget.resource and amount <= budget.remaining_budget:
                return budget
    return None


def _accepted(answer: bytes) -> Iterable[tuple[str, int]]:
    """Yield resource and amount of each way to pay."""
    try:
        found: Any = strict_json.loads(answer)
    except ValueError:
        return
    ways = found.get("accepts") if isinstance(found, dict) else None
    for way in ways[:MOST_REQUIREMENTS] if isinstance(ways, list) else ():
        about = way if isinstance(way, dict) else {}
        resource, amount = about.get("resource"), about.get("maxAmountRequired")
        if isinstance(resource, str) and isinstance(amount, str) and _is_amount(amount):
            yield resource, int(amount)


def _is_amount(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= LONGEST_AMOUNT_DIGITS
