"""Calls under a budget: each reserves what it can cost, and is booked once, by what it has cost."""

from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.domain import budget_limits, budgets
from chalicelib.domain.errors import BadRequest, BudgetReached, Conflict, NotFound, TooManyRequests
from chalicelib.store import budgets as store
from chalicelib.wire.budgets import NewLimit, NewLimits
from tests.budgets import MODEL, Purse
from tests.mcp_world import NAMESPACE, SESSION


def test_a_call_is_held_on_both_levels_and_settled_by_what_it_cost(purse: Purse) -> None:
    made = purse.reserve("a", 40)
    assert (purse.session, purse.of("a")) == ((60, 40, 0), (20, 40, 0))
    assert purse.settle(made, 25)
    assert (purse.session, purse.of("a")) == ((75, 0, 25), (35, 0, 25))
    assert purse.budget.models == {MODEL: store.ModelTotals(1, 10, 5, 25)}


def test_an_agent_without_a_limit_takes_from_the_session_alone(purse: Purse) -> None:
    purse.settle(purse.reserve("b", 100), 90)
    assert (purse.session, purse.of("a")) == ((10, 0, 90), (60, 0, 0))


def test_a_reserve_and_a_settle_are_a_call_each(purse: Purse) -> None:
    actor, budget = purse.world.actor("a"), purse.budget
    with purse.world.counting() as calls:
        made = budgets.reserve(purse.world.services, actor, budget, hold_id="h", upper_micro_usd=10, model=MODEL)
        purse.settle(made, 5)
    assert calls == ["UpdateItem", "UpdateItem"]


def test_a_call_without_any_limit_writes_nothing(purse: Purse) -> None:
    purse.world.clear()
    purse.world.session("a")
    actor = purse.world.actor("a")
    with purse.world.counting() as calls:
        made = budgets.reserve(purse.world.services, actor, None, hold_id="h", upper_micro_usd=10, model=MODEL)
        assert not purse.settle(made, 5)
        assert not budgets.release(purse.world.services, made)
    assert calls == []


def test_a_hold_is_settled_once(purse: Purse) -> None:
    made = purse.reserve("a", 40)
    assert purse.settle(made, 25)
    assert not purse.settle(made, 25)
    assert not budgets.release(purse.world.services, made)
    assert purse.session == (75, 0, 25)


def test_a_call_that_was_not_made_costs_nothing(purse: Purse) -> None:
    assert budgets.release(purse.world.services, purse.reserve("a", 40))
    assert (purse.session, purse.of("a")) == ((100, 0, 0), (60, 0, 0))
    assert purse.budget.models[MODEL].calls == 0
    assert budgets.view(purse.budget).models == {}


def test_a_call_that_is_reserved_twice_is_held_once(purse: Purse) -> None:
    assert purse.reserve("a", 40, "h") == purse.reserve("a", 40, "h")
    assert purse.session == (60, 40, 0)


def test_a_call_that_is_reserved_again_after_a_lost_answer_is_held_once(purse: Purse) -> None:
    before = purse.budget
    made = purse.reserve("a", 20, "h")
    again = budgets.reserve(
        purse.world.services, purse.world.actor("a"), before, hold_id="h", upper_micro_usd=20, model=MODEL
    )
    assert again == made
    assert purse.session == (80, 20, 0)


def test_the_limit_of_an_agent_refuses_a_call(purse: Purse) -> None:
    with pytest.raises(BudgetReached) as refused:
        purse.reserve("a", 61)
    error = refused.value
    assert (error.level, error.available_micro_usd, error.needed_micro_usd) == ("agent", 60, 61)
    assert error.for_good
    assert str(error) == (
        "the budget of the agent 'a' is reached: 0.00006 of 0.00006 US dollars are left; this takes up to 0.000061"
    )
    assert purse.session == (100, 0, 0)


def test_the_limit_of_the_session_refuses_a_call(purse: Purse) -> None:
    purse.settle(purse.reserve("b", 80), 80)
    with pytest.raises(BudgetReached) as refused:
        purse.reserve("a", 30)
    assert (refused.value.level, refused.value.available_micro_usd) == ("session", 20)


