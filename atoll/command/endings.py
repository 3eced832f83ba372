"""How a session ended, in words and as the exit code of a command that has followed it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from atoll.models import HistoricSession


class Ending(NamedTuple):
    """One way to end."""

    code: int
    words: str


ENDINGS: Mapping[str, Ending] = {
    "agents_exited": Ending(0, "its agents have exited"),
    "closed_by_agent": Ending(0, "an agent has closed it"),
    "ttl": Ending(10, "its time was up"),
    "closed_by_user": Ending(11, "a user has closed it"),
    "failed": Ending(12, "it failed"),
    "namespace_deleted": Ending(13, "its namespace was deleted"),
    "budget_reached": Ending(15, "its budget was reached"),
}

#: Its agents have ended it, and one of them never connected: its program is not there, say, or crashed at once.
NOT_CONNECTED = 14

#: The session is over, and there is no history of it.
UNKNOWN = Ending(0, "there is no history of it")


def ending_of(session: "HistoricSession | None", not_connected: Sequence[str] = ()) -> Ending:
    """Return how a session ended, of which some agents never connected."""
    if session is None:
        return UNKNOWN
    ending = ENDINGS.get(session.reason, Ending(1, session.reason))
    if ending.code == 0 and not_connected:
        return Ending(NOT_CONNECTED, f"{ending.words}; never connected: {', '.join(not_connected)}")
    return ending
