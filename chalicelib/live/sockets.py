"""The Lambda behind Coral's sockets: session events, the manager's events, and logs.

It is asked when a client connects; what a client sends later goes nowhere, as in Coral. API Gateway takes connections
at the stage only, so Coral's path comes in the query, as ``path``: a client puts it there, or what stands in front of a
stage; the local gateway does.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from chalice.app import Blueprint, Response

from chalicelib.api import cors, credentials, same_origin
from chalicelib.api.errors import mapping_errors
from chalicelib.domain import api_keys, following, quotas, roles, sign_ins
from chalicelib.domain.errors import NotFound, Unauthorized
from chalicelib.store.api_keys import ApiKeyRecord
from chalicelib.stores import Stores, current
from chalicelib.telemetry import about, request_id

lambdas = Blueprint(__name__)

Event = dict[str, Any]
Query = Mapping[str, str]

#: Coral's paths. Without a token in the path, a bearer token counts, or else the cookie.
_SESSION = re.compile(r"/ws/v1/events/(?:(?P<token>[^/]+)/)?session/(?P<namespace>[^/]+)/(?P<session>[^/]+)/?")
_LOGS = re.compile(r"/ws/v1/logs(?:/(?P<token>[^/]+))?/?")
_MANAGER = re.compile(r"/ws/v1/events/(?:(?P<token>[^/]+)/)?lsm/?")


@lambdas.lambda_function(name="sockets")
def sockets(event: Event, context: Any) -> Event:
    """Authenticate a connection that is to be made and note what it follows; any refusal comes before the upgrade."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}

    def connect() -> Response:
        query = event.get("queryStringParameters") or {}
        _follow(current(), event["requestContext"]["connectionId"], query, headers)
        return Response(body="", status_code=200)

    with about(request=request_id(context)):
        return dict(mapping_errors(connect)().to_dict())


def _follow(stores: Stores, connection_id: str, query: Query, headers: Mapping[str, str]) -> None:
    path = query.get("path", "")
    for pattern, follow in _TOPICS.items():
        if found := pattern.fullmatch(path):
            parts = {name: unquote(value) for name, value in found.groupdict().items() if value is not None}
            caller = _authenticated(stores, parts.get("token"), headers)
            quotas.count_request(stores, quotas.of_key(caller))
            roles.check(caller, roles.READERS, "following")
            follow(stores, caller, connection_id, parts, query)
            return
    raise NotFound(f"there is no socket at {path[:200]!r}")


def _authenticated(stores: Stores, token: str | None, headers: Mapping[str, str]) -> ApiKeyRecord:
    # CORS does not hold for sockets: any page may open one, to a local stack with a key that everybody knows too.
    if token is None or cors.allowed_origin(headers) is None:
        same_origin.check_page(headers)
    token = token or credentials.bearer_in(headers.get("authorization", "")) or None
    try:
        if token is not None:
            return api_keys.authenticate(stores, token)
        return sign_ins.authenticate(stores, credentials.in_cookie(headers.get("cookie", "")))
    except Unauthorized:
        # Coral's own words, by which its console knows what to do.
        raise Unauthorized("Unauthorized" if token is None else "Invalid token") from None


def _logs(stores: Stores, caller: ApiKeyRecord, connection_id: str, _: Query, query: Query) -> None:
    following.logs(stores, caller, connection_id, query)


def _session(stores: Stores, caller: ApiKeyRecord, connection_id: str, parts: Query, query: Query) -> None:
    where = parts["namespace"], parts["session"]
    following.session(stores, caller, connection_id, where, after=query.get("after"))


def _manager(stores: Stores, caller: ApiKeyRecord, connection_id: str, parts: Query, query: Query) -> None:
    following.manager(
        stores,
        caller,
        connection_id,
        namespace=query.get("namespaceFilter"),
        annotations=query.get("namespaceAnnotationFilters"),
    )


_TOPICS: dict[re.Pattern[str], Callable[[Stores, ApiKeyRecord, str, Query, Query], None]] = {
    _SESSION: _session,
    _MANAGER: _manager,
    _LOGS: _logs,
}
