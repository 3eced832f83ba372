"""What a session's state says of the session and its agents, field by field as Coral 1.2 writes it."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.wire.base import ms_from_iso
from infra.local.stack import LocalStack
from tests.agents import SLEEPER
from tests.client import Client, eventually, session, sleeper

pytestmark = pytest.mark.xdist_group("session-states")

HOLD = {"mode": "hold_after_exit", "duration": 60_000}


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(port=0, agents=[SLEEPER]) as running:
        yield running


def states(client: Client, path: str, namespace: str) -> list[dict[str, Any]]:
    """Return the base state of a namespace's only session from every answer that has it."""
    of_namespaces = client.call("GET", "/api/v1/local/namespace/extended").body
    return [
        client.call("GET", path).body,
        client.call("GET", f"{path}/extended").body["base"],
        *client.call("GET", f"/api/v1/local/namespace/{namespace}").body,
        *(each["base"] for each in client.call("GET", f"/api/v1/local/namespace/{namespace}/extended").body),
        *(each for space in of_namespaces if space["base"]["name"] == namespace for each in space["sessions"]),
    ]


def test_a_timestamp_is_the_creation_time_wherever_a_session_is_shown(client: Client, namespace: str) -> None:
    before_ms = time.time_ns() // 1_000_000
    path = client.create(session(sleeper(), namespace=namespace, persistenceMode=HOLD))
    after_ms = time.time_ns() // 1_000_000
    first = client.call("GET", path).body["timestamp"]
    assert before_ms <= ms_from_iso(first) <= after_ms
    time.sleep(0.01)  # the clock of the answers moves on
    shown = states(client, path, namespace)
    assert (len(shown), {state["timestamp"] for state in shown}) == (5, {first})


def agents_of(client: Client, path: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in client.call("GET", f"{path}/extended").body["agents"]}


def test_running_and_stopped_agents_say_when_they_started(client: Client, namespace: str) -> None:
    path = client.create(session(sleeper("a"), sleeper("b", 0.1), namespace=namespace, persistenceMode=HOLD))
    created_ms = ms_from_iso(client.call("GET", path).body["timestamp"])
    eventually(lambda: agents_of(client, path)["b"]["status"]["type"] == "stopped")
    eventually(lambda: agents_of(client, path)["a"]["status"]["type"] == "running")
    running, stopped = (agents_of(client, path)[name]["status"] for name in ("a", "b"))
    assert set(running) == {"type", "connectionStatus", "startTime"}
    assert set(stopped) == {"type", "startTime"}
    assert created_ms <= ms_from_iso(running["startTime"]) <= time.time_ns() // 1_000_000
    assert created_ms <= ms_from_iso(stopped["startTime"]) <= time.time_ns() // 1_000_000


def test_an_agent_that_never_ran_stops_without_a_start(client: Client, stack: LocalStack, namespace: str) -> None:
    path = client.create(session(sleeper(), sleeper("b"), namespace=namespace, defer=True))
    assert agents_of(client, path)["a"]["status"] == {"type": "waiting"}
    assert stack.services.agents.stop(path.rsplit("/", 1)[1], "a", now_ms=1, reason="refused")
    assert agents_of(client, path)["a"]["status"] == {"type": "stopped"}


def test_every_agent_says_that_no_model_was_used(client: Client, namespace: str) -> None:
    path = client.create(session(sleeper(), namespace=namespace, defer=True))
    assert agents_of(client, path)["a"]["tokensByModel"] == {}


def test_only_the_listing_of_agents_says_why_one_stopped(client: Client, stack: LocalStack, namespace: str) -> None:
    path = client.create(session(sleeper(), sleeper("b"), namespace=namespace, defer=True))
    assert stack.services.agents.stop(path.rsplit("/", 1)[1], "a", now_ms=1, reason="refused")
    (extended,) = client.call("GET", f"/api/v1/local/namespace/{namespace}/extended").body
    assert "reason" not in extended["agents"][0]["status"]
    stopped, waiting = client.call("GET", f"{path}/agent").body
    assert stopped["status"] == {"type": "stopped", "reason": "refused"}
    assert waiting == agents_of(client, path)["b"]
