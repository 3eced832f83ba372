"""How many tokens the agents of a session took of their models: counted in its log, where each call is an entry."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from chalicelib.domain.errors import TryLater
from chalicelib.store.agents import AgentRecord
from chalicelib.store.sessions import SessionRecord
from chalicelib.store.token_counts import ByAgent, Counted
from chalicelib.wire.agents import TokenUsage
from chalicelib.wire.llm_proxy import ResolvedProxy

if TYPE_CHECKING:
    from chalicelib.stores import Stores

#: By ``provider/model``.
Tokens = Mapping[str, TokenUsage]

#: A reader that has read so many entries keeps the sums for the next one.
COUNTED_ANEW = 500
#: How long a session that has ended is read for its end report and its history; beyond that they have no sums.
LONGEST_MS = 30_000


def reader(stores: "Stores", session: SessionRecord, deadline_ms: int) -> Callable[[AgentRecord], Tokens]:
    """Return what counts the tokens of an agent of a session; the log is read for the first one that has a model.

    It raises `TryLater` when that takes past a time (epoch ms), and the next one goes on from there.
    """
    counted = cache(lambda: _counted(stores, session, deadline_ms))

    def of(agent: AgentRecord) -> Tokens:
        if not agent.proxies:
            return {}
        found = counted()
        if found is None:
            raise TryLater("the tokens of the session are still being counted")
        return _by_model(agent, found)

    return of


def at_the_end(stores: "Stores", session: SessionRecord) -> Callable[[AgentRecord], Tokens]:
    """Return what counts the tokens of an agent of a session that is over: none where that takes too long."""
    counted = cache(lambda: _counted(stores, session, stores.clock.now_ms() + LONGEST_MS) or {})
    return lambda agent: _by_model(agent, counted()) if agent.proxies else {}


def _by_model(agent: AgentRecord, counts: ByAgent) -> Tokens:
    found: dict[str, TokenUsage] = {}
    for name, (read, written) in counts.get(agent.name, {}).items():
        if (proxy := (agent.proxies or {}).get(name)) is not None:
            key = ResolvedProxy.model_validate(proxy).model_key
            before = found.get(key, TokenUsage())
            found[key] = TokenUsage(
                input_tokens=before.input_tokens + read, output_tokens=before.output_tokens + written
            )
    return found


def _counted(stores: "Stores", session: SessionRecord, deadline_ms: int) -> ByAgent | None:
    """Go on counting from where somebody counted last; ``None`` when that takes too long."""
    kept, is_live = stores.token_counts.find(session.session_id), session.status != "closing"
    counts: ByAgent = defaultdict(dict, {name: dict(each) for name, each in kept.by_agent.items()})
    position, late = kept.position, False
    for entry in stores.log.read(session.session_id, position + 1, live=is_live):
        position, event = entry.position, entry.event
        if event["type"] == "llm_proxy_call":
            of_agent, name, usage = counts[event["agentName"]], event["providerRequestName"], event["usage"]
            read, written = of_agent.get(name, (0, 0))
            of_agent[name] = read + usage.get("inputTokens", 0), written + usage.get("outputTokens", 0)
        if late := stores.clock.now_ms() > deadline_ms:
            break
    if is_live and (late or position - kept.position > COUNTED_ANEW):
        stores.token_counts.keep(session.session_id, Counted(position, counts), expires_at=session.expires_at)
    return None if late else counts
