"""Budgets of a session and of its agents: reserve before a call, settle after it, book at once.

Amounts are whole millionths of a US dollar. A call reserves the most that it can cost, on its agent's limit and on the
session's, in one write; when it has ended it settles once, by what it has really cost, which may be more. So
``available + held + spent`` is always the limit, and whoever reserves sees all that others have reserved before.
"""

import dataclasses
from typing import TYPE_CHECKING

from chalicelib.domain.errors import BudgetReached, Conflict, NotFound, TooManyRequests, TryLater
from chalicelib.store.budgets import (
    MOST_HOLDS,
    MOST_MODELS,
    OTHER_MODELS,
    Budget,
    Hold,
    Level,
    LevelName,
    ModelTotals,
    Notice,
    Spending,
)
from chalicelib.wire import budgets as wire
from chalicelib.wire.budgets import MAX_MICRO_USD

if TYPE_CHECKING:
    from chalicelib.domain.actors import Actor
    from chalicelib.store.sessions import SessionRecord
    from chalicelib.stores import Stores
    from chalicelib.wire.graph import AgentGraphRequest

#: The longest that a call of a model may last (a Lambda's), in ms; whoever makes one ends it by then.
LONGEST_CALL_MS = 15 * 60_000
#: How long a hold may be there before nobody is going to settle it: longer than a call, and what comes after it.
HOLD_MS = LONGEST_CALL_MS + 5 * 60_000
#: A budget is low when so many hundredths of its limit are spent.
LOW_PERCENT = 80
#: Longest id of a hold, and of an amount that is booked at once, in bytes.
MAX_ID_BYTES = 255
#: Longest name of a model in the totals; what is longer is cut.
MAX_MODEL_CHARS = 200
#: How often a write is tried whose budgets have changed since they were read, because somebody has set limits.
TRIES = 5


@dataclasses.dataclass(frozen=True)
class Reservation:
    """A call that may be made; given back to `settle` or `release`."""

    session_id: str
    #: ``None`` where no limit holds: nothing is written then, now and later.
    hold: Hold | None


# Calls


def find(stores: "Stores", session_id: str) -> Budget | None:
    """Read the budgets of a session; ``None`` when it has none."""
    return stores.budgets.find(session_id)


def reserve(
    stores: "Stores", actor: "Actor", budget: Budget | None, *, hold_id: str, upper_micro_usd: int, model: str
) -> Reservation:
    """Keep the most that a call can cost for it, on each limit that holds for an agent; one write, none without limits.

    ``budget`` is what was read of the session just now (`find`, or `Reads.agent_and_budget` together with the actor).
    ``hold_id`` is the call's own: who reserves twice under it has one hold. ``model`` is ``<provider>/<model>``.

    Raises `BudgetReached` for a call that does not fit (what follows from that is written down), `NotFound` for a
    session that is over, `TooManyRequests` when too many calls are under way.
    """
    _check_id("hold_id", hold_id)
    _check_amount(upper_micro_usd)
    for _ in range(TRIES):
        levels = budget.levels_of(actor.name) if budget is not None else {}
        if budget is None or not levels:
            return Reservation(actor.session_id, None)
        hold = Hold(
            hold_id, actor.name, _model_in(budget, model), upper_micro_usd, stores.clock.now_ms(), tuple(levels)
        )
        if earlier := budget.holds.get(hold_id):
            return Reservation(actor.session_id, earlier)
        _check_fits(stores, actor, budget, upper_micro_usd)
        if len(budget.holds) >= MOST_HOLDS:
            raise TooManyRequests(
                f"{MOST_HOLDS} calls of models are under way in the session {actor.session_id!r}",
                limit="open_holds",
                retry_after_s=1,
            )
        made, budget = stores.budgets.reserve(actor.session_id, hold)
        if made:
            return Reservation(actor.session_id, hold)
        if budget is None:
            raise NotFound.of_session(actor.session.namespace, actor.session_id)
    raise changed_often(actor.session_id)


def settle(
    stores: "Stores", reservation: Reservation, *, spent_micro_usd: int, input_tokens: int, output_tokens: int
) -> bool:
    """Book what a call has cost, and give back what was kept for it; one write, none without limits.

    It may have cost more than was kept. A usage beyond all bounds, which no provider means, is booked as the largest
    amount that there is: no budget outlives that either.

    ``False`` when it was settled before, or nobody had settled it for so long that all that was kept is booked.
    """
    tokens_in, tokens_out, spent = map(_within_bounds, (input_tokens, output_tokens, spent_micro_usd))
    return _settle(stores, reservation, ModelTotals(1, tokens_in, tokens_out, spent))


def release(stores: "Stores", reservation: Reservation) -> bool:
    """Give back what was kept for a call that was not made; ``False`` as for `settle`."""
    return _settle(stores, reservation, ModelTotals())


