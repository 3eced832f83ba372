"""What the agents of a session print on AWS: ``python -m infra.logs SESSION --stage prod``.

ECS writes the output of a task into a stream of its own, named after the agent's version and the task. Which of them
are a session's is in the log of the function that launched its agents.
"""

import heapq
import json
import time
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.text import Text

from chalicelib.wire.base import iso_from_ms
from infra.keys import Profile, Region

app = typer.Typer(add_completion=False)
out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True)

#: How long to wait before looking again, and how much of what was read to read again: a stream may be late by that.
LOOK_EVERY_S = 2
LATE_MS = 10_000

COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "red")


class Line(NamedTuple):
    """One line that an agent printed; lines sort by their time (epoch ms)."""

    at_ms: int
    event_id: str
    agent: str
    text: str


class Logs:
    """The log groups of a stage, from a moment (epoch ms) on."""

    def __init__(self, client: Any, stage: str, *, since_ms: int) -> None:
        self._client = client
        self._stage = stage
        self._since_ms = since_ms

    def streams(self, session_id: str) -> dict[str, str]:
        """Return the streams of a session's agents, each with the agent's name in the session."""
        found = {}
        group = f"/aws/lambda/atoll-{self._stage}-run_agents"
        for event in self._events(group, self._since_ms, filterPattern=f'"{session_id}"'):
            line = _json(event["message"])
            if line.get("message") == "agent started" and line.get("session") == session_id:
                found[line["stream"]] = line["agent"]
        return found

    def lines(self, stream: str, agent: str, *, since_ms: int | None = None) -> Iterator[Line]:
        """Read what one agent printed, in its order; nothing as long as its stream is not there."""
        group = f"/atoll/{self._stage}/agents"
        try:
            for event in self._events(group, since_ms or self._since_ms, logStreamNames=[stream]):
                yield Line(event["timestamp"], event["eventId"], agent, event["message"].rstrip("\n"))
        except self._client.exceptions.ResourceNotFoundException:
            return

    def _events(self, group: str, since_ms: int, **which: Any) -> Iterator[dict[str, Any]]:
        pages = self._client.get_paginator("filter_log_events").paginate(
            logGroupName=group, startTime=since_ms, **which
        )
        for page in pages:
            yield from page["events"]


def _json(text: str) -> dict[str, Any]:
    """Read a line that a function logged; what Lambda itself writes is none of it."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


@app.command()
def main(
    session: Annotated[str, typer.Argument(help="The id of the session.")],
    stage: Annotated[str, typer.Option(help="The stage.")] = "dev",
    agent: Annotated[list[str] | None, typer.Option("--agent", "-a", help="One agent; again for more.")] = None,
    hours: Annotated[float, typer.Option(min=0.1, help="How far back to look.")] = 24,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what they print next.")] = False,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Show what the agents of a session print, together and in order."""
    try:
        client = boto3.Session(region_name=region, profile_name=profile).client("logs")
        logs = Logs(client, stage, since_ms=int((time.time() - hours * 3600) * 1000))
        _show(logs, session, set(agent or ()), follow=follow)
    except (ClientError, BotoCoreError) as error:
        err.print(Text(str(error), style="bold red"))
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _show(logs: Logs, session_id: str, wanted: set[str], *, follow: bool) -> None:
    seen: set[str] = set()
    latest_ms: dict[str, int] = {}
    while True:
        streams = {name: agent for name, agent in logs.streams(session_id).items() if not wanted or agent in wanted}
        if not streams and not follow:
            err.print(Text(f"No agent of the session {session_id} was started: see --hours, --stage and --agent."))
            raise typer.Exit(1)
        colours = {agent: COLOURS[place % len(COLOURS)] for place, agent in enumerate(sorted(streams.values()))}
        width = max(map(len, colours), default=0)
        read = [
            logs.lines(name, agent, since_ms=latest_ms[agent] - LATE_MS if agent in latest_ms else None)
            for name, agent in streams.items()
        ]
        for line in heapq.merge(*read):
            if line.event_id not in seen:
                seen.add(line.event_id)
                latest_ms[line.agent] = line.at_ms
                who = Text(f"{line.agent:{width}} ", style=colours[line.agent])
                out.print(Text.assemble(Text(f"{iso_from_ms(line.at_ms)} ", style="dim"), who, Text(line.text)))
        if not follow:
            return
        time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    app()
