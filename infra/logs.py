"""What the agents of a session print on AWS: ``atoll logs SESSION --stage prod``.

ECS writes the output of a task into a stream of its own, named after the agent's version and the task. Which of them
are a session's is in the log of the function that launched its agents.
"""

import json
import time
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import typer
from botocore.config import Config
from rich.text import Text

from atoll.command import terminal
from atoll.command.lines import agent_line
from chalicelib.wire.base import iso_from_ms
from infra.keys import at_aws

#: Pause between two looks at logs that are followed.
LOOK_EVERY_S = 3

#: How much of what was read is read again: lines of one agent may come to be seen later than another's by that.
LATE_MS = 10_000

_pause = time.sleep


class Line(NamedTuple):
    """One line that an agent printed; its time in epoch ms."""

    at_ms: int
    agent: str
    text: str


class SessionLogs:
    """What the agents of a session printed since a moment (epoch ms), a look at a time."""

    def __init__(self, client: Any, stage: str, session_id: str, *, since_ms: int) -> None:
        self._client = client
        self._launches = f"/aws/lambda/atoll-{stage}-run_agents"
        self._output = f"/atoll/{stage}/agents"
        self._session_id = session_id
        self._launched_since_ms = self._printed_since_ms = since_ms
        self._seen: set[str] = set()
        #: The agent of each stream; those that have printed nothing yet have none.
        self.launched: dict[str, str] = {}
        self._there: set[str] = set()

    def look(self, wanted: set[str]) -> Iterator[Line]:
        """Yield what is new since the last look, in order; of the wanted agents only, if any are named."""
        self._find_launches()
        streams = [stream for stream, agent in self.launched.items() if not wanted or agent in wanted]
        self._there.update(stream for stream in streams if stream not in self._there and self._exists(stream))
        if not self._there:
            return
        since_ms = self._printed_since_ms
        for event in self._events(self._output, since_ms, logStreamNames=sorted(self._there)):
            if event["eventId"] not in self._seen:
                self._seen.add(event["eventId"])
                self._printed_since_ms = max(self._printed_since_ms, event["timestamp"] - LATE_MS)
                agent = self.launched[event["logStreamName"]]
                yield Line(event["timestamp"], agent, event["message"].rstrip("\n"))

    def _find_launches(self) -> None:
        now_ms = int(time.time() * 1000)
        for event in self._events(self._launches, self._launched_since_ms, filterPattern=f'"{self._session_id}"'):
            line = _json(event["message"])
            if line.get("session") == self._session_id and "stream" in line:
                self.launched[line["stream"]] = line["agent"]
        self._launched_since_ms = max(self._launched_since_ms, now_ms - LATE_MS)

    def _exists(self, stream: str) -> bool:
        """Return whether a stream exists: a request with a missing one returns nothing of the others either."""
        found = self._client.describe_log_streams(logGroupName=self._output, logStreamNamePrefix=stream, limit=1)
        return bool(found["logStreams"])

    def _events(self, group: str, since_ms: int, **which: Any) -> Iterator[dict[str, Any]]:
        pages = self._client.get_paginator("filter_log_events").paginate(
            logGroupName=group, startTime=since_ms, interleaved=True, **which
        )
        for page in pages:
            yield from page["events"]


def _json(text: str) -> dict[str, Any]:
    """Read a line that a function logged; nothing for a line that Lambda itself writes."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def show(
    session: str,
    stage: str,
    agents: Collection[str],
    *,
    hours: float,
    follow: bool,
    as_json: bool,
    region: str | None,
    profile: str | None,
) -> None:
    """Show what the agents of a session print, together and in order, also of one that is gone."""
    # CloudWatch answers a few of these calls a second, and for the whole account.
    patient = Config(retries={"mode": "adaptive", "total_max_attempts": 10})
    with at_aws(region, profile) as at:
        client = at.client("logs", config=patient)
        logs = SessionLogs(client, stage, session, since_ms=int((time.time() - hours * 3600) * 1000))
        while True:
            for line in logs.look(set(agents)):
                _print(line, as_json=as_json)
            if not follow:
                break
            _pause(LOOK_EVERY_S)
    if not logs.launched:
        terminal.complain(f"No agent of the session {session} was launched in the last {hours:g} hours on {stage}.")
        raise typer.Exit(1)


def _print(line: Line, *, as_json: bool) -> None:
    if as_json:
        terminal.show_json({"timestamp": iso_from_ms(line.at_ms), "agent": line.agent, "text": line.text})
    else:
        terminal.show(Text.assemble((f"{iso_from_ms(line.at_ms)} ", "dim"), agent_line(line.agent, line.text)))
