"""What happens in a session, event by event."""

from chalice.app import Blueprint

from chalicelib.api.paging import LogPaging, Page
from chalicelib.api.routing import route
from chalicelib.domain import events, sessions
from chalicelib.stores import current
from chalicelib.wire import events as wire

routes = Blueprint(__name__)


@route(routes, "GET", "/api/v1/local/session/{namespace}/{sessionId}/events", filtered=False, pages=LogPaging)
def list_events(namespace: str, session_id: str, paging: LogPaging) -> "Page[wire.SessionEvent]":
    """List the events of a session in the order in which they happened.

    The order never changes. Each page has a cursor, the last one too: given as ``after``, it leads to what came since.
    """
    stores = current()
    _, session = sessions.read(stores, namespace, session_id)
    return paging.page(
        events.read(stores, session, int(paging.start or 0)),
        lambda passed: passed[1],
        position=lambda passed: str(passed[0]),
    )
