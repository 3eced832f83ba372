"""Pushes lines of the log to the sockets that follow it, a thread for each."""

import threading
from typing import TYPE_CHECKING

from chalicelib.domain import following

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
        with services.ring.follow(following.log_filter(wanted), int(str(wanted["limit"]))) as lines:
            while connection_id in services.sockets and not lines.closed:
                line = lines.next(LOOK_S)
                if line is not None and following.reaches_line(wanted, line):
                    frame = line.model_dump_json(by_alias=True, exclude_none=True)
                    services.sockets.push({connection_id: [frame]})
        services.followers.remove("logs", connection_id)
