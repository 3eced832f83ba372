"""Sessions over HTTP."""

from chalice.app import Blueprint

from chalicelib.api.http import route
from chalicelib.deployment import current
from chalicelib.domain import api_keys, sessions
from chalicelib.store.api_keys import ApiKeyRecord
from chalicelib.wire.sessions import (
    CreateIfNotExists,
    SessionIdentifier,
    SessionRequest,
    SessionRuntimeSettings,
    SessionStateBase,
    SessionStateExtended,
)

routes = Blueprint(__name__)

_SESSION = "/api/v1/local/session/{namespace}/{sessionId}"


@route(routes, "POST", "/api/v1/local/session")
def create_session(body: SessionRequest, caller: ApiKeyRecord) -> SessionIdentifier:
    """Create a session, and execute it unless that is deferred."""
    provider = body.namespace_provider
    name = provider.namespace_request.name if isinstance(provider, CreateIfNotExists) else provider.name
    api_keys.check_reach(caller, name)
    return sessions.create(current(), body)


@route(routes, "GET", _SESSION)
def get_session(namespace: str, session_id: str) -> SessionStateBase:
    """Return a session's base state."""
    return sessions.state(current(), namespace, session_id)


@route(routes, "POST", _SESSION)
def execute_session(namespace: str, session_id: str, body: SessionRuntimeSettings) -> None:
    """Execute a deferred session."""
    sessions.execute(current(), namespace, session_id, body)


@route(routes, "DELETE", _SESSION)
def close_session(namespace: str, session_id: str) -> None:
    """Close a session."""
    sessions.close(current(), namespace, session_id)


@route(routes, "GET", f"{_SESSION}/extended")
def get_extended_session(namespace: str, session_id: str) -> SessionStateExtended:
    """Return a session's state with its agents and threads."""
    return sessions.extended_state(current(), namespace, session_id)
