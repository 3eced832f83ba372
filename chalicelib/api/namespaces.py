"""Namespaces over HTTP."""

from chalice.app import Blueprint

from chalicelib.api.paging import MAX_ANSWER_BYTES, Page, Paging
from chalicelib.api.routing import Extras, route
from chalicelib.domain import api_keys, namespaces, sessions, threads
from chalicelib.domain.errors import Forbidden, NotFound
from chalicelib.store.api_keys import ApiKeyRecord
from chalicelib.stores import current
from chalicelib.telemetry import note
from chalicelib.wire.namespaces import SessionNamespaceRequest, SessionNamespaceStateBase
from chalicelib.wire.sessions import SessionNamespaceStateExtended, SessionStateBase, SessionStateExtended

routes = Blueprint(__name__)

_NAMESPACES = "/api/v1/local/namespace"
_NAMESPACE = "/api/v1/local/namespace/{namespace}"


@route(routes, "POST", _NAMESPACES, raises=(Forbidden,), extras=Extras(links={"namespace": "$request.body#/name"}))
def create_namespace(body: SessionNamespaceRequest, caller: ApiKeyRecord) -> None:
    """Create a namespace."""
    note(namespace=body.name)
    api_keys.check_reach(caller, body.name)
    namespaces.create(current(), body)


@route(routes, "GET", _NAMESPACES)
def get_namespace_states(caller: ApiKeyRecord, paging: Paging) -> Page[SessionNamespaceStateBase]:
    """List the namespaces that the caller's key reaches."""
    return paging.page(
        namespaces.reached(current(), caller, start=paging.start),
        namespaces.state_of,
        position=lambda record: record.name,
        annotations=lambda record: record.annotations,
    )


@route(routes, "GET", f"{_NAMESPACES}/extended")
def get_namespace_states_extended(caller: ApiKeyRecord, paging: Paging) -> Page[SessionNamespaceStateExtended]:
    """List the namespaces that the caller's key reaches, with their sessions."""
    stores = current()
    return paging.page(
        namespaces.reached(stores, caller, start=paging.start),
        lambda record: sessions.namespace_with_sessions(
            stores, record, threads.Bounds(MAX_ANSWER_BYTES, paging.deadline_ms)
        ),
        position=lambda record: record.name,
        annotations=lambda record: record.annotations,
    )


@route(routes, "GET", _NAMESPACE)
def get_session_states(namespace: str, paging: Paging) -> Page[SessionStateBase]:
    """List the sessions of a namespace."""
    return paging.page(
        sessions.of_namespace(current(), namespace, start=paging.start, limit=paging.read_limit),
        sessions.state_of,
        position=lambda record: record.session_id,
        annotations=lambda record: record.annotations,
    )


@route(routes, "GET", f"{_NAMESPACE}/extended")
def get_session_states_extended(namespace: str, paging: Paging) -> Page[SessionStateExtended]:
    """List the sessions of a namespace with their agents and threads."""
    stores = current()
    return paging.page(
        sessions.of_namespace(stores, namespace, start=paging.start, limit=paging.read_limit),
        lambda record: sessions.extended_state_of(stores, record, threads.Bounds(MAX_ANSWER_BYTES, paging.deadline_ms)),
        position=lambda record: record.session_id,
        annotations=lambda record: record.annotations,
    )


@route(routes, "DELETE", f"{_NAMESPACES}/extended", raises=(Forbidden, NotFound))
def delete_namespace_extended(caller: ApiKeyRecord) -> None:
    """Delete the namespace named ``extended``: the path is the listing's only for GET."""
    note(namespace="extended")
    api_keys.check_reach(caller, "extended")
    namespaces.delete(current(), "extended")


@route(routes, "DELETE", _NAMESPACE)
def delete_namespace(namespace: str) -> None:
    """Close and remove all sessions of a namespace, then the namespace."""
    namespaces.delete(current(), namespace)
