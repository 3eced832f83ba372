"""The agents' MCP endpoint behind API Gateway: where a wait must end before the gateway does."""

from chalice.app import Blueprint, Request, Response

from chalicelib.api.routing import route
from chalicelib.stores import current

routes = Blueprint(__name__)

_ENDPOINT = "/mcp/v1/{agentSecret}/mcp"


@route(routes, "POST", _ENDPOINT, authenticated=False, documented=False, limited=False)
def post_to_mcp(agent_secret: str, request: Request) -> Response:
    """Serve an agent's MCP message."""
    return _serve(agent_secret, request)


@route(routes, "GET", _ENDPOINT, authenticated=False, documented=False, limited=False)
def get_from_mcp(agent_secret: str, request: Request) -> Response:
    """Resume a paused wait; refuse any other stream."""
    return _serve(agent_secret, request)


@route(routes, "DELETE", _ENDPOINT, authenticated=False, documented=False, limited=False)
def delete_from_mcp(agent_secret: str, request: Request) -> Response:
    """Refuse to end a session of the transport: there are no such sessions."""
    return _serve(agent_secret, request)


def _serve(agent_secret: str, request: Request) -> Response:
    # Not at the top: the protocol's models take a quarter of a second, and every other route can do without them.
    from chalicelib.mcp import endpoint

    headers = {name.lower(): value for name, value in request.headers.items()}
    raw = request.raw_body or b""
    body = raw if isinstance(raw, bytes) else raw.encode()
    answer = endpoint.handle(current(), endpoint.Request(request.method, agent_secret, headers, body))
    return Response(body=answer.body.decode(), status_code=answer.status, headers=dict(answer.headers))
