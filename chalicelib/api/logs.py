"""What agents print, and what Atoll logs of a session, line by line."""

from chalice.app import Blueprint, Request

from chalicelib import services
from chalicelib.api.paging import LinePaging, Page
from chalicelib.api.routing import Extras, route
from chalicelib.domain import sessions
from chalicelib.stores import current
from chalicelib.wire import logs as wire

routes = Blueprint(__name__)

#: What chooses among the lines of a session.
FILTERS = Extras(
    parameters=[
        {"name": "agent", "in": "query", "description": "Only lines of this agent.", "schema": {"type": "string"}}
    ]
)


@route(
    routes,
    "GET",
    "/api/v1/local/session/{namespace}/{sessionId}/logs",
    filtered=False,
    pages=LinePaging,
    extras=FILTERS,
)
def list_logs(namespace: str, session_id: str, paging: LinePaging, request: Request) -> "Page[wire.LoggingEvent]":
    """List the lines of a session's log, secrets hidden, while they are kept.

    Each page has a cursor, the last one too: given as ``after`` with the same ``agent``, it leads to what came since.
    """
    sessions.read(current(), namespace, session_id)
    agent = agent_in(request)
    # What this request asks beside DynamoDB (rule 1): the lines.
    lines = services.current().session_logs.read(namespace, session_id, agent, paging.start or "0")
    return paging.page(lines, lambda passed: passed[1], position=lambda passed: passed[0])


def agent_in(request: Request) -> str | None:
    """Return the agent whose lines are asked for; ``None`` for those of all."""
    return request.query_params.get("agent") if request.query_params else None
