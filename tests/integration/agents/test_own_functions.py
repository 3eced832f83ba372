"""Atoll's own functions: Coral's debug agents, in every registry."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.agents import OWN
from chalicelib.domain import agent_files, own_agents
from infra.local.stack import LocalStack
from tests.client import Client, eventually, function, session

pytestmark = pytest.mark.xdist_group("functions")

EXAMPLES = Path(__file__).parents[3] / "agents"
HOLD = {"mode": "hold_after_exit", "duration": 60_000}


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack() as made:
        yield made


@pytest.fixture(scope="module")
def client(stack: LocalStack) -> Client:
    return Client(stack.url, stack.key)


def lines(client: Client, path: str, name: str) -> list[str]:
    """Return an agent's log."""
    return [line["text"] for line in client.call("GET", f"{path}/logs?agent={name}").body]


@pytest.mark.parametrize("name", own_agents.NAMES)
def test_each_is_as_the_example_of_its_name_and_runs(name: str) -> None:
    mine = own_agents.record(name).definition
    example = agent_files.parse((EXAMPLES / name / "coral-agent.toml").read_text("utf-8"))
    assert (mine.info, mine.options, mine.runtimes.function) == (
        example.info,
        example.options,
        example.runtimes.function,
    )
    assert name in OWN


def test_they_are_in_the_registry_and_stay(client: Client) -> None:
    [source] = client.call("GET", "/api/v1/registry").body
    assert [agent["name"] for agent in source["agents"]] == sorted(OWN)
    shown = client.call("GET", "/api/v1/registry/local/echo/1.0.0").body["registryAgent"]
    assert shown["runtimes"] == {"function": {"transport": "streamable_http"}}, (
        "no key that Coral's clients do not know"
    )
    assert client.call("DELETE", "/api/v1/registry/local/echo/1.0.0").status == 409
    assert client.call("GET", "/api/v1/registry/local/echo/2.0.0").status == 404


def test_none_are_there_where_the_deployment_wants_none(
    stack: LocalStack, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack.services, "settings", stack.services.settings.model_copy(update={"debug_agents": False}))
    assert client.call("GET", "/api/v1/registry").body[0]["agents"] == []
    assert client.call("POST", "/api/v1/local/session", session(function("a", "echo"))).status == 400


def test_tool_prints_what_the_tool_returns_or_why_it_was_refused(client: Client) -> None:
    asked = json.dumps({"threadName": "made by a tool", "participantNames": []})
    good = function("good", "tool", TOOL_NAME=("string", "coral_create_thread"), TOOL_INPUT=("string", asked))
    bad = function("bad", "tool", TOOL_NAME=("string", "no_such_tool"), START_DELAY=("u32", 1))
    worse = function("worse", "tool", TOOL_NAME=("string", "coral_create_thread"), TOOL_INPUT=("string", "[]"))
    path = client.create(session(good, bad, worse, persistenceMode=HOLD))
    client.wait_for_status(path, "closing")
    [thread] = client.call("GET", f"{path}/extended").body["threads"]
    assert thread["name"] == "made by a tool"
    assert any(thread["id"] in line for line in lines(client, path, "good"))
    assert "refused: Unknown tool: no_such_tool" in lines(client, path, "bad")
    assert "refused: TOOL_INPUT is no JSON object" in lines(client, path, "worse")


def test_socket_keeps_a_place_for_a_process_that_connects_by_itself(client: Client) -> None:
    path = client.create(session(function("s", "socket")))
    eventually(lambda: any(line.startswith("CORAL_CONNECTION_URL=") for line in lines(client, path, "s")))
    [agent] = client.call("GET", f"{path}/extended").body["agents"]
    assert agent["status"]["connectionStatus"] == {"type": "not_connected"}
    client.call("DELETE", path)


def test_seed_leaves_what_takes_long_to_its_next_turn(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.agents.here.TURN_MS", 0)
    seed = function("s", "seed", SEED_THREAD_COUNT=("u32", 2), SEED_MESSAGE_COUNT=("u32", 2))
    path = client.create(session(seed, persistenceMode=HOLD))
    client.wait_for_status(path, "closing")
    threads = client.call("GET", f"{path}/extended").body["threads"]
    assert [[message["text"] for message in thread["messages"]] for thread in threads] == [
        ["message 0", "message 1"]
    ] * 2
    waits = [each for each in client.call("GET", f"{path}/events").body if each["type"] == "agent_wait_start"]
    assert len(waits) == 5
