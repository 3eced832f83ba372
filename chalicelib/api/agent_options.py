"""The options that travel to an agent as files: fetched by the container that runs before the agent's own."""

from chalice.app import Blueprint, Request, Response

from chalicelib.api.credentials import bearer
from chalicelib.api.routing import route
from chalicelib.domain import actors, option_values, options
from chalicelib.stores import current

routes = Blueprint(__name__)


@route(routes, "GET", "/api/v1/agent/options", authenticated=False, documented=False)
def get_agent_options(request: Request) -> Response:
    """Return an agent's files as a tar archive in base64; the bearer is the agent's secret."""
    stores = current()
    actor = actors.by_secret(stores, bearer(request))
    stored = stores.agents.options_of(actor.session_id, actor.name)
    text = option_values.text_of(stores, stored, session_id=actor.session_id, agent=actor.name)
    resolved = options.ResolvedOptions.from_json(text or "{}")
    return Response(body=options.archive(resolved), status_code=200, headers={"Content-Type": "text/plain"})
