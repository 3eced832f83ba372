"""Coral's DebugAgentsTest: its debug agents are functions of Atoll's own; the example agents do the same as processes.

There are fewer threads and messages than in Coral's tests: how many they are is not the point.
"""

from collections import Counter
from typing import Any

import pytest

from tests.client import Client, agent, function, session

pytestmark = pytest.mark.xdist_group("coral")


#: What asks for an agent: Coral's tests ask for functions.
ASKS = {"function": function, "executable": agent}

runtimes = pytest.mark.parametrize("runtime", ASKS)


def at_the_end(client: Client, *agents: dict[str, Any], namespace: str) -> list[dict[str, Any]]:
    """Run a session until its agents have exited and return its threads, which the hold has kept."""
    hold = {"mode": "hold_after_exit", "duration": 60_000}
    path = client.create(session(*agents, namespace=namespace, persistenceMode=hold))
    client.wait_for_status(path, "closing", within_s=30)
    threads: list[dict[str, Any]] = client.call("GET", f"{path}/extended").body["threads"]
    return threads


@pytest.mark.coral("DebugAgentsTest.testSeedDebugAgent")
@pytest.mark.coral("SessionApiTest.testSessionState")
@runtimes
def test_seed_debug_agent(client: Client, namespace: str, runtime: str) -> None:
    ask = ASKS[runtime]
    counts = {"SEED_THREAD_COUNT": ("u32", 5), "SEED_MESSAGE_COUNT": ("u32", 10)}
    threads = at_the_end(client, ask("seed", "seed", START_DELAY=("u32", 100), **counts), namespace=namespace)
    assert [len(thread["messages"]) for thread in threads] == [10] * 5


@pytest.mark.coral("DebugAgentsTest.testEchoDebugAgent")
@runtimes
def test_echo_debug_agent(client: Client, namespace: str, runtime: str) -> None:
    """Echo answers each message of one agent that mentions it, and exits after as many as it is told."""
    ask = ASKS[runtime]
    seed = ask(
        "seed",
        "seed",
        START_DELAY=("u32", 100),
        OPERATION_DELAY=("u32", 50),
        SEED_MESSAGE_COUNT=("u32", 10),
        PARTICIPANTS=("list[string]", ["echo"]),
        MENTIONS=("list[string]", ["echo"]),
    )
    options = {"ITERATION_COUNT": ("u32", 10), "FROM_AGENT": ("string", "seed"), "MENTIONS": ("bool", True)}
    [thread] = at_the_end(client, seed, ask("echo", "echo", **options), namespace=namespace)
    assert Counter(message["senderName"] for message in thread["messages"]) == {"seed": 10, "echo": 10}
