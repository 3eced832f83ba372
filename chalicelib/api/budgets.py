"""Budgets of a session and its agents (no part of Coral's own API)."""

from chalice.app import Blueprint

from chalicelib.api.routing import Extras, route
from chalicelib.domain import budget_limits
from chalicelib.stores import current
from chalicelib.wire import budgets as wire

routes = Blueprint(__name__)

_BUDGET = "/api/v1/local/session/{namespace}/{sessionId}/budget"

_CHANGE = Extras(body_example={"session": {"usd": "2"}, "agents": {"bob": {"usd": "0.20", "onReached": "stop_agent"}}})


@route(routes, "GET", _BUDGET)
def get_session_budget(namespace: str, session_id: str) -> "wire.Budgets":
    """Return the budgets of a session and its agents, and what was booked for each model.

    Amounts are millionths of a US dollar. ``session`` is null without a limit of its own.
    """
    return budget_limits.state(current(), namespace, session_id)


@route(routes, "POST", _BUDGET, extras=_CHANGE)
def change_session_budget(namespace: str, session_id: str, body: "wire.NewLimits") -> "wire.Budgets":
    """Set other limits, all or none, in US dollars; none below what is spent and held."""
    return budget_limits.change(current(), namespace, session_id, body)
