"""What a session's log tells of containers, with a docker command that runs a process of this machine."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.stack import LocalStack
from tests.agents import BOXED, SLEEPER
from tests.client import Client, boxed, session, sleeper
from tests.contract.coral import Coral

#: Answers `docker info`; `docker run` is a container that ends by itself after a while.
DOCKER = "#!/bin/sh\n[ $1 = info ] || exec sleep 0.3\n"
HOLD = {"mode": "hold_after_exit", "duration": 60_000}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    folder = tmp_path_factory.mktemp("bin")
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        with LocalStack(port=0, agents=[SLEEPER, BOXED]) as running:
            yield running


def events(stack: LocalStack, *agents: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a session of these agents to their ends and return its events: a client of Coral's can read each."""
    client = Client(stack.url, stack.key)
    path = client.create(session(*agents, namespace="containers", persistenceMode=HOLD))
    client.wait_for_status(path, "closing")
    found: list[dict[str, Any]] = client.call("GET", f"{path}/events").body
    assert [fault for event in found for fault in Coral().faults("SessionEvent", event)] == []
    return found


def test_a_container_is_told_of_between_the_start_and_the_stop_of_its_agent(stack: LocalStack) -> None:
    told = events(stack, boxed())
    assert [event["type"] for event in told] == [
        "runtime_started",
        "docker_container_created",
        "runtime_stopped",
        "docker_container_removed",
    ]
    started, created, stopped, removed = told
    assert set(started) == set(stopped) == {"type", "timestamp", "name"}
    assert set(created) == set(removed) == {"type", "timestamp", "containerId"}
    assert created["containerId"] == removed["containerId"]


def test_the_id_of_a_container_finds_its_task(stack: LocalStack) -> None:
    container = events(stack, boxed())[1]["containerId"]
    found = stack.services.client("ecs").describe_tasks(cluster="atoll-local", tasks=[container])
    [task] = found["tasks"]
    assert task["containers"][0]["image"] == "boxed:1.0.0"
    assert Path(task["taskArn"]).name == container


def test_a_process_is_no_container(stack: LocalStack) -> None:
    told = events(stack, sleeper(seconds=0.1))
    assert [event["type"] for event in told] == ["runtime_started", "runtime_stopped"]
