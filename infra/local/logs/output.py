"""What the agents on this machine print: with its secrets hidden it goes into the ring, and to the followers."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from chalicelib.aws.errors import is_aws_error
from chalicelib.domain import agent_secrets, masks
from chalicelib.wire.logs import InfoEvent, Io, WarningEvent, tags_of
from infra.local.logs.ring import Ring

if TYPE_CHECKING:
    from chalicelib.store.agents import AgentRecord
    from chalicelib.stores import Stores

#: Takes a line of a process: where it was written, the line.
TakeLine = Callable[[Io, str], None]


class SecretsUnknown(Exception):
    """What is to be hidden in the output of an agent cannot be read."""


class AgentOutput:
    """Takes the lines of every container."""

    def __init__(
        self,
        ring: Ring,
        stores: "Callable[[], Stores]",
        show: Callable[[str, str], None],
        labelled: Callable[[str, str], str] | None = None,
    ) -> None:
        """
        Parameters
        ----------
        show
            Takes the label of a container and each line that it writes.
        labelled
            Makes the label of an agent's container out of the agent's name and the id of its session.
        """
        self._labelled = labelled
        self._ring = ring
        self._stores = stores
        self._show = show

    def write(self, agent: "AgentRecord", lines: Sequence[str], *, failed: bool = False) -> None:
        """Take lines of an agent that has no process, its secrets hidden (`chalicelib.aws.agent_lines.AgentLines`)."""
        kind = WarningEvent if failed else InfoEvent
        tags = tags_of(agent.namespace, agent.session_id, agent.name, "error" if failed else "out")
        for line in lines:
            self._ring.append(kind(timestamp=time.time_ns() // 1_000_000, text=line, tags=tags))
            self._show(agent.name, line)

    def of(self, label: str, environment: Mapping[str, str]) -> TakeLine:
        """Return what takes the lines of a container, which is an agent's if its environment has an agent's secret.

        Raises `SecretsUnknown`.
        """
        agent = agent_secrets.parse(environment.get("CORAL_AGENT_SECRET", ""))
        if agent is None:
            nothing = masks.Mask()
            return lambda _, line: self._show(label, nothing.applied(line))
        mask, shown_as = self._mask_of(agent), self._label_of(label, agent)
        out, errors = tags_of(*agent, "out"), tags_of(*agent, "error")

        def take(io: Io, line: str) -> None:
            text, now_ms = mask.applied(line), time.time_ns() // 1_000_000
            if io == "out":
                self._ring.append(InfoEvent(timestamp=now_ms, text=text, tags=out))
            else:
                self._ring.append(WarningEvent(timestamp=now_ms, text=text, tags=errors))
            self._show(shown_as, text)

        return take

    def _label_of(self, label: str, agent: agent_secrets.AgentIdentity) -> str:
        return label if self._labelled is None else self._labelled(agent.agent, agent.session_id)

    def _mask_of(self, agent: agent_secrets.AgentIdentity) -> masks.Mask:
        try:
            mask = masks.of_agent(self._stores(), agent.session_id, agent.agent)
        except Exception as error:
            if not is_aws_error(error):
                raise
            mask = None
        if mask is None:
            raise SecretsUnknown("the values of its options, which are to be hidden in its output, cannot be read")
        return mask
