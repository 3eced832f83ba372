"""Coral's payments: an agent's claims and its paid calls, and agents for rent. Atoll offers none of it.

Like a Coral Server without a wallet: it has none to name (403), and nothing for rent (an empty list, 404). What that
server answers with 500, a claim and a paid call, is a 501 that says why.
"""

import functools
from typing import NoReturn

from chalice.app import Blueprint, Request

from chalicelib.api.credentials import bearer
from chalicelib.api.paging import Page
from chalicelib.api.routing import Extras, route
from chalicelib.domain import actors
from chalicelib.domain.errors import Forbidden, NotConfigured, NotFound, Unauthorized
from chalicelib.stores import current
from chalicelib.wire import registry as wire

routes = Blueprint(__name__)

_NO_WALLET = "payments are not configured: this deployment has no wallet"

#: Registers a POST whose credential is an agent's secret.
_by_agent = functools.partial(
    route,
    routes,
    "POST",
    authenticated=False,
    raises=(Unauthorized, NotConfigured),
    extras=Extras(security="agentSecret"),
)


def _of_agent(request: Request) -> NoReturn:
    actors.by_secret(current(), bearer(request))
    raise NotConfigured(_NO_WALLET)


@_by_agent(path="/api/v1/agent-rpc/rental-claim")
def submit_rental_claim(request: Request) -> NoReturn:
    """Claim payment for rented work; the bearer is the agent's secret."""
    _of_agent(request)


@_by_agent(path="/api/v1/agent-rpc/x402")
def request_x402_proxy(request: Request) -> NoReturn:
    """Call a resource that is paid by x402; the bearer is the agent's secret."""
    _of_agent(request)


@route(routes, "POST", "/api/v1/agent-rental/reserve", authenticated=False, raises=(NotFound,))
def reserve_agents() -> NoReturn:
    """Reserve agents of this server for a remote session."""
    raise NotFound("no agent of this deployment is for rent")


@route(routes, "GET", "/api/v1/agent-rental/wallet", authenticated=False, raises=(Forbidden,))
def get_public_wallet() -> NoReturn:
    """Return the wallet that rent is paid to."""
    raise Forbidden(_NO_WALLET)


@route(routes, "GET", "/api/v1/agent-rental/catalog", authenticated=False)
def get_rental_agents() -> "Page[wire.PublicRestrictedRegistryAgent]":
    """List the agents for rent: there are none."""
    return Page([], None)
