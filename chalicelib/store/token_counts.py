"""``TOKENS`` of the session-items table: how many tokens each agent took by each of its proxies, up to a position.

A call of a model counts nothing: it is an entry of the log. A reader that needs the sums counts on from here, as
with `message_counts`.
"""

import dataclasses
import json
from collections.abc import Mapping

from chalicelib.store.items import Key
from chalicelib.store.table import Table

#: Input and output tokens by agent and the name of its proxy.
ByAgent = dict[str, dict[str, tuple[int, int]]]


@dataclasses.dataclass(frozen=True)
class Counted:
    """Tokens up to and with a position of the log."""

    position: int = 0
    by_agent: Mapping[str, Mapping[str, tuple[int, int]]] = dataclasses.field(default_factory=dict)


class TokenCounts:
    """The counts of tokens among a session's items."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def find(self, session_id: str) -> Counted:
        """Return the latest counts that were kept."""
        item = self._table.get(_key_of(session_id))
        if item is None:
            return Counted()
        kept = json.loads(item["counts"])
        by_agent = {
            name: {proxy: (tokens[0], tokens[1]) for proxy, tokens in each.items()} for name, each in kept.items()
        }
        return Counted(item["position"], by_agent)

    def keep(self, session_id: str, counted: Counted, *, expires_at: int) -> None:
        """Keep counts, unless later ones are kept already. 128 agents with 16 proxies each take some 150 KB."""
        text = json.dumps(counted.by_agent, separators=(",", ":"))
        self._table.put(
            {**_key_of(session_id), "position": counted.position, "counts": text, "expiresAt": expires_at},
            when="attribute_not_exists(#position) OR #position < :position",
            values={":position": counted.position},
        )


def _key_of(session_id: str) -> Key:
    return {"sessionId": session_id, "item": "TOKENS"}
