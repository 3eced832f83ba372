"""Namespaces over HTTP."""

from chalice.app import Blueprint

from chalicelib.api.http import route
from chalicelib.deployment import current
from chalicelib.domain import api_keys, namespaces, sessions
from chalicelib.store.api_keys import ApiKeyRecord
from chalicelib.store.namespaces import NamespaceRecord
from chalicelib.wire.namespaces import SessionNamespaceRequest, SessionNamespaceStateBase
from chalicelib.wire.sessions import SessionNamespaceStateExtended, SessionStateBase, SessionStateExtended

routes = Blueprint(__name__)

_NAMESPACES = "/api/v1/local/namespace"
_NAMESPACE = "/api/v1/local/namespace/{namespace}"


@route(routes, "POST", _NAMESPACES)
def create_namespace(body: SessionNamespaceRequest, caller: ApiKeyRecord) -> None:
    """Create a namespace."""
    api_keys.check_reach(caller, body.name)
    namespaces.create(current(), body)


@route(routes, "GET", _NAMESPACES)
def list_namespaces(caller: ApiKeyRecord) -> list[SessionNamespaceStateBase]:
    """List the namespaces that the caller's key reaches."""
    return [namespaces.state_of(record) for record in _reached(caller)]


@route(routes, "GET", f"{_NAMESPACES}/extended")
def list_extended_namespaces(caller: ApiKeyRecord) -> list[SessionNamespaceStateExtended]:
    """List the namespaces that the caller's key reaches, with their sessions."""
    return [sessions.namespace_with_sessions(current(), record) for record in _reached(caller)]


@route(routes, "GET", _NAMESPACE)
def list_sessions(namespace: str) -> list[SessionStateBase]:
    """List the sessions of a namespace."""
    atoll = current()
    now_ms = atoll.clock.now_ms()
    return [sessions.state_of(record, now_ms) for record in sessions.of_namespace(atoll, namespace)]


@route(routes, "GET", f"{_NAMESPACE}/extended")
def list_extended_sessions(namespace: str) -> list[SessionStateExtended]:
    """List the sessions of a namespace with their agents and threads."""
    atoll = current()
    return [sessions.extended_state_of(atoll, record) for record in sessions.of_namespace(atoll, namespace)]


@route(routes, "DELETE", _NAMESPACE)
def delete_namespace(namespace: str) -> None:
    """Close and remove all sessions of a namespace, then the namespace."""
    namespaces.delete(current(), namespace)


def _reached(caller: ApiKeyRecord) -> list[NamespaceRecord]:
    found = (record for record in current().namespaces.all() if not record.forced)
    return sorted((record for record in found if api_keys.reaches(caller, record.name)), key=lambda record: record.name)
