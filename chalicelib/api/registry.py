"""The registry over HTTP: Coral's reading of it, and Atoll's own adding and removing of agents."""

from typing import TYPE_CHECKING

from chalice.app import Blueprint

from chalicelib.api.paging import Page, Paging
from chalicelib.api.routing import Warned, route
from chalicelib.domain import registry
from chalicelib.domain.errors import BadRequest, Conflict, Forbidden, NotFound
from chalicelib.store.api_keys import ApiKeyRecord
from chalicelib.stores import current
from chalicelib.wire import registry as wire

if TYPE_CHECKING:
    from chalicelib.store.registry import RegistryAgentRecord

routes = Blueprint(__name__)

_AGENT = "/api/v1/registry/local/{agentName}/{agentVersion}"


@route(routes, "GET", "/api/v1/registry", filtered=False)
def get_registry_agents(paging: Paging) -> "Page[wire.AgentRegistrySource]":
    """List the registries and the agents in each: there is one, the local. A page is one of its agents."""
    source = registry.catalog(current())
    behind = (agent for agent in source.agents if paging.start is None or agent.name > paging.start)
    agents = paging.page(behind, lambda agent: agent, position=lambda agent: agent.name)
    return Page([source.model_copy(update={"agents": list(agents.shown)})], agents.cursor)


@route(routes, "GET", _AGENT)
def inspect_local_agent(agent_name: str, agent_version: str) -> "wire.RestrictedRegistryAgent":
    """Return all details of an agent of the local registry, but for the defaults of its secret options."""
    return _shown(registry.get(current(), agent_name, agent_version))


@route(routes, "PUT", _AGENT, content_types=("application/toml", "text/plain", "text/x-toml"), raises=(Forbidden,))
def put_local_agent(
    agent_name: str, agent_version: str, body: bytes, caller: ApiKeyRecord
) -> "Warned[wire.RestrictedRegistryAgent]":
    """Register an agent, or replace it, with the text of its ``coral-agent.toml``."""
    _check_all_namespaces(caller)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    record = registry.put(current(), text, agent_name, agent_version)
    return Warned(_shown(record), "; ".join(registry.warnings_of(current(), text, record)) or None)


@route(routes, "DELETE", _AGENT, raises=(Forbidden, Conflict))
def delete_local_agent(agent_name: str, agent_version: str, caller: ApiKeyRecord) -> None:
    """Remove an agent that no running session uses."""
    _check_all_namespaces(caller)
    registry.delete(current(), agent_name, agent_version)


@route(routes, "GET", "/api/v1/registry/marketplace/{agentName}/{agentVersion}")
def inspect_marketplace_agent(agent_name: str, agent_version: str) -> "wire.RestrictedRegistryAgent":
    """Answer as a server without a marketplace does."""
    raise NotFound.of_registry_agent(agent_name, agent_version, "no marketplace is configured")


@route(routes, "GET", "/api/v1/registry/linked/{linkedServerName}/{agentName}/{agentVersion}")
def inspect_linked_server_agent(
    linked_server_name: str, agent_name: str, agent_version: str
) -> "wire.RestrictedRegistryAgent":
    """Answer as a server without linked servers does."""
    raise NotFound.of_registry_agent(agent_name, agent_version, f"no server {linked_server_name!r} is linked")


def _shown(record: "RegistryAgentRecord") -> "wire.RestrictedRegistryAgent":
    return wire.RestrictedRegistryAgent(registry_agent=record.definition.shown())


def _check_all_namespaces(caller: ApiKeyRecord) -> None:
    # All namespaces share the registry: changing it changes what runs in each of them.
    if "*" not in caller.namespaces:
        raise Forbidden("this API key is limited to namespaces: it cannot change the registry, which all share")
