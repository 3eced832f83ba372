"""The graph of agents that a session is made of: checked whole before anything is written."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from chalicelib.domain import options, proxies, registry
from chalicelib.domain.errors import BadRequest, TooLarge
from chalicelib.store.agents import AgentRecord
from chalicelib.store.items import size_of
from chalicelib.store.namespaces import NamespaceRecord
from chalicelib.store.registry import RegistryAgentRecord
from chalicelib.wire.custom_tools import CORAL_TOOL_NAMES
from chalicelib.wire.graph import AgentGraphRequest, GraphAgentRequest, LocalProvider
from chalicelib.wire.llm_proxy import ModelOffer

if TYPE_CHECKING:
    from chalicelib.stores import Stores

#: Largest definition of one agent as it is stored: DynamoDB's item limit of 400 KB less what the item needs besides.
MAX_AGENT_BYTES = 380_000

#: Largest size of all groups together: they are in the session's record, with annotations and settings.
MAX_GROUPS_BYTES = 200_000

#: The registry's agent of each agent of a graph, in the graph's order.
Registered = Sequence[RegistryAgentRecord]


def read(
    stores: "Stores", namespace: str, graph: AgentGraphRequest
) -> tuple[NamespaceRecord | None, list[RegistryAgentRecord]]:
    """Read the namespace and all registry agents that a graph names, in one call.

    Raises `BadRequest` for an agent that is not in the registry, and for a provider that is not offered.
    """
    for agent in graph.agents:
        if not isinstance(agent.provider, LocalProvider):
            raise BadRequest(
                f"the agent {agent.name!r} asks for the provider {agent.provider.type!r}: only 'local' is offered"
            )
    identifiers = [agent.id for agent in graph.agents]
    registry.check_sources(identifiers)
    found, records = stores.reads.graph(namespace, [(each.name, each.version) for each in identifiers])
    return found, registry.all_of(stores, identifiers, records)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A valid graph, checked but for the size of its definitions."""

    graph: AgentGraphRequest
    links: Mapping[str, list[str]]
    options: Mapping[str, options.ResolvedOptions]
    descriptions: Mapping[str, str | None]
    #: The models that each agent got, in wire form by the names of its proxies.
    proxies: Mapping[str, dict[str, dict[str, str]]] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def tools(self) -> Mapping[str, str]:
        """The custom tools that its agents may call, by name, as JSON texts.

        Raises `TooLarge` for one that no item can hold.
        """
        named = dict.fromkeys(name for agent in self.graph.agents for name in agent.custom_tool_access)
        found = {name: json.dumps(self.graph.custom_tools[name].to_wire()) for name in named}
        for name, tool in found.items():
            if len(tool) > MAX_AGENT_BYTES:
                raise TooLarge(f"the custom tool {name!r} has {len(tool)} bytes: at most {MAX_AGENT_BYTES} are stored")
        return found

    def records(
        self, namespace: str, session_id: str, *, created_at_ms: int, expires_at: int
    ) -> tuple[list[AgentRecord], dict[str, str]]:
        """Return the agents' records for a session, and apart from them their option values.

        Raises `TooLarge` for an agent that no item can hold.
        """
        records = [
            AgentRecord(
                session_id=session_id,
                namespace=namespace,
                name=agent.name,
                position=position,
                registry_agent_identifier=agent.id.to_wire(),
                runtime=agent.provider.runtime,
                expires_at=expires_at,
                created_at_ms=created_at_ms,
                description=self.descriptions[agent.name],
                system_prompt=agent.system_prompt,
                blocking=bool(agent.blocking),
                links=self.links[agent.name],
                annotations=agent.annotations,
                custom_tool_names=list(dict.fromkeys(agent.custom_tool_access)),
                plugins=[plugin.type for plugin in agent.plugins],
                x402_budgets=_x402_budgets(agent),
                has_options=True if self.options[agent.name] else None,
                proxies=self.proxies.get(agent.name) or None,
            )
            for position, agent in enumerate(self.graph.agents)
        ]
        option_values = {name: resolved.to_json() for name, resolved in self.options.items() if resolved}
        for record in records:
            _refuse_too_large(record, option_values.get(record.name, ""))
        return records, option_values


def plan(stores: "Stores", graph: AgentGraphRequest, registered: Registered) -> Plan:
    """Check a graph against the contract ("Sessions") and the registry.

    Raises `BadRequest` naming what is wrong, `TooLarge` for groups that no item can hold.
    """
    names = [agent.name for agent in graph.agents]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadRequest(f"agent names must differ: {', '.join(map(repr, twice))} comes more than once")
    if (size := size_of(graph.groups)) > MAX_GROUPS_BYTES:
        raise TooLarge(f"the groups have {size} bytes: at most {MAX_GROUPS_BYTES} are stored")
    for tool in graph.custom_tools:
        if not tool or tool in CORAL_TOOL_NAMES:
            raise BadRequest(f"customTools: a tool cannot have the name {tool!r}: it is empty, or one of Coral's own")
    for group in graph.groups:
        _refuse_unknown("a group", group, names)
    for agent in graph.agents:
        _refuse_unknown(f"customToolAccess of the agent {agent.name!r}", agent.custom_tool_access, graph.custom_tools)
    pairs = list(zip(graph.agents, registered, strict=True))
    resolved = {agent.name: _resolve(stores, agent, record) for agent, record in pairs}
    descriptions = {agent.name: agent.description or record.definition.info.description for agent, record in pairs}
    # Read once, and only for a graph that needs a model.
    offers = functools.cache(lambda: stores.model_offers.all())  # noqa: PLW0108, the store is loaded on use
    models = {agent.name: _models(offers, agent, record) for agent, record in pairs}
    return Plan(graph, links_of(names, graph.groups), resolved, descriptions, models)


def _x402_budgets(agent: GraphAgentRequest) -> str | None:
    return json.dumps([budget.to_wire() for budget in agent.x402_budgets]) if agent.x402_budgets else None


def links_of(names: list[str], groups: list[list[str]]) -> dict[str, list[str]]:
    """Link every two agents that share a group, both ways; the order is the graph's."""
    together: dict[str, set[str]] = {name: set() for name in names}
    for group in groups:
        for name in group:
            together[name].update(group)
    return {name: [other for other in names if other != name and other in linked] for name, linked in together.items()}


def _refuse_unknown(where: str, named: list[str], known: Mapping[str, object] | list[str]) -> None:
    if unknown := [name for name in dict.fromkeys(named) if name not in known]:
        raise BadRequest(f"{where} names what is not in the graph: {', '.join(map(repr, unknown))}")


def _resolve(stores: "Stores", agent: GraphAgentRequest, record: RegistryAgentRecord) -> options.ResolvedOptions:
    registry.runtime_of(stores, record.definition, agent.provider.runtime)
    return options.resolve(record.definition, agent.name, agent.options)


def _models(
    offers: Callable[[], list[ModelOffer]], agent: GraphAgentRequest, record: RegistryAgentRecord
) -> dict[str, dict[str, str]]:
    llm = record.definition.llm
    if llm is None or not llm.proxies:
        return {}
    found = proxies.resolve(offers(), agent.name, llm.proxies, agent.proxies)
    return {name: proxy.to_wire() for name, proxy in found.items()}


def _refuse_too_large(agent: AgentRecord, option_values: str) -> None:
    size = max(agent.item_bytes, size_of(option_values))
    if size > MAX_AGENT_BYTES:
        raise TooLarge(
            f"the definition of the agent {agent.name!r} has {size} bytes: at most {MAX_AGENT_BYTES} are stored"
        )