def test_a_reserve_does_not_believe_what_was_read_before(purse: Purse) -> None:
    before = purse.budget
    purse.settle(purse.reserve("b", 80), 80)
    with pytest.raises(BudgetReached):
        budgets.reserve(
            purse.world.services, purse.world.actor("a"), before, hold_id="h", upper_micro_usd=30, model=MODEL
        )
    assert purse.session == (20, 0, 80)


def test_a_call_that_fits_once_others_have_ended_does_not_reach_the_budget(purse: Purse) -> None:
    other = purse.reserve("b", 90)
    with pytest.raises(BudgetReached, match=r"0\.00009 are held for calls under way") as refused:
        purse.reserve("a", 50)
    assert not refused.value.for_good
    assert purse.told == set()
    purse.settle(other, 5)
    purse.reserve("a", 50)


def test_a_limit_of_0_refuses_what_costs_and_nothing_else(purse: Purse) -> None:
    purse.world.services.budgets.change(SESSION, [store.LimitChange("a", purse.budget.agents["a"], 0, "refuse")])
    with pytest.raises(BudgetReached):
        purse.reserve("a", 1)
    assert purse.settle(purse.reserve("a", 0), 0)


def test_a_call_that_cost_more_than_was_held_is_booked_as_it_was_and_the_next_one_sees_it(purse: Purse) -> None:
    purse.settle(purse.reserve("a", 50), 70)
    assert (purse.session, purse.of("a")) == ((30, 0, 70), (-10, 0, 70))
    with pytest.raises(BudgetReached):
        purse.reserve("a", 1)
    assert purse.settle(purse.reserve("a", 0), 0), "what costs nothing is not refused"
    assert budgets.left_for(purse.budget, "a") == 0


