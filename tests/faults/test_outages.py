"""A service of AWS is unavailable for a while: accepted work waits for it, and is done when it is back."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from chalicelib.domain import agent_environment
from chalicelib.domain.registry import register_local
from chalicelib.store.agents import AgentRecord
from chalicelib.store.registry import RegistryAgentRecord
from chalicelib.wire.fargate import Fargate
from infra.local.ecs.tasks import Task
from tests.agents import CRASHER
from tests.client import agent, session, sleeper
from tests.faults.invariants import Witness
from tests.faults.platform import Emulator, World
from tests.faults.scenarios import WEBHOOKS, begin, create, two_agents
from tests.faults.services import refused

MINUTE_MS = 60_000


def away(*operations: str) -> Callable[[str], Exception | None]:
    def outage(operation: str) -> Exception | None:
        return refused(operation, "ServiceUnavailableException", 503) if operation in operations else None

    return outage


@pytest.mark.parametrize(
    "operations",
    [("RunTask",), ("RunTask", "GetSecretValue"), ("StartExecution",), ("PutEvents",), ("GetSecretValue",)],
    ids="-".join,
)
def test_a_session_waits_for_a_service_and_then_runs(emulator: Emulator, operations: tuple[str, ...]) -> None:
    world, witness = begin(emulator)
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    world.outage = away(*operations)
    create(world, witness, two_agents(world, lives_ms=(500, 900)))
    world.run_for(20 * MINUTE_MS)
    assert world.items("sessions")[0]["status"] == "executed"
    world.outage = None
    assert not witness.broken()


@pytest.mark.parametrize(
    "operations", [("StopTask",), ("ListTasks", "DescribeTasks"), ("SendTaskSuccess",)], ids="-".join
)
def test_a_closed_session_waits_for_a_service_and_then_ends(emulator: Emulator, operations: tuple[str, ...]) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"closed_by_user"}
    witness.outlives_ms = 30 * MINUTE_MS
    path = create(world, witness, two_agents(world))
    world.run_for(5_000)
    world.outage = away(*operations)
    assert world.request("DELETE", path)[0] == 200
    world.run_for(20 * MINUTE_MS)
    world.outage = None
    assert not witness.broken()


def test_an_agent_waits_for_room_while_the_others_run(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    world.ecs.full = lambda request: (
        "Capacity is unavailable at this time." if str(request["startedBy"]).endswith("/0") else None
    )
    create(world, witness, two_agents(world, lives_ms=(500, 500)))
    world.run_for(10 * MINUTE_MS)
    assert len(world.ecs.tasks) == 1
    assert world.items("sessions")[0]["status"] == "executed", "one agent is still to run"
    world.ecs.full = lambda _: None
    assert not witness.broken()


def test_a_task_has_tags_of_its_agent(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    path = create(world, witness, two_agents(world, lives_ms=(500, 500)))
    assert not witness.broken()
    [tags, _] = [call.parameters["tags"] for call in world.calls if call.operation == "RunTask"]
    expected = {"stage": "local", "namespace": "tests", "session": path.rpartition("/")[2], "agent": "a"}
    assert tags == [{"key": f"atoll:{name}", "value": value} for name, value in expected.items()]


def test_a_task_runs_on_spare_capacity_where_the_agents_file_says_so(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    with patch.object(RegistryAgentRecord, "task", Fargate(spot=True)):
        create(world, witness, two_agents(world, lives_ms=(500, 500)))
        assert not witness.broken()
    tasks = [call.parameters for call in world.calls if call.operation == "RunTask"]
    spare = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    assert [each.get("capacityProviderStrategy") for each in tasks] == [spare, spare]


def test_an_agent_whose_tasks_failed_to_start_twice_runs_in_the_third(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    world.ecs.failures = {"a": ["ResourceInitializationError: failed to download env files"] * 2}
    path = create(world, witness, two_agents(world, lives_ms=(60_000, 60_000)))
    world.run_for(10_000)
    states = [each["status"]["type"] for each in world.ask("GET", f"{path}/agent")[1]]
    assert states == ["running", "running"]
    assert len(world.ecs.tasks) == 4
    assert not witness.broken()


def test_an_agent_whose_tasks_fail_to_start_is_stopped_with_the_reason_of_ecs(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"agents_exited"}
    reason = "CannotPullContainerError: pull image manifest has been retried 1 time(s): not found"
    world.ecs.failures = {"a": [reason] * 9}
    path = create(world, witness, two_agents(world, lives_ms=(500, 60_000)))
    world.run_for(30_000)
    states = [each["status"] for each in world.ask("GET", f"{path}/agent")[1]]
    assert [state["type"] for state in states] == ["stopped", "running"]
    assert states[0]["reason"] == reason
    assert len(world.ecs.failures["a"]) == 6, "it was tried three times"
    assert not [key for key in world.objects("environments/") if "/0-" in key]
    assert not witness.broken()


@pytest.mark.parametrize("meanwhile_ms", [0, 1_020], ids=["at once", "and its agent launched again"])
def test_a_task_that_failed_to_start_is_told_of_before_its_launch_has_noted_it(
    emulator: Emulator, meanwhile_ms: int
) -> None:
    world, witness = begin(emulator)
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    world.ecs.failures = {"a": ["CannotPullContainerError: timed out"]}
    run_task = world.ecs.run_task

    def run_and_fail(request: dict[str, Any]) -> dict[str, Any]:
        answer = run_task(request)
        task = world.ecs.tasks[answer["tasks"][0]["taskArn"]]
        if world.ecs.failures["a"] and str(request["startedBy"]).endswith("/0"):
            world.ecs.start_now(task)
            world.outside(lambda: world.invoke("atoll-local-on_task_change", world.ecs.event(task)))
            world.outside(lambda: world.run_for(meanwhile_ms))
        return answer

    world.ecs.run_task = run_and_fail  # type: ignore[method-assign]
    create(world, witness, two_agents(world, lives_ms=(500, 500)))
    assert not witness.broken()
    assert len(world.ecs.tasks) == 3


def test_a_task_definition_waits_for_ecs(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    world.outage = away("RegisterTaskDefinition")
    register_local(world.services, CRASHER)
    world.ecs.lives_ms = {"a": 100}
    create(world, witness, session(agent("a", "crasher"), webhooks=WEBHOOKS))
    world.run_for(20 * MINUTE_MS)
    assert world.items("sessions")[0]["status"] == "executed"
    world.outage = None
    assert not witness.broken()


def test_a_refused_task_definition_is_the_stop_reason_of_its_agents(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"agents_exited"}
    world.outage = lambda operation: (
        refused(operation, "ClientException", 400) if operation == "RegisterTaskDefinition" else None
    )
    register_local(world.services, CRASHER)
    world.run()
    assert not world.streams["atoll-local-registry"].failed, "a record that can never succeed is not retried"
    path = create(world, witness, session(agent("a", "crasher"), sleeper("b"), webhooks=WEBHOOKS))
    world.run_for(5_000)
    states = [each["status"] for each in world.ask("GET", f"{path}/agent")[1]]
    assert [state["type"] for state in states] == ["stopped", "running"]
    assert "ClientException" in states[0]["reason"]
    world.ecs.end(world.ecs.running()[0], exit_code=0)
    assert not witness.broken()


def test_the_time_to_live_goes_on_while_a_session_waits(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"ttl"}
    world.outage = away("RunTask")
    create(world, witness, two_agents(world, ttl=2 * MINUTE_MS))
    world.run_for(4 * MINUTE_MS)
    assert not world.items("sessions")
    assert not witness.broken()


def test_an_agent_whose_launch_fails_permanently_is_stopped_and_the_others_run(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"agents_exited"}
    given = agent_environment.of

    def broken(agent: AgentRecord, *rest: Any) -> object:
        if agent.name == "a":
            raise KeyError("a fault of ours")
        return given(agent, *rest)

    path = create(world, witness, two_agents(world, lives_ms=(500, 60_000)))
    with patch.object(agent_environment, "of", broken):
        world.run_for(5_000)
    states = [agent["status"] for agent in world.ask("GET", f"{path}/agent")[1]]
    assert [state["type"] for state in states] == ["stopped", "running"]
    assert "KeyError" not in states[0]["reason"]
    assert not witness.broken()


def away_for(world: World, function: str) -> Callable[[str], Exception | None]:
    """Throttle what one function calls, and nothing else."""

    def outage(operation: str) -> Exception | None:
        return refused(operation, "ThrottlingException") if world.calls[-1].function == function else None

    return outage


def calls_of(world: World, function: str) -> int:
    """Return how often a function was called."""
    return len({call.invocation for call in world.calls if call.function == function})


def exited_unrecorded(emulator: Emulator) -> tuple[World, Witness, Task]:
    """The only agent of a session has just exited, and the function that should record it is throttled."""
    world, witness = begin(emulator)
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    world.outage = away_for(world, "on_task_change")
    create(world, witness, session(sleeper("a"), webhooks=WEBHOOKS))
    world.run_for(5_000)
    [task] = world.ecs.running()
    world.ecs.end(task, exit_code=0)
    return world, witness, task


def test_the_stop_of_an_agent_is_noted_by_the_third_call(emulator: Emulator) -> None:
    world, witness, _ = exited_unrecorded(emulator)
    world.run_for(2 * MINUTE_MS)
    assert calls_of(world, "on_task_change") == 2
    world.outage = None
    world.run_for(2 * MINUTE_MS)
    assert calls_of(world, "on_task_change") == 3
    assert not world.items("sessions")
    assert not world.dead_letters
    assert not witness.broken()


def test_the_stop_of_an_agent_that_three_calls_could_not_note_is_dead_lettered_and_repaired(emulator: Emulator) -> None:
    world, witness, task = exited_unrecorded(emulator)
    world.run_for(10 * MINUTE_MS)
    assert calls_of(world, "on_task_change") == 3
    [(queue, letter)] = world.dead_letters
    assert queue.endswith(":atoll-local-dead-letters")
    assert letter["requestContext"]["condition"] == "RetriesExhausted"
    assert letter["requestContext"]["approximateInvokeCount"] == 3
    payload = letter["requestPayload"]
    assert payload.keys() == {"detail"}, "what its rule passes on"
    assert (payload["detail"]["taskArn"], payload["detail"]["lastStatus"]) == (task.arn, "STOPPED")
    world.outage = None
    world.run_for(2 * MINUTE_MS)
    assert world.items("sessions")[0]["status"] == "executed", "no event has reported the end"
    assert world.invoke("atoll-local-reconcile", {}) == {"task_gone": 1, "agents_gone": 1}
    assert not witness.broken()


def test_a_dead_letter_of_a_stop_can_be_replayed(emulator: Emulator) -> None:
    world, witness, _ = exited_unrecorded(emulator)
    world.run_for(10 * MINUTE_MS)
    world.outage = None
    [(_, letter)] = world.dead_letters
    world.invoke("atoll-local-on_task_change", letter["requestPayload"])
    assert not witness.broken()


def test_what_cannot_be_done_now_is_refused_and_can_be_repeated(emulator: Emulator) -> None:
    def refuse_all(world: World) -> None:
        world.outage = lambda operation: refused(operation, "ProvisionedThroughputExceededException")

    world, witness = begin(emulator)
    witness.reasons = {"closed_by_user"}
    path = create(world, witness, two_agents(world))
    world.run_for(5_000)
    refuse_all(world)
    for method, what in (("GET", path), ("DELETE", path), ("POST", "/api/v1/local/session")):
        status, body, headers = world.request(method, what, two_agents(world) if method == "POST" else None)
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "message" in body
    world.outage = None
    world.ask("DELETE", path)
    assert not witness.broken()


def test_a_write_that_a_transaction_is_in_the_way_of_is_made_after_it(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"agents_exited"}
    path = create(world, witness, two_agents(world, lives_ms=(500, 500), defer=True))
    conflicts = iter([refused("UpdateItem", "TransactionConflictException")] * 3)
    world.outage = lambda operation: next(conflicts, None) if operation == "UpdateItem" else None
    assert world.request("POST", path, {"webhooks": WEBHOOKS})[0] == 200
    assert next(conflicts, None) is None
    assert not witness.broken()
