"""A session of two agents with budgets, over moto."""

import contextlib
from collections.abc import Iterator

import pytest

from infra.local.dynamodb import shortcut
from tests.budgets import Purse
from tests.mcp_world import TestClock, World


@pytest.fixture
def purse(_deployment: World) -> Iterator[Purse]:
    """A session with a limit of 100 whose agent a has one of 60, and whose agent b has none."""
    clock = TestClock()
    with _deployment.on(clock), contextlib.ExitStack() as undo:
        for part in shortcut.patches():  # moto would read each of these long expressions anew, for 20 ms
            undo.enter_context(part)
        made = Purse(_deployment, clock)
        made.begin("a", "b", a=60)
        yield made
