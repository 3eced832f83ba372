"""The budgets of a session, for tests: calls of models without models."""

import dataclasses
import itertools

from chalicelib.domain import budgets
from chalicelib.domain.budgets import Reservation
from chalicelib.store.budgets import Budget, Level
from tests.mcp_world import NAMESPACE, NEVER_S, SESSION, TestClock, World

MODEL = "openai/gpt-4.1"


@dataclasses.dataclass
class Purse:
    """What the agents of a session may spend."""

    world: World
    clock: TestClock
    _ids: "itertools.count[int]" = dataclasses.field(default_factory=itertools.count)

    def begin(self, *names: str, session: int = 100, **agents: int) -> None:
        """Make the session anew, with these agents and limits."""
        self.world.clear()
        self.world.session(*names)
        levels = {name.replace("_", "-"): Level.of(limit) for name, limit in agents.items()}
        made = Budget(SESSION, NAMESPACE, NEVER_S, session=Level.of(session), agents=levels)
        self.world.services.budgets.create(made)

    @property
    def budget(self) -> Budget:
        """The budgets as they are now."""
        found = self.world.services.budgets.find(SESSION)
        assert found is not None
        check(found)
        return found

    @property
    def session(self) -> tuple[int, int, int]:
        """What is available, held and spent of the session's limit."""
        assert self.budget.session is not None
        return amounts(self.budget.session)

    def of(self, agent: str) -> tuple[int, int, int]:
        """Return what is available, held and spent of an agent's limit."""
        return amounts(self.budget.agents[agent])

    def reserve(self, agent: str, most: int, hold_id: str | None = None, model: str = MODEL) -> Reservation:
        """Reserve for a call."""
        stores = self.world.services
        return budgets.reserve(
            stores,
            self.world.actor(agent),
            budgets.find(stores, SESSION),
            hold_id=hold_id or f"hold-{next(self._ids)}",
            upper_micro_usd=most,
            model=model,
        )

    def settle(self, made: Reservation, spent: int) -> bool:
        """Settle a call of 10 and 5 tokens."""
        return budgets.settle(self.world.services, made, spent_micro_usd=spent, input_tokens=10, output_tokens=5)

    def spend(self, agent: str, micro_usd: int, spending_id: str) -> Budget | None:
        """Book an amount at once."""
        return budgets.spend(self.world.services, self.world.actor(agent), spending_id=spending_id, micro_usd=micro_usd)

    @property
    def told(self) -> set[str]:
        """Ids of the notices that were written."""
        client, table = self.world.services.dynamodb, self.world.services.settings.table("session-items")
        items = client.scan(TableName=table)["Items"]
        return {key.removeprefix("BUDGET#") for item in items if (key := item["item"]["S"]).startswith("BUDGET#")}


def amounts(level: Level) -> tuple[int, int, int]:
    """Return what is available, held and spent."""
    return level.available, level.held, level.spent


def check(budget: Budget) -> None:
    """Check what always holds: nothing appears or vanishes, and what is held is what the holds say."""
    levels = {("agent", name): level for name, level in budget.agents.items()}
    if budget.session is not None:
        levels["session", ""] = budget.session
    for (kind, name), level in levels.items():
        assert level.available + level.held + level.spent == level.limit, (kind, name, level)
        holds = [hold for hold in budget.holds.values() if kind in hold.levels and name in ("", hold.agent)]
        assert level.held == sum(hold.micro_usd for hold in holds), (kind, name, level, holds)
