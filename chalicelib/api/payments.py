"""Coral's payments: an agent's claims and its paid calls, and agents for rent.

Claims are booked to budgets, which are Atoll's own. Like a Coral Server without a wallet it has none to name (403),
nothing for rent (an empty list, 404), and pays nobody.
"""

import functools
from typing import NoReturn

from chalice.app import Blueprint, Request

from chalicelib.api.paging import Page
from chalicelib.api.routing import Extras, route
from chalicelib.domain import actors, rental_claims
from chalicelib.domain.errors import BadGateway, Conflict, Forbidden, NotConfigured, NotFound, Unauthorized
from chalicelib.stores import current
from chalicelib.wire import payments as wire
from chalicelib.wire import registry

routes = Blueprint(__name__)

_NO_WALLET = "payments are not configured: this deployment has no wallet"

#: Registers a POST whose credential is an agent's secret.
_by_agent = functools.partial(route, routes, "POST", authenticated=False)

_CLAIM = Extras(
    security="agentSecret",
    parameters=[
        {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "The same key and amount of the same agent are booked once.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
        }
    ],
    body_example={"amount": {"type": "usd", "amount": 0.25}},
)


@_by_agent(path="/api/v1/agent-rpc/rental-claim", raises=(Unauthorized, Conflict, NotFound), extras=_CLAIM)
def submit_rental_claim(
    actor: "actors.Actor", body: "wire.AgentPaymentClaimRequest", request: Request
) -> "wire.AgentRemainingBudget":
    """Claim payment for work; the bearer is the agent's secret.

    The amount is booked to the budgets of the agent and of its session. A claim beyond them is refused, and nothing is
    booked.
    """
    key = request.headers.get("idempotency-key")
    return rental_claims.claim(current(), actor, body.amount, None if key is None else str(key))


@_by_agent(
    path="/api/v1/agent-rpc/x402",
    raises=(Unauthorized, BadGateway, NotConfigured),
    extras=Extras(security="agentSecret"),
)
def request_x402_proxy(actor: "actors.Actor", body: "wire.X402ProxyRequest") -> "wire.X402ProxiedResponse":
    """Call a resource that may ask to be paid by x402; the bearer is the agent's secret.

    Nobody pays: an answer of 402 is a 400.
    """
    # Not at the top, like what it calls: the one call of a REST request to a server that an agent names (rule 1).
    from chalicelib import services
    from chalicelib.reactions import x402

    return x402.forward(services.current(), actor, body)


@route(routes, "POST", "/api/v1/agent-rental/reserve", authenticated=False, raises=(NotFound,))
def reserve_agents() -> NoReturn:
    """Reserve agents of this server for a remote session."""
    raise NotFound("no agent of this deployment is for rent")


@route(routes, "GET", "/api/v1/agent-rental/wallet", authenticated=False, raises=(Forbidden,))
def get_public_wallet() -> NoReturn:
    """Return the wallet that rent is paid to."""
    raise Forbidden(_NO_WALLET)


@route(routes, "GET", "/api/v1/agent-rental/catalog", authenticated=False)
def get_rental_agents() -> "Page[registry.PublicRestrictedRegistryAgent]":
    """List the agents for rent: there are none."""
    return Page([], None)
