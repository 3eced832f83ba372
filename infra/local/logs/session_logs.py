"""The lines of a session as the API reads them, out of the ring."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator

from chalicelib.store.agents import AgentRecord
from chalicelib.wire.logs import AgentTag, LogFilter, LoggingEvent
from infra.local.logs.ring import Ring


class RingLogs:
    """The logs of sessions on this machine (`chalicelib.aws.session_logs.SessionLogs`)."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring

    def read(
        self, namespace: str, session_id: str, agent: str | None, after: str
    ) -> Iterator[tuple[str, LoggingEvent | None]]:
        """Read a session's lines from behind a cursor on: a position in the ring."""
        wanted = LogFilter(namespace, session_id, agent)
        # A cursor of a stage on AWS begins with a number too, and is none of this machine's.
        after = after.partition("-")[0]
        return ((str(position), event) for position, event in self._ring.read(wanted, int(after)))

    def last(self, namespace: str, session_id: str, limit: int) -> Callable[[AgentRecord], list[LoggingEvent] | None]:
        """Return what reads the last lines of an agent, those too that Atoll has logged of it.

        The ring is searched once; secrets were hidden before its lines went into it.
        """
        found: dict[str, deque[LoggingEvent]] = defaultdict(lambda: deque(maxlen=limit))
        for _, event in self._ring.read(LogFilter(namespace, session_id)):
            for tag in event.tags if event else ():
                if event and isinstance(tag, AgentTag):
                    found[tag.name].append(event)
        return lambda agent: list(found.get(agent.name, ()))
