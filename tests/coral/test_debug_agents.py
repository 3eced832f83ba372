"""Coral's DebugAgentsTest: what its debug agents do, the example agents do, with the runtime ``executable``.

There are fewer threads and messages than in Coral's tests: how many they are is not the point.
"""

from collections import Counter
from typing import Any

import pytest

from tests.client import Client, agent, session

pytestmark = pytest.mark.xdist_group("coral")


def at_the_end(client: Client, *agents: dict[str, Any], namespace: str) -> list[dict[str, Any]]:
    """Run a session until its agents have exited and return its threads, which the hold has kept."""
    hold = {"mode": "hold_after_exit", "duration": 60_000}
    path = client.create(session(*agents, namespace=namespace, persistenceMode=hold))
    client.wait_for_status(path, "closing", within_s=30)
    threads: list[dict[str, Any]] = client.call("GET", f"{path}/extended").body["threads"]
    return threads


@pytest.mark.coral("DebugAgentsTest.testSeedDebugAgent")
@pytest.mark.coral("SessionApiTest.testSessionState")
def test_seed_debug_agent(client: Client, namespace: str) -> None:
    counts = {"SEED_THREAD_COUNT": ("u32", 5), "SEED_MESSAGE_COUNT": ("u32", 10)}
    threads = at_the_end(client, agent("seed", "seed", START_DELAY=("u32", 100), **counts), namespace=namespace)
    assert [len(thread["messages"]) for thread in threads] == [10] * 5


@pytest.mark.coral("DebugAgentsTest.testEchoDebugAgent")
def test_echo_debug_agent(client: Client, namespace: str) -> None:
    """Echo answers each message of one agent that mentions it, and exits after as many as it is told."""
    seed = agent(
        "seed",
        "seed",
        START_DELAY=("u32", 100),
        OPERATION_DELAY=("u32", 50),
        SEED_MESSAGE_COUNT=("u32", 10),
        PARTICIPANTS=("list[string]", ["echo"]),
        MENTIONS=("list[string]", ["echo"]),
    )
    options = {"ITERATION_COUNT": ("u32", 10), "FROM_AGENT": ("string", "seed"), "MENTIONS": ("bool", True)}
    [thread] = at_the_end(client, seed, agent("echo", "echo", **options), namespace=namespace)
    assert Counter(message["senderName"] for message in thread["messages"]) == {"seed": 10, "echo": 10}
