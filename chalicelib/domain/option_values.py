"""Option values on their way to and from the table: encrypted there where one of an agent's is secret."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from chalicelib.store.agents import StoredOptions

if TYPE_CHECKING:
    from chalicelib.domain.options import ResolvedOptions
    from chalicelib.stores import Stores


def to_store(
    stores: "Stores", session_id: str, texts: Mapping[str, str], resolved: "Mapping[str, ResolvedOptions]"
) -> dict[str, StoredOptions]:
    """Return what is stored of the option values (JSON text) of a session's agents, by the agent's name."""
    return {
        agent: stores.seal(text, session_id=session_id, agent=agent) if resolved[agent].secret else text
        for agent, text in texts.items()
    }


def text_of(stores: "Stores", stored: StoredOptions | None, *, session_id: str, agent: str) -> str | None:
    """Return the option values of an agent as JSON text; ``None`` for one that has none.

    Raises `sealing.Unreadable` for values that this deployment cannot open.
    """
    return stores.opened(stored, session_id=session_id, agent=agent) if isinstance(stored, bytes) else stored
