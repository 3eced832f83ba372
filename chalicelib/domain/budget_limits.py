"""The limits of budgets as users see and change them."""

from typing import TYPE_CHECKING

from chalicelib.domain import budgets, sessions
from chalicelib.domain.errors import BadRequest
from chalicelib.store.budgets import Budget, Level, LimitChange
from chalicelib.wire import budgets as wire

if TYPE_CHECKING:
    from chalicelib.store.sessions import SessionRecord
    from chalicelib.stores import Stores


def state(stores: "Stores", namespace: str, session_id: str) -> wire.Budgets:
    """Return the budgets of a session as clients see them; raise `NotFound` for an unknown session."""
    sessions.read(stores, namespace, session_id)
    return budgets.view(stores.budgets.find(session_id))


def change(stores: "Stores", namespace: str, session_id: str, request: wire.NewLimits) -> wire.Budgets:
    """Set other limits of a session and its agents, all or none; one write. What is spent stays.

    Raises `BadRequest` for a limit below what is spent and held, for an agent that is not there, for a session that is
    closing, and for no limit at all; `NotFound` for an unknown session.
    """
    _, session = sessions.read(stores, namespace, session_id)
    if session.status == "closing":
        raise BadRequest(f"the session {session_id!r} is closing")
    if request.session is None and not request.agents:
        raise BadRequest("there is no limit in it: session and agents are missing or empty")
    found = stores.reads.agents(session_id, list(request.agents)) if request.agents else []
    if unknown := [name for name, agent in zip(request.agents, found, strict=True) if agent is None]:
        raise BadRequest(f"agents names what is not in the session: {', '.join(map(repr, unknown))}")
    budget = stores.budgets.find(session_id)
    for _ in range(budgets.TRIES):
        if budget is None:
            budget = Budget(session_id, namespace, _expires_at(stores, session))
            stores.budgets.create(budget)
        if budget.sealed:
            raise BadRequest(f"the session {session_id!r} is closing")
        made, budget = stores.budgets.change(session_id, _changes(budget, request))
        if made and budget is not None:
            budgets.tell_low(stores, budget, session=session)
            return budgets.view(budget)
    raise budgets.changed_often(session_id)


def _expires_at(stores: "Stores", session: "SessionRecord") -> int:
    """Return when (epoch s) the budgets of a session may be collected: a pending one may still get any settings."""
    if session.status != "pending_execution":
        return session.expires_at
    return sessions.longest_life_s(stores, session.created_at_ms, None)


def _changes(budget: Budget, request: wire.NewLimits) -> list[LimitChange]:
    """Judge other limits on what was read; raise `BadRequest` for one below what is spent and held."""
    asked: list[tuple[str | None, Level | None, wire.NewLimit]] = [
        (name, budget.agents.get(name), new) for name, new in request.agents.items()
    ]
    if request.session is not None:
        asked.append((None, budget.session, request.session))
    for name, level, new in asked:
        if level is not None and new.limit_micro_usd < level.spent + level.held:
            whose = "the session" if name is None else f"the agent {name!r}"
            used = f"{wire.usd_of(level.spent)} US dollars are spent and {wire.usd_of(level.held)} held"
            raise BadRequest(f"the budget of {whose} cannot be {wire.usd_of(new.limit_micro_usd)}: {used}")
    return [
        LimitChange(name, level, new.limit_micro_usd, new.on_reached or (level.on_reached if level else "refuse"))
        for name, level, new in asked
    ]
