"""Whatever agents, users and crashes do to a budget, in whatever order: nothing appears, vanishes, is booked twice."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chalicelib.domain import budget_limits, budgets
from chalicelib.domain.budgets import Reservation
from chalicelib.domain.errors import AtollError, BudgetReached
from chalicelib.store.budgets import Budget
from chalicelib.wire.budgets import NewLimit, NewLimits
from tests.budgets import MODEL, Purse, check
from tests.mcp_world import NAMESPACE, SESSION

#: How a step goes: to its end, or its process dies before or after its write.
Fate = Literal["done", "died before", "died after"]


class Died(Exception):
    """The process is gone."""


@dataclasses.dataclass(frozen=True)
class Step:
    """What somebody does next."""

    what: Literal["look", "reserve", "settle", "release", "spend", "change", "time", "reconcile"]
    agent: str = "a"
    amount: int = 0
    #: Which look, reservation or id it goes by, counted from the latest.
    back: int = 0
    fate: Fate = "done"


STEPS = st.builds(
    Step,
    what=st.sampled_from(
        ["look", "reserve", "reserve", "reserve", "settle", "settle", "release", "spend", "change", "time", "reconcile"]
    ),
    agent=st.sampled_from(["a", "b"]),
    amount=st.integers(0, 70),
    back=st.integers(0, 3),
    fate=st.sampled_from(["done", "done", "done", "died before", "died after"]),
)


class Play:
    """A session and all that is known of it by those who act."""

    def __init__(self, purse: Purse) -> None:
        self.purse = purse
        self.stores = purse.world.services
        self.now = purse.budget
        self.looks = [self.now]
        self.actors = {name: purse.world.actor(name) for name in ("a", "b")}
        self.made: list[Reservation] = []
        self.ids = 0
        #: What was booked for each hold and each id of an amount, whoever did it.
        self.booked: dict[str, int] = {}

    def step(self, step: Step) -> None:
        """Take a step, and check what it has done."""
        before = self.now
        try:
            with self.dying(step.fate):
                getattr(self, step.what)(step)
        except (AtollError, Died):
            pass
        self.now = self.purse.budget
        self.settled(before, self.now, step)

    @contextlib.contextmanager
    def dying(self, fate: Fate) -> Iterator[None]:
        """Let the process die at its first write of a budget."""
        client = self.stores.dynamodb

        def write(call: Callable[..., Any]) -> Callable[..., Any]:
            def dies(**request: Any) -> Any:
                if fate == "died before":
                    raise Died
                answer = call(**request)
                if fate == "died after":
                    raise Died
                return answer

            return dies

        with contextlib.ExitStack() as undo:
            for name in ("update_item", "transact_write_items"):
                undo.enter_context(patch.object(client, name, write(getattr(client, name))))
            yield

    def settled(self, before: Budget, after: Budget, step: Step) -> None:
        """Note what holds were settled, and check that as much was booked."""
        gone = before.holds.keys() - after.holds.keys()
        spent = _spent(after) - _spent(before)
        assert len(gone) <= 1 or step.what == "reconcile"
        assert not gone & self.booked.keys(), "a hold was booked twice"
        if step.what == "reconcile":
            assert spent == sum(before.holds[hold].micro_usd for hold in gone)
        elif gone:
            assert spent == (step.amount if step.what == "settle" else 0)
        elif step.what != "spend":
            assert spent == 0
        self.booked.update(dict.fromkeys(gone, 0))
        for hold_id in after.holds.keys() - before.holds.keys():
            hold = after.holds[hold_id]
            assert hold.micro_usd == 0 or all(after.levels_of(hold.agent)[name].available >= 0 for name in hold.levels)
        assert {"session", *after.levels_of("a")} >= {"session", "agent"}

    def look(self, step: Step) -> None:
        """Read the budget: who reserves may go by what was read long ago."""
        self.looks.append(self.now)

    def reserve(self, step: Step) -> None:
        """Reserve for a call."""
        self.ids += 1
        known = self.looks[-1 - step.back % len(self.looks)]
        actor = self.actors[step.agent]
        made = budgets.reserve(
            self.stores, actor, known, hold_id=f"h{self.ids}", upper_micro_usd=step.amount, model=MODEL
        )
        self.made.append(made)

    def settle(self, step: Step) -> None:
        """Settle a call, which may be settled already."""
        if self.made:
            self.purse.settle(self.made[-1 - step.back % len(self.made)], step.amount)

    def release(self, step: Step) -> None:
        """Give back what is held."""
        if self.made:
            budgets.release(self.stores, self.made[-1 - step.back % len(self.made)])

    def spend(self, step: Step) -> None:
        """Book an amount, under one of a few ids."""
        spending_id, before = f"{step.back}", self.now
        try:
            budgets.spend(self.stores, self.actors[step.agent], spending_id=spending_id, micro_usd=step.amount)
        finally:
            spent = _spent(self.purse.budget) - _spent(before)
            assert spent in (0, step.amount)
            if spent:
                assert spending_id not in self.booked, "an id was booked twice"
                self.booked[spending_id] = spent

    def change(self, step: Step) -> None:
        """Set another limit, of the session or of an agent."""
        new = NewLimit(limit_micro_usd=f"0.{step.amount * 2:06}")
        request = NewLimits(session=new) if step.back % 2 else NewLimits(agents={step.agent: new})
        budget_limits.change(self.stores, NAMESPACE, SESSION, request)

    def time(self, step: Step) -> None:
        """Let so much time pass that holds are overdue."""
        self.purse.clock.pass_ms(budgets.HOLD_MS // 2 + 1)

    def reconcile(self, step: Step) -> None:
        """Book what nobody has settled in time."""
        budgets.book_overdue(self.stores, self.actors["a"].session)


def _spent(budget: Budget) -> int:
    assert budget.session is not None
    return budget.session.spent


def lost_settle(*rest: Step) -> list[Step]:
    """A settle whose answer is lost, and that is made again."""
    return [Step("reserve", amount=50), Step("settle", amount=40, fate="died after"), *rest]


@given(st.lists(STEPS, max_size=20))
@example(lost_settle(Step("settle", amount=40), Step("reserve", amount=30)))
@example([Step("reserve", amount=60), Step("reserve", amount=60, agent="b"), Step("settle", back=1, amount=70)])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_what_is_available_held_and_spent_is_the_limit(purse: Purse, steps: list[Step]) -> None:
    purse.begin("a", "b", a=60)
    play = Play(purse)
    for step in steps:
        play.step(step)
    before = play.now
    end = budgets.conclude(play.stores, play.actors["a"].session)
    assert end is not None
    check(end)
    assert end.holds == {}
    assert _spent(end) - _spent(before) == sum(hold.micro_usd for hold in before.holds.values())
    for level in (end.session, *end.agents.values()):
        assert level is not None
        assert level.held == 0


def test_parallel_calls_never_spend_more_than_there_is_and_book_what_they_cost(purse: Purse) -> None:
    """Ten agents, 200 calls, a limit of 100 for all and of 20 for one; each books 1 or 2 of the 3 that it holds."""
    names = [f"agent-{number}" for number in range(10)]
    purse.begin(*names, agent_0=20)
    read_before_all, actors = purse.budget, {name: purse.world.actor(name) for name in names}

    def call(number: int) -> int:
        spent = 1 + number % 2
        try:
            hold = budgets.reserve(
                purse.world.services,
                actors[names[number % 10]],
                read_before_all,
                hold_id=f"h{number}",
                upper_micro_usd=3,
                model=MODEL,
            )
        except BudgetReached:
            return 0
        assert purse.settle(hold, spent)
        return spent

    with ThreadPoolExecutor(20) as pool:
        spent = list(pool.map(call, range(200)))
    end = purse.budget
    assert _spent(end) == sum(spent)
    assert 97 <= sum(spent) <= 100, "not one more call would fit"
    assert end.agents[names[0]].spent == sum(spent[0::10]) <= 20
    assert end.models[MODEL].calls == sum(1 for each in spent if each)
    assert end.models[MODEL].spent == sum(spent)
    assert not end.holds


def test_two_at_once_settle_one_hold_once(purse: Purse) -> None:
    hold = purse.reserve("a", 40)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda spent: purse.settle(hold, spent), (10, 20)))
    assert sorted(done) == [False, True]
    assert purse.session[2] in (10, 20)
    assert purse.session[1] == 0


@pytest.mark.parametrize("spent", [0, 60])
def test_two_users_who_change_a_limit_at_once_both_do_or_are_refused(purse: Purse, spent: int) -> None:
    purse.settle(purse.reserve("b", spent), spent)

    def change(micro_usd: int) -> bool:
        new = NewLimits(session=NewLimit(limit_micro_usd=f"0.{micro_usd:06}"))
        try:
            budget_limits.change(purse.world.services, NAMESPACE, SESSION, new)
        except AtollError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(change, (50, 200, 70, 300)))
    assert done == [spent <= 50, True, True, True]
    assert purse.budget.session is not None
    assert purse.budget.session.limit in (50, 70, 200, 300)
