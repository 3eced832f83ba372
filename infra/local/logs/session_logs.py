"""The lines of a session as the API reads them, out of the ring."""

from collections.abc import Iterator

from chalicelib.wire.logs import LogFilter, LoggingEvent
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
