"""How often an agent may call: a token bucket for each, in the memory of this process.

Counting costs no call of AWS, and what is refused none either: it is looked at as soon as the secret is proved. Each
process counts for itself, so an agent that is served by several at once may call as often at each of them.
"""

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from chalicelib.domain.agent_secrets import AgentIdentity

if TYPE_CHECKING:
    from chalicelib.stores import Stores

#: How many seconds' calls may come at once, after as long without one.
BURST_S = 2
#: How many agents a process remembers. Who is forgotten may call as if for the first time.
_MOST_REMEMBERED = 10_000

#: Of each agent how many calls it has left, and when (epoch ms) that was so.
_Buckets = dict[AgentIdentity, tuple[float, int]]
_buckets: "WeakKeyDictionary[Stores, _Buckets]" = WeakKeyDictionary()


def take(stores: "Stores", agent: AgentIdentity, calls: int = 1) -> bool:
    """Return whether an agent may make so many more calls now; those that it may not are not counted."""
    per_s, now_ms = stores.settings.mcp_calls_per_s, stores.clock.now_ms()
    if not per_s:
        return True
    buckets = _buckets.setdefault(stores, {})
    left, at_ms = buckets.get(agent, (per_s * BURST_S, now_ms))
    # A clock that was set back gives nothing, and takes nothing.
    left = min(per_s * BURST_S, left + max(0, now_ms - at_ms) / 1000 * per_s)
    allowed = calls <= left
    if len(buckets) >= _MOST_REMEMBERED:
        buckets.clear()
    buckets[agent] = (left - calls if allowed else left, now_ms)
    return allowed


def text(stores: "Stores") -> str:
    """Say what an agent is told that calls too often."""
    return f"at most {stores.settings.mcp_calls_per_s} MCP messages a second are taken of one agent: try again in 1 s"
