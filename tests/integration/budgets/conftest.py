"""A session of two agents with budgets, over moto."""

from collections.abc import Iterator

import pytest

from chalicelib.store.budgets import Budget, Level
from tests.budgets import Purse
from tests.mcp_world import NAMESPACE, NEVER_S, SESSION, TestClock, World


@pytest.fixture
def purse(_deployment: World) -> Iterator[Purse]:
    """A session with a limit of 100 whose agent a has one of 60, and whose agent b has none."""
    clock = TestClock()
    _deployment.clear()
    with _deployment.on(clock):
        _deployment.session("a", "b")
        made = Budget(SESSION, NAMESPACE, NEVER_S, session=Level.of(100), agents={"a": Level.of(60)})
        _deployment.services.budgets.create(made)
        yield Purse(_deployment, clock)
