"""The example agents in sessions of the local stack: registered, started, connected and ended as Atoll does it."""

from __future__ import annotations

import collections
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from infra.local.stack import LocalStack

AGENTS = Path(__file__).parents[3] / "agents"
DEADLINE_S = 45

pytestmark = pytest.mark.xdist_group("agents")


class Sessions:
    """Sessions as a client of the API sees them, and what their agents print."""

    def __init__(self, stack: LocalStack, output: list[tuple[str, str]]) -> None:
        self.services = stack.services
        self._http = httpx2.Client(base_url=stack.url, headers={"Authorization": f"Bearer {stack.key}"}, timeout=30)
        self.output = output

    def create(self, agents: list[dict[str, Any]], ttl_ms: int = 60_000) -> str:
        """Post a session of these agents, all in one group; held, so that its end can be looked at."""
        settings = {"ttl": ttl_ms, "persistenceMode": {"mode": "hold_after_exit", "duration": 60_000}}
        request = {
            "agentGraphRequest": {"agents": agents, "groups": [[agent["name"] for agent in agents]]},
            "namespaceProvider": {"type": "create_if_not_exists", "namespaceRequest": {"name": "agents"}},
            "execution": {"mode": "immediate", "runtimeSettings": settings},
        }
        response = self._http.post("/api/v1/local/session", json=request)
        assert response.status_code == 200, response.text
        return str(response.json()["sessionId"])

    def close(self, session_id: str) -> None:
        """Close a session by request."""
        assert self._http.delete(f"/api/v1/local/session/agents/{session_id}").status_code == 200

    def state(self, session_id: str) -> dict[str, Any]:
        """The extended state of a session."""
        state: dict[str, Any] = self._http.get(f"/api/v1/local/session/agents/{session_id}/extended").json()
        return state

    def until(self, session_id: str, condition: Any, what: str) -> dict[str, Any]:
        """Look at a session until a condition of its state holds; returns that state."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition(state := self.state(session_id)):
            assert time.monotonic() < deadline, f"{what}: {json.dumps(state)[:2000]} {self.output[-20:]}"
            time.sleep(0.05)
        return state

    def until_over(self, session_id: str) -> dict[str, Any]:
        """Wait until every agent has stopped and the session closes."""

        def is_over(state: dict[str, Any]) -> bool:
            stopped = all(agent["status"]["type"] == "stopped" for agent in state["agents"])
            return stopped and state["base"]["status"]["type"] == "closing"

        return self.until(session_id, is_over, "it does not end")


def agent(name: str, kind: str, **options: tuple[str, Any]) -> dict[str, Any]:
    """One agent of a graph, with its options as (type, value)."""
    return {
        "id": {"name": kind, "version": "1.0.0", "registrySourceId": {"type": "local"}},
        "name": name,
        "provider": {"type": "local", "runtime": "executable"},
        "options": {option: {"type": kind_of, "value": value} for option, (kind_of, value) in options.items()},
    }


def messages(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [message for thread in state["threads"] for message in thread["messages"]]


def is_connected(state: dict[str, Any]) -> bool:
    return all(agent["status"].get("connectionStatus", {}).get("type") == "connected" for agent in state["agents"])


@pytest.fixture(scope="module")
def sessions() -> Iterator[Sessions]:
    output: list[tuple[str, str]] = []
    folders = [AGENTS / kind for kind in ("echo", "seed", "tool", "puppet", "socket")]
    with LocalStack(agents=folders, on_output=lambda name, line: output.append((name, line))) as stack:
        yield Sessions(stack, output)


def test_one_echo_answers_every_message_of_many_seeds_once(sessions: Sessions) -> None:
    seeds = [f"seed{number}" for number in range(3)]
    options = {"PARTICIPANTS": ("list[string]", ["echo"]), "SEED_MESSAGE_COUNT": ("u32", 4)}
    graph = [agent(name, "seed", **options) for name in seeds]
    state = sessions.until_over(sessions.create([*graph, agent("echo", "echo", ITERATION_COUNT=("u32", 12))]))

    sent = collections.Counter(message["senderName"] for message in messages(state))
    assert sent == {"echo": 12, **dict.fromkeys(seeds, 4)}
    for thread in state["threads"]:
        answers = [message for message in thread["messages"] if message["senderName"] == "echo"]
        assert [answer["mentionNames"] for answer in answers] == [[thread["creatorName"]]] * 4


def test_an_agent_comes_back_for_its_wait_where_a_stage_pauses_waits(
    sessions: Sessions, comebacks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pausing = sessions.services.settings.model_copy(update={"mcp_wait_hold_ms": 0})
    monkeypatch.setattr(sessions.services, "settings", pausing)
    said = {"PARTICIPANTS": ("list[string]", ["echo"]), "SEED_MESSAGE_COUNT": ("u32", 1), "START_DELAY": ("u32", 1_500)}
    graph = [agent("echo", "echo", ITERATION_COUNT=("u32", 1)), agent("seed", "seed", **said)]
    state = sessions.until_over(sessions.create(graph))
    assert [message["senderName"] for message in messages(state)] == ["seed", "echo"]
    assert comebacks


def test_tool_prints_what_its_tool_returned(sessions: Sessions) -> None:
    call = json.dumps({"threadName": "by hand", "participantNames": ["puppet"]})
    caller = agent("caller", "tool", TOOL_NAME=("string", "coral_create_thread"), TOOL_INPUT=("string", call))
    session_id = sessions.create([caller, agent("puppet", "puppet")])

    def has_called(state: dict[str, Any]) -> bool:
        return bool(state["agents"][0]["status"]["type"] == "stopped")

    state = sessions.until(session_id, has_called, "it does not exit")
    assert [thread["name"] for thread in state["threads"]] == ["by hand"]
    printed = [line for name, line in sessions.output if name == "caller"]
    assert json.loads(printed[1])["thread"]["id"] == state["threads"][0]["id"]
    sessions.close(session_id)
    sessions.until_over(session_id)


def test_a_tool_that_closes_the_session_ends_a_puppet(sessions: Sessions) -> None:
    closer = agent(
        "closer",
        "tool",
        START_DELAY=("u32", 1_000),
        TOOL_NAME=("string", "coral_close_session"),
        TOOL_INPUT=("string", '{"reason": "seen enough"}'),
    )
    closer["plugins"] = [{"type": "close_session_tool"}]
    sessions.until_over(sessions.create([closer, agent("puppet", "puppet")]))


def test_a_process_takes_the_place_that_a_socket_holds(sessions: Sessions) -> None:
    session_id = sessions.create([agent("place", "socket")])

    def printed() -> list[str]:
        return [line for name, line in list(sessions.output) if name == "place"]

    sessions.until(session_id, lambda _: len(printed()) == 2, "it does not print two lines")
    assert not is_connected(sessions.state(session_id))
    # The terminal hides secrets: the whole line is in a file, for the user of this machine alone.
    assert "CORAL_AGENT_SECRET=***;" in printed()[0]
    file = Path(printed()[1].removeprefix("as it is, with the secret: "))
    assert file.stat().st_mode & 0o777 == 0o600
    variables = dict(pair.split("=", 1) for pair in file.read_text().rstrip().split(";"))
    assert sorted(variables) == [
        "CORAL_AGENT_ID",
        "CORAL_AGENT_SECRET",
        "CORAL_API_URL",
        "CORAL_CONNECTION_URL",
        "CORAL_RUNTIME_ID",
        "CORAL_SESSION_ID",
    ]
    with subprocess.Popen([sys.executable, "run.py", "puppet"], cwd=AGENTS, env=variables) as process:
        sessions.until(session_id, is_connected, "it does not take the place")
        process.terminate()
    sessions.close(session_id)
    # An agent counts as stopped before its process has ended.
    sessions.until(session_id, lambda _: not file.exists(), "the file stays")
    sessions.until_over(session_id)


def test_closing_a_session_ends_agents_that_wait_and_agents_that_do_nothing(sessions: Sessions) -> None:
    session_id = sessions.create([agent("echo", "echo"), agent("puppet", "puppet")])
    sessions.until(session_id, is_connected, "they do not connect")
    began = time.monotonic()
    sessions.close(session_id)
    sessions.until_over(session_id)
    # An agent that ignored SIGTERM would last until it is killed, two seconds later.
    assert time.monotonic() - began < 2
    assert not any(line.startswith("refused") for _, line in sessions.output)
