"""What agents claim for their work: booked whole or not at all, once under a key, in US dollars or in Coral."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from chalicelib.domain import rental_claims
from chalicelib.domain.errors import BadRequest, Conflict
from chalicelib.settings import Settings
from chalicelib.store.budgets import Budget, Level
from chalicelib.wire.budgets import MAX_MICRO_USD
from chalicelib.wire.payments import AgentPaymentClaimRequest, AgentRemainingBudget
from tests.budgets import Purse
from tests.mcp_world import NAMESPACE, NEVER_S, SESSION

PRICES = st.decimals("0.000001", 1_000_000, places=6)


def asked(amount: Any, kind: str = "usd") -> Any:
    return AgentPaymentClaimRequest.model_validate({"amount": {"type": kind, "amount": amount}}, strict=True).amount


def claim(
    purse: Purse, amount: float, kind: str = "usd", *, agent: str = "a", key: str | None = None
) -> AgentRemainingBudget:
    return rental_claims.claim(purse.world.services, purse.world.actor(agent), asked(amount, kind), key)


@pytest.fixture
def priced(purse: Purse, monkeypatch: pytest.MonkeyPatch) -> Purse:
    """The session with a limit of 100 and its agent a with one of 60, where a Coral is worth a quarter of a dollar."""
    settings = purse.world.services.settings.model_copy(update={"coral_usd_price": Decimal("0.25")})
    monkeypatch.setattr(purse.world.services, "settings", settings)
    return purse


def test_a_claim_is_booked_to_the_agent_and_its_session_and_what_is_left_is_told(priced: Purse) -> None:
    told = claim(priced, 0.00001)

    assert told.to_wire() == {"remainingBudget": 200, "coralUsdPrice": 0.25}  # 50 micro-USD, as micro-Coral
    assert (priced.of("a"), priced.session) == ((50, 0, 10), (90, 0, 10))


@pytest.mark.parametrize(("kind", "amount"), [("coral", 0.00004), ("micro_coral", 40)])
def test_coral_is_worth_what_the_operator_says(priced: Purse, kind: str, amount: float) -> None:
    claim(priced, amount, kind)

    assert priced.of("a") == (50, 0, 10)


def test_without_a_price_claims_are_in_dollars_and_a_coral_is_told_as_one(purse: Purse) -> None:
    with pytest.raises(BadRequest, match=r"'coral' needs the price of a Coral.*ATOLL_CORAL_USD_PRICE"):
        claim(purse, 1, "coral")

    assert claim(purse, 0.00001).to_wire() == {"remainingBudget": 50, "coralUsdPrice": 1.0}


def test_a_claim_beyond_what_is_left_is_refused_and_nothing_is_booked(purse: Purse) -> None:
    with pytest.raises(BadRequest, match=r"the budget of the agent 'a' is reached: 0\.00006 .* up to 0\.000061"):
        claim(purse, 0.000061)

    assert (purse.of("a"), purse.session) == ((60, 0, 0), (100, 0, 0))
    assert claim(purse, 0.00006).remaining_budget == 0


def test_an_agent_without_a_budget_claims_of_its_sessions(purse: Purse) -> None:
    assert claim(purse, 0.00003, agent="b").remaining_budget == 70

    assert claim(purse, 0, agent="a").remaining_budget == 60


def test_without_any_budget_there_is_nothing_to_claim_of(purse: Purse) -> None:
    purse.world.services.budgets._table.write_all(deletes=[{"sessionId": SESSION, "item": "BUDGET"}])
    with pytest.raises(BadRequest, match="neither the agent 'a' nor its session has a budget"):
        claim(purse, 0.00001)
    purse.world.services.budgets.create(Budget(SESSION, NAMESPACE, NEVER_S, agents={"b": Level.of(5)}))
    with pytest.raises(BadRequest, match="neither the agent 'a' nor its session"):
        claim(purse, 0.00001)


def test_the_same_claim_under_a_key_is_booked_once(purse: Purse) -> None:
    answers = [claim(purse, 0.00001, key="work 1") for _ in range(3)]

    assert answers[0] == answers[1] == answers[2]
    assert purse.of("a") == (50, 0, 10)
    with pytest.raises(Conflict, match="something else was booked"):
        claim(purse, 0.00002, key="work 1")


def test_claims_without_a_key_with_others_and_of_others_are_each_their_own(purse: Purse) -> None:
    claim(purse, 0.00001)
    claim(purse, 0.00001)
    claim(purse, 0.00001, key="work 1")
    claim(purse, 0.00001, key="work 2")
    claim(purse, 0.00001, key="work 1", agent="b")

    assert (purse.of("a"), purse.session) == ((20, 0, 40), (50, 0, 50))


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb"])
def test_a_key_has_its_limits(purse: Purse, key: str) -> None:
    with pytest.raises(BadRequest, match="Idempotency-Key"):
        claim(purse, 0.00001, key=key)


@pytest.mark.parametrize(
    ("kind", "amount"),
    [
        ("usd", -0.01),
        ("usd", float("nan")),
        ("usd", float("inf")),
        ("usd", "1"),
        ("usd", True),
        ("coral", -1.0),
        ("micro_coral", 1.5),
        ("micro_coral", -1),
        ("micro_coral", 2**63),
        ("eur", 1.0),
    ],
)
def test_an_amount_that_is_none_is_refused(kind: str, amount: Any) -> None:
    with pytest.raises(ValidationError, match="amount"):
        asked(amount, kind)


@pytest.mark.parametrize(("kind", "amount"), [("usd", 1_000_000.01), ("usd", 1e300), ("micro_coral", 2**63 - 1)])
def test_an_amount_that_no_budget_can_hold_is_refused(kind: str, amount: float) -> None:
    with pytest.raises(BadRequest, match="at most 1000000 US dollars"):
        rental_claims.micro_usd_of(asked(amount, kind), Decimal(1))


@given(st.floats(0, 1_000_000))
def test_a_claim_is_rounded_up_to_the_next_micro_usd(amount: float) -> None:
    micro_usd = rental_claims.micro_usd_of(asked(amount), None)

    assert 0 <= micro_usd - Fraction(repr(amount)) * 1_000_000 < 1


@given(st.integers(0, MAX_MICRO_USD), PRICES)
def test_what_is_told_to_be_left_can_be_claimed(micro_usd: int, price: Decimal) -> None:
    left = rental_claims._remaining(micro_usd, price)

    assert 0 <= left.remaining_budget < 2**63
    if left.remaining_budget:
        assert rental_claims.micro_usd_of(asked(left.remaining_budget, "micro_coral"), price) <= micro_usd


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "Infinity", "0.0000001", "1000001", "cheap"])
def test_a_price_of_a_coral_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, price: str) -> None:
    monkeypatch.setenv("ATOLL_CORAL_USD_PRICE", price)
    with pytest.raises(ValidationError, match="coral_usd_price"):
        Settings.from_environment()
