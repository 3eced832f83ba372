"""``BUDGET`` of the session-items table: what a session and its agents may spend, and what of that is held and spent.

One item a session, so that one conditional update reserves on both levels. Amounts are millionths of a US dollar, and
of each level ``available + held + spent`` is its limit after every write. Beside it are ``SPENT#`` items, which make an
amount that was booked at once be booked once, and ``BUDGET#`` items: the facts that a budget is low or was reached.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

from chalicelib.store.items import Item, Key
from chalicelib.store.record import Record
from chalicelib.store.table import Table

_ITEM = "BUDGET"
_NOTICE_PREFIX = "BUDGET#"
_SPENT_PREFIX = "SPENT#"

#: Calls that may be under way at once in a session with a budget. Each is some 120 bytes of an item that every reserve
#: and settle writes anew, a write unit a KB.
MOST_HOLDS = 256
#: Models whose calls are counted by themselves; those of any other are counted together.
MOST_MODELS = 64
OTHER_MODELS = "other/models"

OnReached = Literal["refuse", "stop_agent", "close_session"]
#: Whose limit it is.
LevelName = Literal["session", "agent"]
BOTH: tuple[LevelName, ...] = ("agent", "session")


@dataclasses.dataclass(frozen=True)
class Level:
    """A limit and what has become of it."""

    limit: int
    available: int
    held: int = 0
    spent: int = 0
    on_reached: OnReached = "refuse"

    @classmethod
    def of(cls, limit: int, on_reached: OnReached = "refuse") -> Self:
        """Return a limit of which nothing is spent."""
        return cls(limit=limit, available=limit, on_reached=on_reached)

    def to_item(self) -> Item:
        """Return it as an attribute; the usual consequence is left out."""
        amounts: Item = {"limit": self.limit, "available": self.available, "held": self.held, "spent": self.spent}
        return amounts if self.on_reached == "refuse" else {**amounts, "onReached": self.on_reached}

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Self:
        """Read an attribute."""
        return cls(item["limit"], item["available"], item["held"], item["spent"], item.get("onReached", "refuse"))


@dataclasses.dataclass(frozen=True)
class Hold:
    """An amount that is kept for a call under way."""

    hold_id: str
    agent: str
    #: ``<provider>/<model>``.
    model: str
    micro_usd: int
    #: When it was made, epoch ms.
    at_ms: int
    #: On which levels.
    levels: tuple[LevelName, ...]

    def to_item(self) -> Item:
        """Return it as an attribute; short, since there may be many."""
        about: Item = {"agent": self.agent, "model": self.model, "microUsd": self.micro_usd, "atMs": self.at_ms}
        return about if self.levels == BOTH else {**about, "of": self.levels[0]}

    @classmethod
    def from_item(cls, hold_id: str, item: Mapping[str, Any]) -> Self:
        """Read an attribute."""
        levels = (item["of"],) if "of" in item else BOTH
        return cls(hold_id, item["agent"], item["model"], item["microUsd"], item["atMs"], levels)


@dataclasses.dataclass(frozen=True)
class ModelTotals:
    """What was booked for the calls of one model."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    #: Millionths of a US dollar.
    spent: int = 0

    def to_item(self) -> Item:
        """Return it as an attribute."""
        return {
            "calls": self.calls,
            "inputTokens": self.input_tokens,
            "outputTokens": self.output_tokens,
            "spent": self.spent,
        }

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Self:
        """Read an attribute."""
        return cls(item["calls"], item["inputTokens"], item["outputTokens"], item["spent"])


