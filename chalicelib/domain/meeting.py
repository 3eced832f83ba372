"""Blocking agents wait for one another when they connect, so that none speaks before the others can hear."""

from typing import TYPE_CHECKING

from chalicelib.domain.actors import Actor
from chalicelib.store.agents import AgentRecord
from chalicelib.wire.threads import MAX_WAIT_MS

if TYPE_CHECKING:
    from chalicelib.stores import Stores


def wait_for_blocking(stores: "Stores", actor: Actor, deadline_ms: int) -> bool:
    """Wait until every blocking agent that links lead to has connected or is connecting; ``False`` if time ran out.

    An agent that has stopped is not waited for: it will not connect any more.
    """
    end_ms = min(deadline_ms, stores.clock.now_ms() + MAX_WAIT_MS)
    looks = stores.looks(actor.session_id, end_ms)
    return any(not missing(stores.agents.of_session(actor.session_id), actor.name) for _ in looks)


def missing(agents: list[AgentRecord], name: str) -> list[str]:
    """Return the blocking agents that have not connected yet and that links lead to from this one.

    As in Coral, links are followed on from blocking agents alone: what is behind another one is not waited for.
    """
    by_name = {agent.name: agent for agent in agents}
    reached, front = {name}, [name]
    while front:
        agent = by_name.get(front.pop())
        for link in agent.links if agent and (agent.blocking or agent.name == name) else ():
            if link not in reached:
                reached.add(link)
                front.append(link)
    return [
        agent.name
        for agent in agents
        if agent.name in reached and agent.blocking and agent.connected_at_ms is None and agent.status != "stopped"
    ]
