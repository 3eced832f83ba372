"""Sessions over HTTP."""

from chalice.app import Blueprint, Request

from chalicelib.api.body import bytes_of
from chalicelib.api.paging import MAX_ANSWER_BYTES, TIME_LIMIT_MS
from chalicelib.api.routing import Extras, Warned, route
from chalicelib.domain import api_keys, quotas, sessions, threads
from chalicelib.domain.errors import Conflict, Forbidden, NotFound, TooLarge
from chalicelib.domain.idempotency import Claim
from chalicelib.store.api_keys import ApiKeyRecord
from chalicelib.stores import current
from chalicelib.telemetry import note
from chalicelib.wire import requests
from chalicelib.wire.sessions import (
    SessionIdentifier,
    SessionRuntimeSettings,
    SessionStateBase,
    SessionStateExtended,
)

routes = Blueprint(__name__)

_SESSION = "/api/v1/local/session/{namespace}/{sessionId}"

_NOBODY_PAYS = "x402Budgets: nobody pays, this deployment has no wallet; an answer of 402 is refused"

_CREATE = Extras(
    parameters=[
        {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "The same key and body give the same session for 24 hours.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
        }
    ],
    body_example={
        "agentGraphRequest": {
            "agents": [
                {
                    "id": {"name": "echo", "version": "1.0.0", "registrySourceId": {"type": "local"}},
                    "name": "bob",
                    "provider": {"type": "local", "runtime": "executable"},
                }
            ]
        },
        "namespaceProvider": {"type": "create_if_not_exists", "namespaceRequest": {"name": "first"}},
        "execution": {
            "mode": "immediate",
            "runtimeSettings": {"ttl": 600_000, "persistenceMode": {"mode": "hold_after_exit", "duration": 60_000}},
        },
    },
    links={"namespace": "$response.body#/namespace", "sessionId": "$response.body#/sessionId"},
)


@route(routes, "POST", "/api/v1/local/session", raises=(Forbidden, NotFound, Conflict), extras=_CREATE)
def create_session(
    body: "requests.SessionRequest", caller: ApiKeyRecord, request: Request
) -> Warned[SessionIdentifier]:
    """Create a session, and execute it unless that is deferred.

    With an ``Idempotency-Key`` the same request creates one session in 24 hours, however often it is sent.
    """
    provider = body.namespace_provider
    name = provider.namespace_request.name if isinstance(provider, requests.CreateIfNotExists) else provider.name
    note(namespace=name)
    api_keys.check_reach(caller, name)
    of_namespace = quotas.of_namespace(current(), name)
    quotas.count_request(current(), of_namespace)
    key = request.headers.get("idempotency-key")
    claim = None if key is None else Claim.of(caller.key_hash, str(key), bytes_of(request))
    created = sessions.create(current(), body, claim, [*quotas.of_key(caller), *of_namespace])
    note(session=created.session_id)
    pays = any(agent.x402_budgets for agent in body.agent_graph_request.agents)
    return Warned(created, _NOBODY_PAYS if pays else None)


@route(routes, "GET", _SESSION)
def get_session_state(namespace: str, session_id: str) -> SessionStateBase:
    """Return a session's base state."""
    return sessions.state(current(), namespace, session_id)


@route(routes, "POST", _SESSION)
def execute_deferred_session(namespace: str, session_id: str, body: SessionRuntimeSettings) -> None:
    """Execute a deferred session."""
    sessions.execute(current(), namespace, session_id, body)


@route(routes, "DELETE", _SESSION)
def close_session(namespace: str, session_id: str) -> None:
    """Close a session."""
    sessions.close(current(), namespace, session_id)


@route(routes, "GET", f"{_SESSION}/extended", raises=(TooLarge,))
def get_session_state_extended(namespace: str, session_id: str) -> SessionStateExtended:
    """Return a session's state with its agents and threads."""
    stores = current()
    bounds = threads.Bounds(MAX_ANSWER_BYTES, stores.clock.now_ms() + TIME_LIMIT_MS)
    return sessions.extended_state(stores, namespace, session_id, bounds)
