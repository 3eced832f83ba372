"""What an agent of Atoll's own has in a turn: the turn itself, and the tools of its session."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chalicelib.domain.actors import Actor
from chalicelib.wire.turns import TurnInput

if TYPE_CHECKING:
    from chalicelib.stores import Stores

#: How long (ms) a tool that waits may wait in a turn: none of these agents waits so.
LONGEST_WAIT_MS = 0

#: The longest pause (ms) that is slept through in a turn; a longer one is a wait, and another turn goes on after it.
LONGEST_SLEEP_MS = 2_000

#: How long (ms) a turn goes on before it leaves the rest to the next.
TURN_MS = 10_000


class ToolRefused(Exception):
    """The session would not do what a call of a tool asked for; the text is its reason."""


class Stopped(Exception):
    """The agent was ended during its turn, or its session was: what the turn would still do is not done."""


class Here:
    """A turn of an agent, in the process that answers it."""

    def __init__(self, stores: "Stores", actor: Actor, turn: TurnInput, say: Callable[[Sequence[str]], None]) -> None:
        """
        Parameters
        ----------
        say
            Writes lines into the agent's log.
        """
        self._stores = stores
        self._actor = actor
        self._say = say
        self._began_ms = stores.clock.now_ms()
        self.turn = turn
        #: What the last turn has left; empty before the first.
        self.state: dict[str, Any] = dict(turn.state or {})

    @property
    def actor(self) -> Actor:
        """The agent in its session, as it acts."""
        return self._actor

    def acting(self, tool: str = "", arguments: Mapping[str, Any] | None = None) -> Actor:
        """Read the agent anew, and beside it what a call of a tool needs: as a request to the agents' endpoint does.

        So nothing is done for an agent that was ended meanwhile. Raises `Stopped`.
        """
        thread_id = (arguments or {}).get("threadId") if tool == "coral_send_message" else None
        where = self._actor.session.namespace, self._actor.session_id, self._actor.name
        session, agent, thread, head = self._stores.reads.agent(
            *where, thread_id if isinstance(thread_id, str) else None, head=tool.startswith("coral_wait_for_")
        )
        if session is None or session.status != "executed" or agent is None or agent.status == "stopped":
            raise Stopped(f"the agent {self.name!r} was ended during its turn")
        if agent.connected_at_ms is None:
            agent = dataclasses.replace(agent, connected_at_ms=self._actor.agent.connected_at_ms)
        return Actor(session, agent, thread, head)

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.turn.agent.name

    def option(self, name: str, default: Any = None) -> Any:
        """Return the value of an option; the default for one that has none."""
        return self.turn.agent.options.get(name, default)

    def say(self, line: str) -> None:
        """Write a line into the agent's log."""
        self._say([line])

    def sleep_ms(self, duration_ms: int) -> None:
        """Do nothing for a while."""
        self._stores.clock.sleep(duration_ms / 1000)

    @property
    def is_long(self) -> bool:
        """Whether this turn has taken so long that the rest is for the next one."""
        return self._stores.clock.now_ms() - self._began_ms >= TURN_MS

    def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        """Call a tool as over MCP; return its structured result, or its text where it has none (custom tools).

        Raises `ToolRefused`, and `Stopped` when the agent was ended meanwhile.
        """
        # Here: most processes need none of the protocol's models.
        from mcp_types import TextContent

        from chalicelib.mcp import tools

        deadline_ms = self._stores.clock.now_ms() + LONGEST_WAIT_MS
        try:
            result = tools.call(self._stores, self.acting(tool, arguments), tool, arguments, deadline_ms)
        except tools.UnknownTool as error:
            raise ToolRefused(str(error)) from error
        text = "\n".join(block.text for block in result.content if isinstance(block, TextContent))
        if result.is_error:
            raise ToolRefused(f"{tool}: {_error_in(text)}")
        return text if result.structured_content is None else result.structured_content

    def pause(self, duration_ms: int) -> dict[str, Any]:
        """Return the wait of an agent that is to be called after a while, and for nothing before it."""
        return {"for": "agent", "agentName": self.name, "maxWaitMs": duration_ms}


def _error_in(text: str) -> str:
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text
