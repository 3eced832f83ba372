"""The life of a session on the local stack: real state machines, real waits, real processes."""

import time
from collections.abc import Iterator

import pytest

from chalicelib.wire.base import ms_from_iso
from infra.local.stack import LocalStack
from tests.agents import CRASHER, MISSING, SLEEPER
from tests.client import Client, agent, eventually, session, sleeper
from tests.held import wait_until_held

pytestmark = pytest.mark.xdist_group("lifecycle")


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(port=0, agents=[SLEEPER, CRASHER, MISSING]) as running:
        yield running


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def statuses(client: Client, path: str) -> list[str]:
    return [agent["status"]["type"] for agent in client.call("GET", f"{path}/extended").body["agents"]]


def test_a_session_without_persistence_is_gone_when_its_agents_have_exited(client: Client, namespace: str) -> None:
    path = client.create(session(sleeper(seconds=0.5), sleeper("b", 0.1), namespace=namespace))
    assert client.status(path) == "executed"
    client.wait_for_status(path, None)


def test_its_namespace_goes_with_the_last_session(client: Client, namespace: str) -> None:
    path = client.create(session(sleeper(seconds=0.1), namespace=namespace))
    client.wait_for_status(path, None)
    eventually(lambda: client.call("GET", f"/api/v1/local/namespace/{namespace}").status == 404)


def test_a_namespace_that_is_to_stay_stays(client: Client, namespace: str) -> None:
    request = session(sleeper(seconds=0.1), namespace=namespace)
    request["namespaceProvider"]["namespaceRequest"]["deleteOnLastSessionExit"] = False
    client.wait_for_status(client.create(request), None)
    answer = client.call("GET", f"/api/v1/local/namespace/{namespace}")
    assert (answer.status, answer.body) == (200, [])


def test_a_session_ends_when_its_time_to_live_has_passed(client: Client, namespace: str) -> None:
    started = time.monotonic()
    hold = {"mode": "hold_after_exit", "duration": 60_000}
    path = client.create(session(sleeper(), namespace=namespace, ttl=1_000, persistenceMode=hold))
    client.wait_for_status(path, "closing")
    assert 1.0 <= time.monotonic() - started <= 2.5
    eventually(lambda: statuses(client, path) == ["stopped"])


def test_a_closed_session_is_held_for_its_time(stack: LocalStack, client: Client, namespace: str) -> None:
    hold = {"mode": "hold_after_exit", "duration": 2_000}
    path = client.create(session(sleeper(seconds=0.1), namespace=namespace, persistenceMode=hold))
    client.wait_for_status(path, "closing")
    status = client.call("GET", path).body["status"]
    until_ms = wait_until_held(stack, path)
    assert until_ms == ms_from_iso(status["closingTime"]) + 2_000
    client.wait_for_status(path, None)
    assert until_ms <= time.time() * 1000 <= until_ms + 1_500


def test_minimum_time_counts_from_creation(stack: LocalStack, client: Client, namespace: str) -> None:
    started = time.monotonic()
    minimum = {"mode": "minimum_time", "time": 2_000}
    path = client.create(session(sleeper(seconds=0.1), namespace=namespace, persistenceMode=minimum))
    created_ms = ms_from_iso(client.call("GET", path).body["status"]["executionTime"])
    assert wait_until_held(stack, path) == created_ms + 2_000
    client.wait_for_status(path, None)
    assert 2.0 <= time.monotonic() - started <= 3.5


def test_minimum_time_that_has_passed_holds_nothing(client: Client, namespace: str) -> None:
    minimum = {"mode": "minimum_time", "time": 100}
    path = client.create(session(sleeper(seconds=0.5), namespace=namespace, persistenceMode=minimum))
    client.wait_for_status(path, None, within_s=3)


