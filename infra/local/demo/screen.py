"""How the demo shows a session: a picture that moves in a terminal, plain lines anywhere else."""

from __future__ import annotations

from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from atoll.command.lines import agent_line
from infra.local.demo.observed import HOLD_MS, TTL_MS, Check, Event, Observed, spoken

COLOURS = {"seed": "cyan", "echo": "magenta", "session": "green", "webhook": "yellow"}
STATUSES = ("executed", "closing", "gone")
WIDTH = 92


class Screen(Protocol):
    """What the demo shows while it runs; a context, for a screen that must be put back in order."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def say(self, line: str) -> None:
        """Say something that is no event of the session."""

    def show(self, event: Event) -> None:
        """Show an event as it happens."""

    def draw(self, observed: Observed) -> None:
        """Show the session as it is now; called several times a second."""

    def overhear(self, agent: str, line: str) -> None:
        """Take a line that an agent printed; from any thread."""

    def explain(self) -> None:
        """Show what may explain a failure and was not shown yet."""


class Lines:
    """A line an event: for a log, or a pipe."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def say(self, line: str) -> None:
        """Print the line."""
        self._console.print(line, highlight=False, soft_wrap=True)

    def show(self, event: Event) -> None:
        """Print when, who and what."""
        self.say(f"{event.at_s:6.2f} s  {event.subject:<8} {event.text}")

    def draw(self, observed: Observed) -> None:
        """Nothing to do: the events say it all."""

    def overhear(self, agent: str, line: str) -> None:
        """Print it beside the events."""
        self._console.print(agent_line(agent, line), soft_wrap=True)

    def explain(self) -> None:
        """Nothing to do: it all was printed."""


class Picture:
    """The session as one picture that is drawn again and again."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=12)
        self._console = console
        self._overheard: list[Text] = []

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        """Print the line above the picture."""
        self._console.print(Text(line, "dim"), soft_wrap=True)

    def show(self, event: Event) -> None:
        """Nothing to do: the next picture shows it."""

    def draw(self, observed: Observed) -> None:
        """Draw the session as it is now."""
        if observed.state:
            self._live.update(Group(*_parts(observed)))

    def overhear(self, agent: str, line: str) -> None:
        """Keep it: the picture has no place for it."""
        self._overheard.append(agent_line(agent, line))

    def explain(self) -> None:
        """Print what the agents printed."""
        for line in self._overheard:
            self._console.print(line, soft_wrap=True)


def _parts(observed: Observed) -> list[RenderableType]:
    parts: list[RenderableType] = [_timeline(observed), _timers(observed), _agents(observed), _conversation(observed)]
    return [*parts, _report(observed)] if observed.deliveries else parts


def _timeline(observed: Observed) -> RenderableType:
    """What the session has been, with the second that it became so."""
    line = Text("  created", "bold green")
    line.append(f" {observed.created_s:.1f} s", "dim")
    for status in STATUSES:
        at_s = observed.statuses.get(status)
        reached = at_s is not None
        line.append("  ──▶  ", "green" if reached else "dim")
        line.append(status, "bold green" if reached else "dim")
        line.append(f" {at_s:.1f} s" if reached else "", "dim")
    return Panel(line, title=f"session {observed.session_id}", title_align="left", width=WIDTH)


def _timers(observed: Observed) -> RenderableType:
    """How much is left of the time to live and of the hold."""
    status = observed.state["base"]["status"]
    now = datetime.now(UTC)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=14, justify="right")
    grid.add_column(width=44)
    grid.add_column(width=14)
    if "executionTime" in status:
        runs = observed.status == "executed"
        left_s = _left_s(status["executionTime"], TTL_MS, now) if runs else 0.0
        grid.add_row("time to live", _bar(left_s, TTL_MS, "cyan"), f"{left_s:.1f} s left" if runs else "exited before")
    if "closingTime" in status:
        left_s = _left_s(status["closingTime"], HOLD_MS, now) if observed.status == "closing" else 0.0
        grid.add_row("hold", _bar(left_s, HOLD_MS, "yellow"), f"{left_s:.1f} s left" if left_s else "over")
    return grid


def _left_s(since: str, duration_ms: int, now: datetime) -> float:
    return max(0.0, duration_ms / 1000 - (now - datetime.fromisoformat(since)).total_seconds())


def _bar(left_s: float, duration_ms: int, colour: str) -> ProgressBar:
    return ProgressBar(total=duration_ms / 1000, completed=left_s, width=44, complete_style=colour)


def _agents(observed: Observed) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for agent in observed.state["agents"]:
        name, status = agent["name"], observed.agents[agent["name"]][-1]
        dot = Text("●", "dim" if status == "stopped" else COLOURS.get(name, "white"))
        identifier = agent["registryAgentIdentifier"]
        grid.add_row(dot, Text(name, COLOURS.get(name, "")), status, Text(_kind(identifier), "dim"))
    return Panel(grid, title="agents", title_align="left", width=WIDTH)


def _kind(identifier: dict[str, Any]) -> str:
    return f"{identifier['name']} {identifier['version']}"


def _conversation(observed: Observed) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for message in observed.messages.values():
        sender = message["senderName"]
        clock = Text(message["timestamp"][11:23], "dim")
        grid.add_row(clock, Text(sender, COLOURS.get(sender, "")), Text(spoken(message)))
    names = ", ".join(thread["name"] for thread in observed.state["threads"]) or "no thread yet"
    return Panel(grid, title=names, title_align="left", width=WIDTH)


def _report(observed: Observed) -> RenderableType:
    delivery = observed.deliveries[0]
    grid = Table.grid(padding=(0, 2))
    for header, holds in (
        ("x-coral-signature", delivery.coral_signature_holds(observed.secret)),
        ("webhook-signature", delivery.standard_signature_holds(observed.secret)),
    ):
        verdict = Text("holds", "green") if holds else Text("FAILS", "bold red")
        value = Text(delivery.headers.get(header, "missing"), overflow="ellipsis", no_wrap=True)
        grid.add_row(Text(header, "dim"), verdict, value)
    for run in delivery.report["agentStats"]:
        ran = f"{run['startTime'][11:23]} to {run['endTime'][11:23]}"
        grid.add_row(Text(run["name"], COLOURS.get(run["name"], "")), "ran", ran)
    return Panel(grid, title="end report, at the webhook", title_align="left", width=WIDTH)


def screen_for(console: Console) -> Screen:
    """The screen that suits where the output goes."""
    return Picture(console) if console.is_terminal else Lines(console)


def table_of(results: list[Check]) -> RenderableType:
    """The checks, each with what was seen."""
    table = Table(width=WIDTH, title="What had to happen", title_justify="left", title_style="bold")
    table.add_column("", width=4)
    table.add_column("check", no_wrap=True)
    table.add_column("seen", no_wrap=True, overflow="ellipsis")
    for check in results:
        mark = Text("ok", "green") if check.passed else Text("FAIL", "bold red")
        table.add_row(mark, check.name, check.seen)
    return table