def test_so_many_calls_are_under_way_at_most(purse: Purse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_HOLDS", 2)
    before = purse.budget
    purse.reserve("a", 1)
    last = purse.reserve("b", 1)
    made, _ = purse.world.services.budgets.reserve(SESSION, store.Hold("h", "b", MODEL, 1, 0, ("session",)))
    assert not made, "the write has the bound, whatever was read"
    monkeypatch.setattr(budgets, "MOST_HOLDS", 2)
    with pytest.raises(TooManyRequests, match="2 calls of models are under way"):
        purse.reserve("a", 1)
    purse.settle(last, 1)
    made_again = budgets.reserve(
        purse.world.services, purse.world.actor("a"), before, hold_id="h", upper_micro_usd=1, model=MODEL
    )
    assert made_again.hold is not None


def test_models_beyond_so_many_are_counted_together(purse: Purse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "MOST_MODELS", 1)
    for model in ("p/one", "p/two", "p/three", "p/one"):
        purse.settle(purse.reserve("b", 5, model=model), 5)
    found = {name: totals.calls for name, totals in purse.budget.models.items()}
    assert found == {"p/one": 2, store.OTHER_MODELS: 2}


@pytest.mark.parametrize("agent", ["a.b", "a b", "#a", "ä🐚", "available", "a'b"])
def test_any_name_of_an_agent_and_of_a_model_has_its_budget(purse: Purse, agent: str) -> None:
    purse.world.clear()
    purse.world.session(agent)
    made = store.Budget(SESSION, "ns", 1 << 40, agents={agent: store.Level.of(10)})
    purse.world.services.budgets.create(made)
    purse.settle(purse.reserve(agent, 10, model=f"x/{agent}.1"), 4)
    assert purse.of(agent) == (6, 0, 4)
    assert purse.budget.models[f"x/{agent}.1"].spent == 4


def test_a_limit_that_comes_during_a_call_does_not_book_it(purse: Purse) -> None:
    made = purse.reserve("b", 10)
    purse.world.services.budgets.change(SESSION, [store.LimitChange("b", None, 50, "refuse")])
    assert purse.settle(purse.reserve("b", 5), 5)
    assert purse.settle(made, 10)
    assert (purse.session, purse.of("b")) == ((85, 0, 15), (45, 0, 5))


def test_a_limit_that_came_since_the_budget_was_read_holds(purse: Purse) -> None:
    before = purse.budget
    purse.world.services.budgets.change(SESSION, [store.LimitChange("b", None, 5, "refuse")])
    with pytest.raises(BudgetReached):
        budgets.reserve(
            purse.world.services, purse.world.actor("b"), before, hold_id="h", upper_micro_usd=10, model=MODEL
        )


def test_an_amount_is_booked_at_once_and_once_under_an_id(purse: Purse) -> None:
    for _ in range(2):
        after = purse.spend("a", 20, "claim-1")
        assert after is not None
        assert budgets.left_for(after, "a") == 40
    assert (purse.session, purse.of("a")) == ((80, 0, 20), (40, 0, 20))
    with pytest.raises(Conflict):
        purse.spend("a", 21, "claim-1")
    with pytest.raises(Conflict):
        purse.spend("b", 20, "claim-1")
    assert purse.session == (80, 0, 20)


def test_an_amount_beyond_the_budget_is_refused_whole(purse: Purse) -> None:
    with pytest.raises(BudgetReached):
        purse.spend("a", 61, "claim-1")
    assert purse.session == (100, 0, 0)
    assert purse.spend("a", 60, "claim-1"), "a refused id is free"


def meanwhile(purse: Purse, operation: str, what: Callable[[], Any]) -> None:
    """Have something happen between what a call has read and its first write."""

    def at(name: str, _: Any) -> None:
        if name == operation:
            purse.world.before_call = lambda name, params: None
            what()

    purse.world.before_call = at


def test_an_amount_that_two_book_at_once_under_an_id_is_booked_once(purse: Purse) -> None:
    meanwhile(purse, "TransactWriteItems", lambda: purse.spend("a", 20, "claim-1"))
    after = purse.spend("a", 20, "claim-1")
    assert after is not None
    assert (purse.session, purse.of("a")) == ((80, 0, 20), (40, 0, 20))


def test_an_amount_that_others_have_spent_meanwhile_is_refused(purse: Purse) -> None:
    meanwhile(purse, "TransactWriteItems", lambda: purse.spend("a", 50, "claim-1"))
    with pytest.raises(BudgetReached):
        purse.spend("a", 20, "claim-2")
    assert purse.of("a") == (10, 0, 50)


def test_an_amount_of_an_agent_without_limits_is_not_booked(purse: Purse) -> None:
    purse.world.clear()
    purse.world.session("a")
    assert purse.spend("a", 10, "claim-1") is None


def test_a_hold_that_nobody_settles_is_booked_whole_and_a_late_settle_changes_nothing(purse: Purse) -> None:
    forgotten = purse.reserve("a", 40)
    purse.clock.pass_ms(budgets.HOLD_MS)
    recent = purse.reserve("b", 10)
    assert budgets.book_overdue(purse.world.services, purse.world.actor("a").session) == 0
    purse.clock.pass_ms(1)
    assert budgets.book_overdue(purse.world.services, purse.world.actor("a").session) == 1
    assert (purse.session, purse.of("a")) == ((50, 10, 40), (20, 0, 40))
    assert not purse.settle(forgotten, 1)
    assert purse.settle(recent, 10)
    assert purse.budget.models[MODEL].calls == 2


def test_when_a_session_goes_what_is_held_is_booked_and_nothing_is_reserved_any_more(purse: Purse) -> None:
    before = purse.budget
    held = purse.reserve("a", 40)
    for _ in range(2):
        end = budgets.conclude(purse.world.services, purse.world.actor("a").session)
        assert end is not None
        assert end.holds == {}
        assert purse.session == (60, 0, 40)
    for known in (before, end):
        with pytest.raises(NotFound):
            budgets.reserve(
                purse.world.services, purse.world.actor("b"), known, hold_id="h", upper_micro_usd=1, model=MODEL
            )
    with pytest.raises(NotFound):
        purse.spend("b", 1, "claim-1")
    assert not purse.settle(held, 1)
    assert purse.session == (60, 0, 40)


def test_a_budget_that_is_gone_is_not_made_anew(purse: Purse) -> None:
    before, held, actor = purse.budget, purse.reserve("a", 40), purse.world.actor("a")
    purse.world.services.session_items.purge(SESSION, at_most=100)
    assert not purse.settle(held, 1)
    with pytest.raises(NotFound):
        budgets.reserve(purse.world.services, actor, before, hold_id="h", upper_micro_usd=1, model=MODEL)
    assert budgets.find(purse.world.services, SESSION) is None


def test_a_limit_is_low_once(purse: Purse) -> None:
    purse.settle(purse.reserve("a", 50), 47)
    assert purse.told == set()
    purse.settle(purse.reserve("a", 1), 1)
    assert purse.told == {"budget_low#60#agent#a"}
    with purse.world.counting() as calls:
        purse.settle(purse.reserve("a", 1), 1)
    assert "PutItem" not in calls
    purse.spend("b", 31, "claim-1")
    assert purse.told == {"budget_low#60#agent#a", "budget_low#100#session"}


def test_a_settle_whose_answer_was_lost_tells_all_the_same(purse: Purse) -> None:
    purse.settle(purse.reserve("a", 50), 47)
    made = purse.reserve("a", 1)
    assert made.hold is not None
    purse.world.services.budgets.settle(SESSION, made.hold, store.ModelTotals(1, 10, 5, 1))
    purse.settle(purse.reserve("a", 5), 5)  # takes for granted that it was told that the limit is low
    assert not purse.settle(made, 1)
    assert purse.told == {"budget_low#60#agent#a"}


def test_a_refusal_for_good_is_written_down_for_each_limit_that_is_reached(purse: Purse) -> None:
    for _ in range(2):
        with pytest.raises(BudgetReached):
            purse.reserve("a", 101)
    assert purse.told == {"budget_reached#60#agent#a", "budget_reached#100#session"}


def test_a_notice_says_what_was_when_it_was_first_written(purse: Purse) -> None:
    client, began_ms = purse.world.services.dynamodb, purse.clock.now_ms()
    for _ in range(2):
        with pytest.raises(BudgetReached):
            purse.reserve("a", 61)
        purse.clock.pass_ms(1)
    found = client.scan(TableName=purse.world.services.settings.table("session-items"))["Items"]
    [notice] = [item for item in found if item["item"]["S"].startswith("BUDGET#")]
    assert notice["atMs"] == {"N": str(began_ms)}


def test_a_session_that_stops_agents_is_reached_by_each(purse: Purse) -> None:
    purse.world.services.budgets.change(SESSION, [store.LimitChange(None, purse.budget.session, 100, "stop_agent")])
    for agent in ("a", "b"):
        with pytest.raises(BudgetReached):
            purse.reserve(agent, 101)
    assert purse.told == {
        "budget_reached#60#agent#a", "budget_reached#100#session#a", "budget_reached#100#session#b"
    }  # fmt: skip


@pytest.mark.parametrize("amount", [-1, 10**12 + 1])
def test_no_amount_is_beyond_the_bounds(purse: Purse, amount: int) -> None:
    with pytest.raises(ValueError, match="an amount is 0 to"):
        purse.reserve("a", amount)
    with pytest.raises(ValueError, match="an amount is 0 to"):
        purse.spend("a", amount, "claim-1")


def test_a_usage_that_no_provider_means_is_booked_and_not_left_to_be_held(purse: Purse) -> None:
    made = purse.reserve("a", 10)
    with pytest.raises(ValueError, match="not below 0"):
        purse.settle(made, -1)
    endless = 10**60  # more digits than DynamoDB takes
    assert budgets.settle(
        purse.world.services, made, spent_micro_usd=endless, input_tokens=endless, output_tokens=endless
    )
    assert purse.of("a") == (60 - 10**12, 0, 10**12)
    assert purse.budget.models[MODEL].input_tokens == 10**12


def test_a_limit_is_not_lowered_below_what_is_held_meanwhile(purse: Purse) -> None:
    meanwhile(purse, "UpdateItem", lambda: purse.reserve("b", 80))
    with pytest.raises(BadRequest, match=r"cannot be 0\.00005: 0 US dollars are spent and 0\.00008 held"):
        budget_limits.change(
            purse.world.services, NAMESPACE, SESSION, NewLimits(session=NewLimit(limit_micro_usd="0.00005"))
        )
    assert purse.session == (20, 80, 0)
