"""A session as it goes: a line for each thing that happens, and a lane for each agent beneath them."""

import dataclasses
import time
from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from atoll.command.lines import colour_of, plain
from atoll.command.terminal import span
from atoll.wire.base import iso_from_ms

#: What each event that is not shown as a line is left out for: waits and containers come in great numbers.
QUIET = frozenset(
    {"agent_wait_start", "agent_wait_stop", "agent_connected", "docker_container_created", "docker_container_removed"}
)

#: What an agent is from an event on, and what is said of that.
_BECOMES = {
    "runtime_started": ("starting", "started"),
    "agent_connected": ("at work", "connected"),
    "agent_wait_start": ("waits", "waits"),
    "agent_wait_stop": ("at work", "goes on"),
    "runtime_stopped": ("stopped", "stopped"),
}

#: How much of a message is shown on its line, in characters.
SHOWN_CHARS = 2_000


@dataclasses.dataclass
class Lane:
    """An agent, as far as events tell."""

    state: str = "waiting to start"
    since_ms: int | None = None
    messages: int = 0
    connected: bool = False
    model_calls: int = 0


class Lanes:
    """What is known of a session's agents and threads, and how events are told."""

    def __init__(self, agents: Iterable[str] = ()) -> None:
        self.lanes: dict[str, Lane] = {name: Lane() for name in agents}
        self._threads: dict[str, str] = {}
        self.messages = 0
        #: What the session's agents have spent, in words; empty without budgets.
        self.money = ""

    @property
    def not_connected(self) -> list[str]:
        """The agents that have stopped and never connected."""
        return [name for name, lane in self.lanes.items() if lane.state == "stopped" and not lane.connected]

    def take(self, event: Any) -> Text | None:
        """Note an event and return its line; ``None`` for one that the lanes alone show."""
        what = self._noted(event)
        if event.type in QUIET or what is None:
            return None
        name, said = what
        line = Text(f"{iso_from_ms(event.timestamp)[11:23]} ", style="dim")
        line.append(f"{plain(name):>12} │ ", style=colour_of(name))
        line.append_text(said)
        return line

    def _noted(self, event: Any) -> tuple[str, Text] | None:
        if event.type in _BECOMES:
            return self._becomes(event, *_BECOMES[event.type])
        if event.type == "thread_message_sent":
            return self._message(event.message)
        if event.type == "llm_proxy_call":
            return self._model_call(event)
        if event.type.startswith("docker_container_"):
            return None
        return self._of_thread(event) or (str(getattr(event, "name", "")), Text(plain(event.type), "dim"))

    def _of_thread(self, event: Any) -> tuple[str, Text] | None:
        name = ""
        match event.type:
            case "thread_created":
                thread = event.thread
                self._threads[thread.id] = thread.name
                name, others = (
                    thread.creator_name,
                    [each for each in thread.participants if each != thread.creator_name],
                )
                said = f"opens “{thread.name}”{' with ' if others else ''}{', '.join(others)}"
            case "thread_closed":
                said = f"“{self._name_of(event.thread_id)}” is closed: {event.summary[:SHOWN_CHARS]}"
            case "thread_participant_added":
                name, said = event.name, f"joins “{self._name_of(event.thread_id)}”"
            case "thread_participant_removed":
                name, said = event.name, f"leaves “{self._name_of(event.thread_id)}”"
            case _:
                return None
        return name, Text(plain(said))

    def _becomes(self, event: Any, state: str, said: str) -> tuple[str, Text]:
        lane = self.lanes.setdefault(event.name, Lane())
        lane.state, lane.since_ms = state, event.timestamp
        lane.connected = lane.connected or event.type == "agent_connected"
        return event.name, Text(said, "dim")

    def _message(self, message: Any) -> tuple[str, Text]:
        lane = self.lanes.setdefault(message.sender_name, Lane())
        lane.messages += 1
        self.messages += 1
        said = Text()
        for name in message.mention_names:
            said.append(f"@{plain(name)} ", style=colour_of(name))
        text = message.text if len(message.text) <= SHOWN_CHARS else f"{message.text[:SHOWN_CHARS]} …"
        # A line of its own for each of the text's would break what reads lines.
        said.append(" ⏎ ".join(plain(line) for line in text.splitlines()))
        return message.sender_name, said

    def _model_call(self, event: Any) -> tuple[str, Text]:
        lane = self.lanes.setdefault(event.agent_name, Lane())
        lane.model_calls += 1
        usage = event.usage
        tokens = f", {usage.input_tokens or 0} + {usage.output_tokens or 0} tokens" if event.status_code < 400 else ""
        return event.agent_name, Text(plain(f"calls {event.model_name}: {event.status_code}{tokens}"), "dim")

    def _name_of(self, thread_id: str) -> str:
        return self._threads.get(thread_id, thread_id[:8])

    def __rich__(self) -> Table:
        """Draw the lanes as they are at this moment."""
        now_ms = time.time() * 1000
        table = Table(box=None, pad_edge=False, padding=(0, 2), show_header=False)
        for name, lane in self.lanes.items():
            mark = {"stopped": "■", "waits": "◌", "waiting to start": "·"}.get(lane.state, "●")
            since = span((now_ms - lane.since_ms) / 1000) if lane.since_ms else ""
            count = f"{lane.messages} message{'' if lane.messages == 1 else 's'}"
            style = "dim" if lane.state == "stopped" else colour_of(name)
            if lane.model_calls:
                count += f", {lane.model_calls} model call{'' if lane.model_calls == 1 else 's'}"
            table.add_row(Text(f"{mark} {plain(name)}", style), lane.state, Text(since, "dim"), Text(count, "dim"))
        if self.money:
            table.add_row(Text("$", "dim"), Text(self.money, "dim"), "", "")
        return table