def _settle(stores: "Stores", reservation: Reservation, booked: ModelTotals) -> bool:
    hold = reservation.hold
    if hold is None:
        return False
    made, budget = stores.budgets.settle(reservation.session_id, hold, booked)
    if budget is None:
        return False
    # Where this call did not settle, its first try may have, whose answer was lost: it did not tell.
    tell_low(stores, budget, by=hold.agent, just_spent=booked.spent if made else None)
    return made


def spend(stores: "Stores", actor: "Actor", *, spending_id: str, micro_usd: int) -> Budget | None:
    """Book an amount at once, whole or not at all, and once under an id; return the budgets as they are then.

    ``None`` for an agent without limits: nothing is booked. Raises `BudgetReached` for more than is available (what
    follows from that is written down), `Conflict` for an id under which something else was booked, `NotFound` for a
    session that is over.
    """
    _check_id("spending_id", spending_id)
    _check_amount(micro_usd)
    for _ in range(TRIES):
        budget = stores.budgets.find(actor.session_id)
        levels = budget.levels_of(actor.name) if budget is not None else {}
        if budget is None or not levels:
            return None
        if _is_spent(stores, actor, spending_id, micro_usd):
            return budget
        if budget.sealed:
            raise NotFound.of_session(actor.session.namespace, actor.session_id)
        _check_fits(stores, actor, budget, micro_usd)
        spending = Spending(
            session_id=actor.session_id,
            spending_id=spending_id,
            agent=actor.name,
            micro_usd=micro_usd,
            at_ms=stores.clock.now_ms(),
            expires_at=budget.expires_at,
        )
        if stores.budgets.spend(spending, tuple(levels)):
            after = stores.budgets.find(actor.session_id) or budget
            tell_low(stores, after, by=actor.name, session=actor.session)
            return after
    raise changed_often(actor.session_id)


def _is_spent(stores: "Stores", actor: "Actor", spending_id: str, micro_usd: int) -> bool:
    earlier = stores.budgets.spending(actor.session_id, spending_id)
    if earlier is None:
        return False
    if (earlier.agent, earlier.micro_usd) != (actor.name, micro_usd):
        raise Conflict(f"something else was booked under the id {spending_id!r}")
    return True


def left_for(budget: Budget | None, agent: str) -> int | None:
    """Return what an agent may still spend, in millionths of a US dollar, 0 at least; ``None`` without a limit."""
    levels = budget.levels_of(agent) if budget is not None else {}
    return max(0, min(level.available for level in levels.values())) if levels else None


def _check_fits(stores: "Stores", actor: "Actor", budget: Budget, needed: int) -> None:
    """Raise `BudgetReached` for the first limit that a call does not fit; write down which were reached for good."""
    if budget.sealed:
        raise NotFound.of_session(actor.session.namespace, actor.session_id)
    short = {name: level for name, level in budget.levels_of(actor.name).items() if 0 < needed > level.available}
    for name, level in short.items():
        if needed > level.available + level.held:
            who = actor.name
            _tell(stores, budget, "budget_reached", name=name, level=level, agent=who, session=actor.session)
    for name, level in short.items():
        whose = f"the agent {actor.name!r}" if name == "agent" else "the session"
        held = f", and {wire.usd_of(level.held)} are held for calls under way" if level.held > 0 else ""
        left = f"{wire.usd_of(level.available)} of {wire.usd_of(level.limit)} US dollars are left{held}"
        raise BudgetReached(
            f"the budget of {whose} is reached: {left}; this takes up to {wire.usd_of(needed)}",
            level=name,
            available_micro_usd=level.available,
            needed_micro_usd=needed,
            on_reached=level.on_reached,
            for_good=needed > level.available + level.held,
        )


def _model_in(budget: Budget, model: str) -> str:
    name = model[:MAX_MODEL_CHARS]
    return name if name in budget.models or len(budget.models) < MOST_MODELS else OTHER_MODELS


def _check_id(what: str, value: str) -> None:
    if not 1 <= len(value.encode()) <= MAX_ID_BYTES:
        raise ValueError(f"{what}: an id has 1 to {MAX_ID_BYTES} bytes, not {len(value.encode())}")


def _check_amount(micro_usd: int) -> None:
    if not 0 <= micro_usd <= MAX_MICRO_USD:
        raise ValueError(f"an amount is 0 to {MAX_MICRO_USD} millionths of a US dollar, not {micro_usd}")


def _within_bounds(number: int) -> int:
    if number < 0:
        raise ValueError(f"a usage is not below 0: {number}")
    return min(number, MAX_MICRO_USD)


def changed_often(session_id: str) -> TryLater:
    """Return the error for budgets whose limits others change as often as a write is tried."""
    return TryLater(f"the budgets of the session {session_id!r} are changed again and again")


# Facts that others react to


