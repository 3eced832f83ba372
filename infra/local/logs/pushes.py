"""Pushes lines of the log to the sockets that follow it, a thread for each."""

import threading
from typing import TYPE_CHECKING, Any

from chalicelib.domain.api_keys import is_within
from chalicelib.wire.logs import LogFilter, LoggingEvent, NamespaceTag

if TYPE_CHECKING:
    from infra.local.services import LocalServices

#: How often a thread without lines looks whether its client is still there, in s.
LOOK_S = 1.0


class LogPushes:
    """The followers of the log among the sockets."""

    def __init__(self, services: "LocalServices") -> None:
        self._services = services

    def connected(self, connection_id: str) -> None:
        """Begin to push to a connection that was made."""
        threading.Thread(target=self._push, args=(connection_id,), name="log-pushes", daemon=True).start()

    def _push(self, connection_id: str) -> None:
        services = self._services
        wanted = dict(services.followers.of_topic("logs"))[connection_id]
        with services.ring.follow(_filter_of(wanted), int(str(wanted["limit"]))) as lines:
            while connection_id in services.sockets and not lines.closed:
                line = lines.next(LOOK_S)
                if line is not None and _reaches(wanted["reach"], line):
                    frame = line.model_dump_json(by_alias=True, exclude_none=True)
                    services.sockets.push({connection_id: [frame]})
        services.followers.remove("logs", connection_id)


def _filter_of(wanted: dict[str, Any]) -> LogFilter:
    given = {name: wanted[name] for name in ("namespace", "session", "agent") if name in wanted}
    return LogFilter(**given, allow_sensitive=wanted["allowSensitive"])


def _reaches(reach: Any, line: LoggingEvent) -> bool:
    """Return whether a key with this reach may see a line; one about no namespace is for those that reach all."""
    namespaces = [tag.namespace for tag in line.tags if isinstance(tag, NamespaceTag)]
    return all(is_within(reach, name) for name in namespaces) if namespaces else "*" in reach
