"""The services of the handlers on one machine."""

import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any

from chalicelib.aws.connections import Connections
from chalicelib.services import Services
from chalicelib.settings import Settings
from infra.local.api_gateway.sockets import Sockets
from infra.local.functions.children import Children
from infra.local.logs.output import AgentOutput
from infra.local.logs.ring import Ring
from infra.local.logs.session_logs import RingLogs
from infra.local.waiting import SessionWatch, Watches

Event = dict[str, Any]


class LocalServices(Services):
    """The services of the handlers: their clients are made once, and waits end when something happens."""

    def __init__(
        self,
        settings: Settings,
        watches: Watches,
        follow: Callable[[str, Any], None],
        *,
        sockets: Sockets,
        ring: Ring,
        output: AgentOutput,
    ) -> None:
        """
        Parameters
        ----------
        sockets
            The connections that events are pushed to.
        follow
            Takes a service's name and its client when that is made.
        ring
            The logs of this machine.
        output
            Takes what agents print.
        """
        super().__init__(settings)
        self.ring = ring
        self._output = output
        self._watches = watches
        self.sockets = sockets
        self._follow = follow
        self._clients: dict[str, Any] = {}
        self._lock = threading.RLock()

    def client(self, service: str) -> Any:
        """Return the boto3 client of a service; making one is not safe beside another thread, using it is."""
        with self._lock:
            if service not in self._clients:
                client = self._clients[service] = super().client(service)
                self._follow(service, client)
            return self._clients[service]

    @property
    def connections(self) -> Connections:
        """The connections of the local gateway."""
        return self.sockets

    def watch(self, session_id: str, cares: Callable[[Event], bool] | None = None) -> SessionWatch:
        """Return a pause that ends when something is written to the session, or an event that the waiter cares for."""
        return self._watches.of(session_id, cares)

    @cached_property
    def agent_functions(self) -> Children:
        """Agents' functions, as processes."""
        return Children(self._output, self.settings.turn_limit_ms / 1000)

    @cached_property
    def agent_lines(self) -> AgentOutput:
        """The lines of agents that have no process."""
        return self._output

    def close(self) -> None:
        """End the processes of agents' functions."""
        if "agent_functions" in self.__dict__:
            self.agent_functions.close()

    @cached_property
    def session_logs(self) -> RingLogs:
        """The lines of a session, those too that Atoll itself logs."""
        return RingLogs(self.ring)
