"""What is in a session, page by page: its agents, its threads, and the messages of each thread."""

from chalice.app import Blueprint

from chalicelib.api.paging import TIME_LIMIT_MS, Page, Paging
from chalicelib.api.routing import route
from chalicelib.domain import agents, sessions, threads, tokens
from chalicelib.domain.errors import TooLarge
from chalicelib.stores import current
from chalicelib.wire.agents import ListedAgentState
from chalicelib.wire.threads import SessionThreadMessage, SessionThreadOverview

routes = Blueprint(__name__)

_SESSION = "/api/v1/local/session/{namespace}/{sessionId}"


@route(routes, "GET", f"{_SESSION}/agent")
def list_agents(namespace: str, session_id: str, paging: Paging) -> Page[ListedAgentState]:
    """List the agents of a session, each stopped one with the reason."""
    stores = current()
    _, session = sessions.read(stores, namespace, session_id)
    # Counting leaves time for the page.
    tokens_of = tokens.reader(stores, session, paging.deadline_ms - TIME_LIMIT_MS // 2)
    return paging.page(
        stores.agents.page(session_id, start=paging.start, limit=paging.read_limit),
        agents.listing(stores, session_id, tokens_of),
        position=lambda agent: agent.name,
        annotations=lambda agent: agent.annotations,
    )


@route(routes, "GET", f"{_SESSION}/thread", filtered=False)
def list_threads(namespace: str, session_id: str, paging: Paging) -> Page[SessionThreadOverview]:
    """List the threads of a session without their messages."""
    stores = current()
    _, session = sessions.read(stores, namespace, session_id)
    return paging.page(
        stores.threads.page(session_id, start=paging.start, limit=paging.read_limit),
        # Counting leaves time for the page.
        threads.overviews(stores, session, paging.deadline_ms - TIME_LIMIT_MS // 2),
        position=lambda thread: thread.thread_id,
    )


@route(routes, "GET", f"{_SESSION}/thread/{{threadId}}", raises=(TooLarge,))
def get_thread(namespace: str, session_id: str, thread_id: str) -> SessionThreadOverview:
    """Return a thread of a session without its messages."""
    stores = current()
    _, session = sessions.read(stores, namespace, session_id)
    shown = threads.overviews(stores, session, stores.clock.now_ms() + TIME_LIMIT_MS)
    return shown(threads.find(stores, session_id, thread_id))


@route(routes, "GET", f"{_SESSION}/thread/{{threadId}}/message", filtered=False)
def list_messages(namespace: str, session_id: str, thread_id: str, paging: Paging) -> Page[SessionThreadMessage]:
    """List the messages of a thread in the order in which they were written; a closed thread has none."""
    stores = current()
    _, session = sessions.read(stores, namespace, session_id)
    return paging.page(
        threads.messages(stores, session, threads.find(stores, session_id, thread_id), paging.start),
        lambda passed: passed[1],
        position=lambda passed: passed[0],
    )