def test_delete_closes_a_running_session_and_ends_its_agents(client: Client, namespace: str) -> None:
    hold = {"mode": "hold_after_exit", "duration": 1_000}
    path = client.create(session(sleeper(), sleeper("b"), namespace=namespace, persistenceMode=hold))
    eventually(lambda: statuses(client, path) == ["running", "running"])
    assert client.call("DELETE", path).status == 200
    assert client.status(path) == "closing"
    eventually(lambda: statuses(client, path) == ["stopped", "stopped"])
    client.wait_for_status(path, None)


def test_a_deferred_session_waits_for_its_execution(client: Client, namespace: str) -> None:
    path = client.create(session(sleeper(seconds=0.1), namespace=namespace, defer=True))
    assert client.status(path) == "pending_execution"
    assert statuses(client, path) == ["waiting"]
    assert client.call("POST", path, {"persistenceMode": {"mode": "hold_after_exit", "duration": 200}}).status == 200
    assert client.call("POST", path, {}).status == 400
    client.wait_for_status(path, None)


def test_delete_removes_a_pending_session_and_its_namespace(client: Client, namespace: str) -> None:
    path = client.create(session(sleeper(), namespace=namespace, defer=True))
    assert client.call("DELETE", path).status == 200
    assert client.status(path) is None
    eventually(lambda: client.call("GET", f"/api/v1/local/namespace/{namespace}").status == 404)


def test_deleting_a_namespace_ends_whatever_is_in_it(stack: LocalStack, client: Client, namespace: str) -> None:
    hold = {"mode": "hold_after_exit", "duration": 60_000}
    running = client.create(session(sleeper(), namespace=namespace, persistenceMode=hold))
    held = client.create(session(sleeper(seconds=0.1), namespace=namespace, persistenceMode=hold))
    pending = client.create(session(sleeper(), namespace=namespace, defer=True))
    wait_until_held(stack, held)
    assert client.call("DELETE", f"/api/v1/local/namespace/{namespace}").status == 200
    assert [client.status(path) for path in (running, held, pending)] == [None] * 3
    assert client.call("GET", f"/api/v1/local/namespace/{namespace}").status == 404
    client.create(session(sleeper(seconds=0), namespace=namespace))


@pytest.mark.parametrize(("kind", "reason"), [("missing", "no-such-program-anywhere"), ("crasher", "3")])
def test_an_agent_that_cannot_run_is_stopped_with_its_reason(
    client: Client, namespace: str, kind: str, reason: str
) -> None:
    hold = {"mode": "hold_after_exit", "duration": 60_000}
    path = client.create(session(agent("broken", kind), namespace=namespace, persistenceMode=hold))
    client.wait_for_status(path, "closing")
    status = client.call("GET", f"{path}/agent").body[0]["status"]
    assert status["type"] == "stopped"
    assert reason in status["reason"]


def test_the_session_goes_on_without_an_agent_that_cannot_run(client: Client, namespace: str) -> None:
    path = client.create(session(agent("broken", "missing"), sleeper("b"), namespace=namespace))
    eventually(lambda: statuses(client, path) == ["stopped", "running"])
    assert client.status(path) == "executed"


def test_an_agent_that_has_stopped_can_be_ended_again(client: Client, namespace: str) -> None:
    path = client.create(session(sleeper("a", 0.1), sleeper("b"), namespace=namespace))
    puppet = f"{path.replace('/local/session/', '/puppet/')}/a"
    eventually(lambda: statuses(client, path) == ["stopped", "running"])
    assert [client.call("DELETE", puppet).status for _ in range(2)] == [200, 200]
    assert statuses(client, path) == ["stopped", "running"]


def test_no_agent_of_a_pending_session_can_be_ended(client: Client, namespace: str) -> None:
    path = client.create(session(sleeper("a"), namespace=namespace, defer=True))
    answer = client.call("DELETE", f"{path.replace('/local/session/', '/puppet/')}/a")
    assert (answer.status, statuses(client, path)) == (400, ["waiting"])
    assert "pending" in answer.body["message"]
