"""Amounts in US dollars become whole millionths, exactly, or are refused with the rule."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from chalicelib.api.errors import describe
from chalicelib.store.budgets import Budgets, Level, LimitChange
from chalicelib.wire.budgets import MAX_CHANGED_AGENTS, MAX_MICRO_USD, BudgetRequest, NewLimits, micro_usd_of, usd_of
from chalicelib.wire.requests import SessionRequest
from tests.client import agent, session


def parsed(usd: object) -> int:
    text = json.dumps({"usd": usd})
    return BudgetRequest.model_validate_json(text, strict=True, by_alias=True, by_name=False).limit_micro_usd


@pytest.mark.parametrize(
    ("usd", "micro_usd"),
    [
        ("0.50", 500_000),
        ("0", 0),
        (0, 0),
        (0.0, 0),
        ("0.000001", 1),
        (0.000001, 1),
        (0.1, 100_000),
        (0.3, 300_000),
        (2, 2_000_000),
        ("1000000", MAX_MICRO_USD),
        ("1000000.000000", MAX_MICRO_USD),
        (999999.999999, MAX_MICRO_USD - 1),
    ],
)
def test_an_amount_is_exact(usd: object, micro_usd: int) -> None:
    assert parsed(usd) == micro_usd


@pytest.mark.parametrize(
    "usd",
    [
        "-1", -1, -0.5, "NaN", "Infinity", "1e3", 1e12, 10**12, "1000000000000", "1000000.000001", 1000001, "0.0000001",
        0.1234567, "", " 1", "1 ", "+1", "1.", ".5", "1_000", "\uff11", "1,5", "0x1", None, True, [], {}, "9" * 5_000,
    ],
)  # fmt: skip
def test_what_is_no_amount_is_refused_with_the_rule(usd: object) -> None:
    with pytest.raises(ValidationError) as refused:
        parsed(usd)
    said = describe(refused.value)
    assert "0 to 1000000 US dollars with at most 6 decimal places" in said
    assert len(said) < 300


@given(st.integers(0, MAX_MICRO_USD))
def test_every_amount_survives_being_written_and_read(micro_usd: int) -> None:
    assert micro_usd_of(usd_of(micro_usd)) == micro_usd
    # As a JSON number too: no float of this size is further from it than what is read of it.
    assert parsed(micro_usd / 1_000_000) == micro_usd


def test_a_request_says_what_its_budgets_are() -> None:
    asked = session({**agent("a", "echo"), "budget": {"usd": "0.5", "onReached": "stop_agent"}})
    asked["agentGraphRequest"]["budget"] = {"usd": 2}
    graph = SessionRequest.model_validate_json(json.dumps(asked)).agent_graph_request
    assert graph.budget == BudgetRequest(limit_micro_usd="2")
    assert graph.agents[0].budget is not None
    assert graph.agents[0].budget.on_reached == "stop_agent"
    assert graph.agents[0].budget.to_wire() == {"usd": "0.5", "onReached": "stop_agent"}


def test_a_request_changes_only_so_many_limits_as_one_expression_has_room_for() -> None:
    some = {f"a{number}": {"usd": "1"} for number in range(MAX_CHANGED_AGENTS + 1)}
    with pytest.raises(ValidationError, match="at most 20"):
        NewLimits.model_validate_json(json.dumps({"agents": some}))


def test_the_largest_change_of_limits_fits_an_expression() -> None:
    """DynamoDB takes 4 KB of an expression, and 300 operators (Developer Guide, "Quotas")."""

    class Table:
        def try_update(self, key: object, change: str, *, when: str, **rest: object) -> tuple[bool, None]:
            assert len(change) <= 4_096
            assert len(when) <= 4_096
            assert when.count(" AND ") + when.count("=") + change.count("=") + change.count("+") <= 300
            return True, None

    changes = [LimitChange(f"a{number}", Level.of(1), 2, "close_session") for number in range(MAX_CHANGED_AGENTS)]
    Budgets(Table()).change("s", [*changes, LimitChange(None, Level.of(1), 2, "refuse")])  # type: ignore[arg-type]
