"""Coral's payments: an agent's claims and its paid calls, and agents for rent. Atoll offers none of it.

Coral Server without a wallet answers 500 here; Atoll says 501, and why.
"""

import functools
from typing import NoReturn

from chalice.app import Blueprint, Request

from chalicelib.api.credentials import bearer
from chalicelib.api.routing import Extras, route
from chalicelib.domain import actors
from chalicelib.domain.errors import NotConfigured, Unauthorized
from chalicelib.stores import current

routes = Blueprint(__name__)

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
    _refuse()


def _refuse() -> NoReturn:
    raise NotConfigured("payments are not configured: this deployment has no wallet")


@_by_agent(path="/api/v1/agent-rpc/rental-claim")
def submit_rental_claim(request: Request) -> NoReturn:
    """Claim payment for rented work; the bearer is the agent's secret."""
    _of_agent(request)


@_by_agent(path="/api/v1/agent-rpc/x402")
def request_x402_proxy(request: Request) -> NoReturn:
    """Call a resource that is paid by x402; the bearer is the agent's secret."""
    _of_agent(request)


@route(routes, "POST", "/api/v1/agent-rental/reserve", authenticated=False, raises=(NotConfigured,))
def reserve_agents() -> NoReturn:
    """Reserve agents of this server for a remote session."""
    _refuse()


@route(routes, "GET", "/api/v1/agent-rental/wallet", authenticated=False, raises=(NotConfigured,))
def get_public_wallet() -> NoReturn:
    """Return the wallet that rent is paid to."""
    _refuse()


@route(routes, "GET", "/api/v1/agent-rental/catalog", authenticated=False, raises=(NotConfigured,))
def get_rental_agents() -> NoReturn:
    """List the agents for rent."""
    _refuse()
