"""The verdict of the demo's second scene: a budget that was spent to its end, or the check that failed by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.local.demo import spending
from infra.local.demo.receiver import Delivery
from infra.local.demo.spending import CALL_MICRO_USD, CALLS, Spending
from tests.unit.local.test_demo import SECRET, delivery

LIMIT = 100_000
EXACT = "booked as they were used, to the micro-dollar"
Json = dict[str, Any]


def budgets(calls: int, held: int = 0) -> Json:
    spent = calls * CALL_MICRO_USD
    level = {"limit": LIMIT, "spent": spent, "held": held, "available": LIMIT - spent - held}
    used = {"calls": calls, "inputTokens": 1_000 * calls, "outputTokens": 100 * calls, "spent": spent}
    models = {f"{spending.PROVIDER}/{spending.MODEL}": used} if calls else {}
    return {"agents": {spending.AGENT: level}, "models": models}


def agent(status: str, **more: Any) -> Json:
    return {"name": spending.AGENT, "status": {"type": status, **more}}


def news() -> list[Delivery]:
    return [delivery({"type": kind}) for kind in ("budget_low", "budget_reached")]


def good() -> Spending:
    """A budget that was spent as it should be."""
    seen = Spending(SECRET)
    for calls in range(CALLS + 1):
        list(seen.take((budgets(calls, held=500), agent("running")), [], calls * 0.2))
    list(seen.take((budgets(CALLS), agent("stopped", reason="its budget is reached")), news(), 2.0))
    return seen


def test_a_budget_that_was_spent_as_it_should_be_passes_every_check() -> None:
    seen = good()
    list(seen.take(None, seen.deliveries, 5.0))
    assert seen.over
    assert [check.name for check in seen.checks() if not check.passed] == []


@pytest.mark.parametrize(
    ("spoil", "failed"),
    [
        (lambda seen: setattr(seen, "calls", CALLS - 1), "6 calls of the model were within the budget"),
        (
            lambda seen: seen.budget.update(spent=89_999, available=10_001),
            "booked as they were used, to the micro-dollar",
        ),
        (lambda seen: seen.budget.update(held=1, available=9_999), "booked as they were used, to the micro-dollar"),
        (lambda seen: setattr(seen, "reason", None), "the agent was stopped at its budget's end"),
        (lambda seen: seen.deliveries.pop(), "the webhook was told, signed"),
        (lambda seen: seen.deliveries.append(seen.deliveries[0]), "the webhook was told, signed"),
        (
            lambda seen: seen.deliveries.__setitem__(0, delivery({"type": "budget_low"}, "another secret")),
            "the webhook was told, signed",
        ),
    ],
)
def test_what_did_not_happen_fails_the_check_of_its_name(spoil: Callable[[Spending], object], failed: str) -> None:
    seen = good()
    spoil(seen)
    assert [check.name for check in seen.checks() if not check.passed] == [failed]


def test_each_change_is_told_once() -> None:
    seen = Spending(SECRET)
    told = [event.text for _ in range(2) for event in seen.take((budgets(1), agent("running")), news()[:1], 0.5)]
    assert told == [
        "$0.015000 spent by 1 calls; $0.085000 of $0.100000 left",
        "running",
        "budget_low; its signatures hold",
    ]


def test_the_scene_is_six_calls_long() -> None:
    """The seventh may cost more than the sixth has left: the thinker asks for 100 tokens in some 120 bytes."""
    most = (spending.OUTPUT_TOKENS * spending.OUTPUT_USD_PER_MTOK) + 1_150 * spending.INPUT_USD_PER_MTOK
    assert float(spending.BUDGET_USD) * 1_000_000 == LIMIT
    assert LIMIT - (CALLS - 1) * CALL_MICRO_USD >= most > LIMIT - CALLS * CALL_MICRO_USD