@dataclasses.dataclass(frozen=True)
class Budget:
    """The budgets of a session as they are stored; ``expires_at`` in epoch s."""

    session_id: str
    namespace: str
    expires_at: int
    session: Level | None = None
    #: Of the agents that have limits, by name.
    agents: Mapping[str, Level] = dataclasses.field(default_factory=dict)
    #: By id.
    holds: Mapping[str, Hold] = dataclasses.field(default_factory=dict)
    models: Mapping[str, ModelTotals] = dataclasses.field(default_factory=dict)
    #: Whether its session is being archived: nothing is reserved or booked any more.
    sealed: bool = False

    def levels_of(self, agent: str) -> dict[LevelName, Level]:
        """Return the limits that hold for an agent, its own first."""
        found: dict[LevelName, Level] = {"agent": self.agents[agent]} if agent in self.agents else {}
        return {**found, "session": self.session} if self.session is not None else found

    def to_item(self) -> Item:
        """Return the attributes of the item, its key among them."""
        item: Item = {
            **key_of(self.session_id),
            "namespace": self.namespace,
            "expiresAt": self.expires_at,
            "agents": {name: level.to_item() for name, level in self.agents.items()},
            "holds": {hold_id: hold.to_item() for hold_id, hold in self.holds.items()},
            "models": {name: totals.to_item() for name, totals in self.models.items()},
        }
        return {**item, "session": self.session.to_item()} if self.session is not None else item

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Read an item."""
        return cls(
            session_id=item["sessionId"],
            namespace=item["namespace"],
            expires_at=item["expiresAt"],
            session=Level.from_item(item["session"]) if "session" in item else None,
            agents={name: Level.from_item(level) for name, level in item["agents"].items()},
            holds={hold_id: Hold.from_item(hold_id, hold) for hold_id, hold in item["holds"].items()},
            models={name: ModelTotals.from_item(totals) for name, totals in item["models"].items()},
            sealed="sealed" in item,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Notice(Record):
    """That a budget is low, or was reached: a fact that others react to. Amounts are those of its level then."""

    session_id: str
    namespace: str
    expires_at: int
    kind: Literal["budget_low", "budget_reached"]
    level: LevelName
    #: The agent whose call was booked or refused; ``None`` when it was no call, and no agent's limit.
    agent: str | None = None
    on_reached: OnReached
    #: Epoch ms.
    at_ms: int
    limit: int
    available: int
    held: int
    spent: int
    #: Where its session wants it told.
    url: str | None = None

    @property
    def notice_id(self) -> str:
        """What it is about: the same limit is told of once, or once for each agent that it stops."""
        about = [self.kind, str(self.limit), self.level]
        each = self.level == "agent" or (self.kind == "budget_reached" and self.on_reached == "stop_agent")
        return "#".join([*about, self.agent] if each and self.agent is not None else about)

    def to_item(self) -> Item:
        """Return the attributes of the item, its sort key among them."""
        return {**super().to_item(), "item": _NOTICE_PREFIX + self.notice_id}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spending(Record):
    """An amount that an agent has booked at once, under an id."""

    session_id: str
    spending_id: str
    agent: str
    micro_usd: int
    at_ms: int
    expires_at: int

    def to_item(self) -> Item:
        """Return the attributes of the item, its sort key among them."""
        return {**super().to_item(), "item": _SPENT_PREFIX + self.spending_id}


@dataclasses.dataclass(frozen=True)
class LimitChange:
    """Another limit of one level, judged on what was read: ``before`` is ``None`` where there was no limit."""

    #: ``None`` for the session's.
    agent: str | None
    before: Level | None
    limit: int
    on_reached: OnReached


def key_of(session_id: str) -> Key:
    """Return the key of the budgets of a session."""
    return {"sessionId": session_id, "item": _ITEM}


def budget_of(item: Item | None) -> Budget | None:
    """Read the budgets of a session, if it has any."""
    return Budget.from_item(item) if item else None


def is_notice(sort_key: str) -> bool:
    """Return whether a sort key is that of a `Notice`."""
    return sort_key.startswith(_NOTICE_PREFIX)


class Budgets:
    """The budgets among the session items."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def create(self, budget: Budget) -> bool:
        """Write the budgets of a session that has none; ``False`` when it has."""
        return self._table.put(budget.to_item(), when="attribute_not_exists(#item)")

    def find(self, session_id: str) -> Budget | None:
        """Read the budgets of a session; ``None`` when it has none."""
        return budget_of(self._table.get(key_of(session_id)))

    def reserve(self, session_id: str, hold: Hold) -> tuple[bool, Budget | None]:
        """Take an amount from what is available on the levels of a hold; one conditional update.

        ``True`` and the budgets as they are now, or ``False`` and those that refused: too little is available, there
        are too many holds or one of this id, the agent's levels are others, or the budget is sealed. ``None`` when
        there is none.
        """
        changes = ["#holds.#hold = :hold", "#models.#model = if_not_exists(#models.#model, :none)"]
        conditions = [
            "attribute_exists(#holds)",
            "attribute_not_exists(#sealed)",
            "attribute_not_exists(#holds.#hold)",
            "size(#holds) < :most",
        ]
        for path in _paths(hold.levels):
            changes += [f"{path}.#available = {path}.#available - :cost", f"{path}.#held = {path}.#held + :cost"]
            # A call that costs nothing is not refused, though what is available may be below 0.
            enough = f"{path}.#available >= :cost"
            conditions.append(enough if hold.micro_usd else f"attribute_exists({path})")
        conditions += [f"attribute_not_exists({path})" for path in _paths(_others(hold.levels))]
        made, item = self._table.try_update(
            key_of(session_id),
            f"SET {', '.join(changes)}",
            when=" AND ".join(conditions),
            values={
                ":cost": hold.micro_usd,
                ":hold": hold.to_item(),
                ":most": MOST_HOLDS,
                ":none": ModelTotals().to_item(),
            },
            names={"agent": hold.agent, "hold": hold.hold_id, "model": hold.model},
        )
        return made, budget_of(item)

    def settle(self, session_id: str, hold: Hold, booked: ModelTotals) -> tuple[bool, Budget | None]:
        """Give a hold back and book what was spent; one conditional update.

        ``True`` and the budgets as they are now, or ``False`` and those in which there is no such hold (any more).
        """
        changes = [f"#models.#model.#{name} = #models.#model.#{name} + :{name}" for name in booked.to_item()]
        for path in _paths(hold.levels):
            changes += [
                f"{path}.#available = {path}.#available + :back",
                f"{path}.#held = {path}.#held - :cost",
                f"{path}.#spent = {path}.#spent + :spent",
            ]
        made, item = self._table.try_update(
            key_of(session_id),
            f"SET {', '.join(changes)} REMOVE #holds.#hold",
            when="#holds.#hold = :hold",
            values={
                ":back": hold.micro_usd - booked.spent,
                ":cost": hold.micro_usd,
                ":hold": hold.to_item(),
                **{f":{name}": value for name, value in booked.to_item().items()},
            },
            names={"agent": hold.agent, "hold": hold.hold_id, "model": hold.model},
        )
        return made, budget_of(item)

    def spending(self, session_id: str, spending_id: str) -> Spending | None:
        """Read an amount that was booked at once."""
        item = self._table.get({"sessionId": session_id, "item": _SPENT_PREFIX + spending_id})
        return Spending.from_item(item) if item else None

    def spend(self, spending: Spending, levels: Sequence[LevelName]) -> bool:
        """Book an amount on some levels, under an id that nothing was booked under: a transaction of two.

        ``False`` when nothing was booked: for one of the reasons of `reserve`, or because the id is taken.
        """
        changes = []
        for path in _paths(levels):
            changes += [
                f"{path}.#available = {path}.#available - :cost",
                f"{path}.#spent = {path}.#spent + :cost",
            ]
        conditions = [f"{path}.#available >= :cost" for path in _paths(levels)]
        conditions += [f"attribute_not_exists({path})" for path in _paths(_others(levels))]
        return self._table.write_with(
            self._table.putting(spending.to_item(), when="attribute_not_exists(#item)"),
            self._table.updating(
                key_of(spending.session_id),
                f"SET {', '.join(changes)}",
                when=" AND ".join(["attribute_not_exists(#sealed)", *conditions]),
                values={":cost": spending.micro_usd},
                names={"agent": spending.agent},
            ),
        )

    def change(self, session_id: str, changes: Iterable[LimitChange]) -> tuple[bool, Budget | None]:
        """Set other limits, all or none; one conditional update.

        ``True`` and the budgets as they are now, or ``False`` and those that refused: one of the limits was changed
        meanwhile, would be below what is spent and held, or the budget is sealed.
        """
        sets, conditions = list[str](), ["attribute_exists(#item)", "attribute_not_exists(#sealed)"]
        values: dict[str, Any] = {}
        names: dict[str, str] = {}
        for number, change in enumerate(changes):
            path = "#session" if change.agent is None else f"#agents.#agent{number}"
            if change.agent is not None:
                names[f"agent{number}"] = change.agent
            if change.before is None:
                sets.append(f"{path} = :level{number}")
                conditions.append(f"attribute_not_exists({path})")
                values[f":level{number}"] = Level.of(change.limit, change.on_reached).to_item()
                continue
            more = change.limit - change.before.limit
            sets += [
                f"{path}.#limit = :limit{number}",
                f"{path}.#available = {path}.#available + :more{number}",
                f"{path}.#onReached = :then{number}",
            ]
            conditions += [f"{path}.#limit = :before{number}", f"{path}.#available >= :least{number}"]
            values |= {
                f":limit{number}": change.limit,
                f":more{number}": more,
                f":then{number}": change.on_reached,
                f":before{number}": change.before.limit,
                f":least{number}": -more,
            }
        made, item = self._table.try_update(
            key_of(session_id), f"SET {', '.join(sets)}", when=" AND ".join(conditions), values=values, names=names
        )
        return made, budget_of(item)

    def seal(self, session_id: str) -> Budget | None:
        """Let nothing be reserved or booked at once any more; ``None`` when there are no budgets."""
        _, item = self._table.try_update(
            key_of(session_id), "SET #sealed = :sealed", when="attribute_exists(#item)", values={":sealed": True}
        )
        return budget_of(item)

    def tell(self, notice: Notice) -> bool:
        """Write a notice; ``False`` when it was written before."""
        return self._table.put(notice.to_item(), when="attribute_not_exists(#item)")


def _paths(levels: Iterable[LevelName]) -> list[str]:
    return ["#session" if level == "session" else "#agents.#agent" for level in levels]


def _others(levels: Sequence[LevelName]) -> list[LevelName]:
    return [level for level in BOTH if level not in levels]