def tell_low(
    stores: "Stores",
    budget: Budget,
    *,
    by: str | None = None,
    just_spent: int | None = None,
    session: "SessionRecord | None" = None,
) -> None:
    """Write down once that a limit is low, for the session's and the agents' (``by`` one: for its own).

    ``just_spent``: it is not written by a call before which it was low already, since that was told then.
    """
    each: list[tuple[LevelName, Level, str | None]]
    if by is not None:
        each = [(name, level, by) for name, level in budget.levels_of(by).items()]
    else:
        each = [("agent", level, name) for name, level in budget.agents.items()]
        each += [("session", budget.session, None)] if budget.session is not None else []
    for name, level, agent in each:
        if is_low(level) and not (just_spent is not None and is_low(level, less=just_spent)):
            _tell(stores, budget, "budget_low", name=name, level=level, agent=agent, session=session)


def is_low(level: Level, *, less: int = 0) -> bool:
    """Return whether a limit is low, or was before ``less`` of it was spent. One that nothing is spent of is not."""
    spent = level.spent - less
    return spent > 0 and spent * 100 >= level.limit * LOW_PERCENT


def _tell(
    stores: "Stores",
    budget: Budget,
    kind: wire.NoticeKind,
    *,
    name: LevelName,
    level: Level,
    agent: str | None,
    session: "SessionRecord | None",
) -> None:
    """Write a notice, with where its session wants it told: when others react to it, the session may be gone."""
    from chalicelib.wire.sessions import SessionRuntimeSettings

    [session] = [session] if session else stores.reads.sessions([(budget.namespace, budget.session_id)])
    settings = SessionRuntimeSettings.model_validate((session.runtime_settings if session else None) or {})
    webhook = settings.webhooks.budget_reached
    stores.budgets.tell(
        Notice(
            session_id=budget.session_id,
            namespace=budget.namespace,
            expires_at=budget.expires_at,
            kind=kind,
            level=name,
            agent=agent,
            on_reached=level.on_reached,
            at_ms=stores.clock.now_ms(),
            limit=level.limit,
            available=level.available,
            held=level.held,
            spent=level.spent,
            url=webhook.url if webhook else None,
        )
    )


# Holds that nobody settles


def book_overdue(stores: "Stores", session: "SessionRecord") -> int:
    """Book all of each hold that nobody has settled in time, since the call may have cost that; return how many.

    It tells what is low, too, where that was cut off.
    """
    budget = stores.budgets.find(session.session_id)
    if budget is None:
        return 0
    made_before_ms = stores.clock.now_ms() - HOLD_MS
    overdue = [hold for hold in budget.holds.values() if hold.at_ms < made_before_ms]
    _book(stores, session, overdue)
    now = stores.budgets.find(session.session_id) if overdue else budget
    if now is not None:
        tell_low(stores, now, session=session)
    return len(overdue)


def conclude(stores: "Stores", session: "SessionRecord") -> Budget | None:
    """Let nothing be reserved any more in a session that goes, and book what is held; return its budgets at the end."""
    if stores.budgets.find(session.session_id) is None:  # most sessions have none: a read is cheaper than a write
        return None
    sealed = stores.budgets.seal(session.session_id)
    if sealed is None:
        return None
    _book(stores, session, list(sealed.holds.values()))
    end = stores.budgets.find(session.session_id) if sealed.holds else sealed
    if end is not None:
        tell_low(stores, end, session=session)
    return end


def _book(stores: "Stores", session: "SessionRecord", holds: list[Hold]) -> None:
    for hold in holds:
        stores.budgets.settle(session.session_id, hold, ModelTotals(calls=1, spent=hold.micro_usd))


# What is asked for, and what is shown


def asked_for(graph: "AgentGraphRequest", namespace: str, session_id: str, expires_at: int) -> Budget | None:
    """Return the budgets of a new session; ``None`` when it asks for none."""
    asked = {agent.name: _level(agent.budget) for agent in graph.agents if agent.budget is not None}
    whole = _level(graph.budget) if graph.budget is not None else None
    if whole is None and not asked:
        return None
    return Budget(session_id, namespace, expires_at, session=whole, agents=asked)


def _level(request: wire.BudgetRequest) -> Level:
    return Level.of(request.limit_micro_usd, request.on_reached)


def view(budget: Budget | None) -> wire.Budgets:
    """Return budgets as clients see them."""
    if budget is None:
        return wire.Budgets(agents={}, models={})
    return wire.Budgets(
        session=_balance(budget.session) if budget.session is not None else None,
        agents={name: _balance(level) for name, level in budget.agents.items()},
        models={
            name: wire.ModelUsage(**dataclasses.asdict(totals))
            for name, totals in budget.models.items()
            if totals.calls
        },
    )


def _balance(level: Level) -> wire.Balance:
    return wire.Balance(limit=level.limit, spent=level.spent, held=level.held, available=level.available)
