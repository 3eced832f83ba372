"""The reconciler finds and repairs inconsistent state, made by hand here, and leaves consistent state alone."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from chalicelib import telemetry
from chalicelib.domain.registry import register_local
from chalicelib.reactions import reconciler
from chalicelib.store.agents import AgentRecord
from tests.agents import BOXED, TURNER
from tests.client import boxed, function, session, sleeper
from tests.faults.invariants import Witness
from tests.faults.platform import Emulator, World
from tests.faults.scenarios import DAY_MS, HOLD, NAMESPACES, WEBHOOKS, begin, create, two_agents

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


def reconcile(world: World) -> dict[str, int]:
    """Run the Lambda once and let what follows happen."""
    repairs: dict[str, int] = world.invoke("atoll-local-reconcile", {})
    world.run_for(MINUTE_MS)
    return repairs


@contextmanager
def losing(world: World, table: str) -> Iterator[None]:
    """Let the records of a table's stream never arrive."""
    stream = world.streams[f"atoll-local-{table}"]
    stream.held = True
    yield
    stream._waiting.clear()
    stream.held = False


Made = tuple[World, Witness]


def world_to_repair(emulator: Emulator) -> Made:
    """Make a world in which to create inconsistent state."""
    world, witness = begin(emulator)
    witness.reasons = {"agents_exited", "ttl", "closed_by_user", "namespace_deleted"}
    witness.longest_ms = 31 * DAY_MS  # some of what is left behind here, and replaced, wakes only then
    witness.outlives_ms = HOUR_MS
    return world, witness


@pytest.fixture
def made(emulator: Emulator) -> Iterator[Made]:
    with patch.object(reconciler, "ITEM_PARTS", 1):
        yield world_to_repair(emulator)


def running(world: World, witness: Witness, **settings: Any) -> str:
    """Make a session whose two agents run."""
    path = create(world, witness, two_agents(world, **settings))
    world.run_for(5_000)
    assert len(world.ecs.running()) == 2
    return path


def test_what_is_held_for_a_call_that_nobody_settles_is_booked(made: Made) -> None:
    world, witness = made
    request = two_agents(world, lives_ms=(2 * HOUR_MS, 2 * HOUR_MS))
    request["agentGraphRequest"]["budget"] = {"usd": "0.000100"}
    path = create(world, witness, request)
    world.run_for(5_000)
    assert world.model_call("a", 85, None)
    world.run_for(15 * MINUTE_MS)
    assert reconcile(world) == {}, "it may still be settled"
    world.run_for(5 * MINUTE_MS)
    assert reconcile(world) == {"holds_overdue": 1}
    assert reconcile(world) == {}
    budget = world.ask("GET", f"{path}/budget")[1]["session"]
    assert budget == {"limit": 100, "spent": 85, "held": 0, "available": 15}
    assert [kind for kind, _ in world.published if kind.startswith("budget_")] == ["budget_low"]


def leave_deleting(world: World) -> None:
    """Break off a namespace's deletion after its first step."""
    record = world.services.namespaces.find("tests")
    assert record is not None
    world.services.namespaces.start_deleting(record, "a deletion", now_ms=world.now_ms)


def test_what_is_well_is_left_alone(made: Made) -> None:
    world, witness = made
    path = running(world, witness)
    create(world, witness, session(sleeper("c"), defer=True))
    for _ in range(12):
        world.run_for(5 * MINUTE_MS)
        assert reconcile(world) == {}
    world.ask("DELETE", path)
    assert reconcile(world) == {}


@pytest.mark.parametrize("forgotten", [False, True], ids=["described as stopped", "not known any more"])
def test_a_session_whose_tasks_are_gone_is_closed(made: Made, forgotten: bool) -> None:
    world, witness = made
    running(world, witness)
    for task in world.ecs.running():
        world.ecs.end(task, silently=True)
        if forgotten:
            world.ecs.forget(task)
    assert reconcile(world) == {}, "what is young is left to the usual way"
    world.run_for(11 * MINUTE_MS)
    assert reconcile(world) == {"task_gone": 2, "agents_gone": 1}
    assert not witness.broken()


def test_a_container_of_which_ecs_never_tells_is_told_of_at_its_end(made: Made) -> None:
    world, witness = made
    world.outside(lambda: register_local(world.services, BOXED))
    world.run()
    world.ecs.silent = True
    create(world, witness, session(boxed("a"), persistenceMode=HOLD))
    world.run_for(5_000)
    world.ecs.end(world.ecs.running()[0])
    world.run_for(11 * MINUTE_MS)
    world.ecs.silent = False
    assert reconcile(world) == {"task_gone": 1, "agents_gone": 1}
    assert not witness.broken()


def test_one_task_that_is_gone_is_noted_while_the_session_goes_on(made: Made) -> None:
    world, witness = made
    path = running(world, witness)
    world.ecs.end(world.ecs.running()[0], silently=True)
    world.run_for(11 * MINUTE_MS)
    assert reconcile(world) == {"task_gone": 1}
    assert [agent["status"]["type"] for agent in world.ask("GET", f"{path}/extended")[1]["agents"]] == [
        "stopped",
        "running",
    ]
    world.ecs.end(world.ecs.running()[0])
    assert not witness.broken()


def test_a_task_that_never_started_and_of_which_ecs_never_tells_is_started_again(made: Made) -> None:
    world, witness = made
    world.ecs.failures, world.ecs.lives_ms = {"a": ["CannotPullContainerError: timed out"]}, {"a": 500}
    world.ecs.silent = True
    create(world, witness, session(sleeper("a")))
    world.run_for(11 * MINUTE_MS)
    world.ecs.silent = False
    assert reconcile(world) == {"task_gone": 1}
    assert len(world.ecs.tasks) == 2
    assert not witness.broken()


def test_an_agent_that_waits_and_whose_lifecycle_was_not_told_is_started(made: Made) -> None:
    world, witness = made
    world.ecs.failures, world.ecs.lives_ms = {"a": ["CannotPullContainerError: timed out"]}, {"a": 500}
    create(world, witness, session(sleeper("a")))
    with patch.object(type(world.services.machines), "repeat_run"):
        world.run_for(MINUTE_MS)
        assert reconcile(world) == {}, "what is young is left to the usual way"
        world.run_for(11 * MINUTE_MS)
    assert reconcile(world) == {"launch_forgotten": 1}
    assert len(world.ecs.tasks) == 2
    assert not witness.broken()


def test_an_agent_that_was_ended_but_whose_task_was_not_stopped(made: Made) -> None:
    world, witness = made
    running(world, witness)
    session_id = world.items("sessions")[0]["sessionId"]
    for name in ("a", "b"):
        world.services.agents.stop(session_id, name, now_ms=world.now_ms, reason="ended by a user")
    world.run_for(11 * MINUTE_MS)
    assert reconcile(world) == {"agents_gone": 1, "task_stray": 2}
    witness.last_items.clear()  # this test's shortcut has not written to the log
    world.run()
    assert not world.ecs.running()
    assert not world.items("sessions")


def test_an_execution_that_failed_is_replaced(made: Made) -> None:
    world, witness = made
    running(world, witness)
    [execution] = world.executions("session-lifecycle")
    execution.stop()
    world.run_for(11 * MINUTE_MS)
    assert reconcile(world) == {"execution_lost": 1}
    assert len(world.ecs.running()) == 2, "its agents run on"
    world.run_for(11 * MINUTE_MS)
    assert reconcile(world) == {}
    for task in world.ecs.running():
        world.ecs.end(task)
    world.run()
    assert [each.name.endswith("-restart-1") for each in world.executions("session-lifecycle")] == [False, True]
    execution.status = "SUCCEEDED"
    assert not witness.broken()


def test_an_execution_that_failed_while_its_session_was_held(made: Made) -> None:
    world, witness = made
    path = running(world, witness, persistenceMode={**HOLD, "duration": DAY_MS})
    world.ask("DELETE", path)
    world.run_for(MINUTE_MS)
    [execution] = world.executions("session-lifecycle")
    assert execution.state == "Hold"
    execution.stop()
    world.run_for(11 * MINUTE_MS)
    assert reconcile(world) == {"execution_lost": 1}
    world.run_for(11 * MINUTE_MS)
    assert world.ask("GET", path)[1]["status"]["type"] == "closing", "it is held until its time"
    execution.status = "SUCCEEDED"
    assert not witness.broken()


def test_an_execution_that_never_started(made: Made) -> None:
    world, witness = made
    with losing(world, "sessions"):
        create(world, witness, two_agents(world, lives_ms=(100, 100)))
    world.run_for(11 * MINUTE_MS)
    assert not world.executions("session-lifecycle")
    assert reconcile(world) == {"execution_lost": 1}
    world.run()
    assert not world.items("sessions")
    assert len(world.ecs.tasks) == 2


def test_a_lifecycle_that_missed_the_end(made: Made) -> None:
    world, witness = made
    path = running(world, witness)
    with losing(world, "sessions"):
        world.ask("DELETE", path)
    world.run_for(11 * MINUTE_MS)
    assert len(world.ecs.running()) == 2
    assert reconcile(world)["closing_not_announced"] == 1
    world.run()
    assert not world.ecs.running()
    assert not world.items("sessions")


def test_a_hold_that_is_overdue(made: Made) -> None:
    world, witness = made
    path = running(world, witness, persistenceMode=HOLD)
    world.ask("DELETE", path)
    world.run_for(10_000)
    [execution] = world.executions("session-lifecycle")
    execution.stop()
    execution.status = "RUNNING"  # it sleeps for ever
    world.run_for(20 * MINUTE_MS)
    assert reconcile(world) == {}
    world.run_for(20 * MINUTE_MS)
    assert reconcile(world) == {"hold_overdue": 1}
    execution.status = "SUCCEEDED"
    assert not witness.broken()


def test_a_time_to_live_that_was_missed(made: Made) -> None:
    world, witness = made
    running(world, witness, ttl=MINUTE_MS)
    [execution] = world.executions("session-lifecycle")
    execution.stop()
    execution.status = "RUNNING"
    world.run_for(12 * MINUTE_MS)
    assert reconcile(world) == {"ttl_missed": 1}
    world.run_for(45 * MINUTE_MS)
    assert reconcile(world) == {"hold_overdue": 1} or not world.items("sessions")
    execution.status = "SUCCEEDED"
    assert not witness.broken()


def test_a_pending_session_past_its_time(made: Made) -> None:
    world, witness = made
    create(world, witness, two_agents(world, defer=True))
    world.run_for(DAY_MS - 1_000)
    assert reconcile(world) == {}
    assert reconcile(world)["pending_expired"] == 1
    assert not witness.broken()


def test_a_delivery_that_never_started(made: Made) -> None:
    world, witness = made
    create(world, witness, two_agents(world, lives_ms=(100, 100)))
    with losing(world, "deliveries"):
        world.run()
    assert [delivery["state"] for delivery in world.items("deliveries")] == ["pending"]
    world.run_for(11 * MINUTE_MS)
    assert reconcile(world) == {}
    world.run_for(11 * MINUTE_MS)
    assert reconcile(world) == {"delivery_stalled": 1}
    assert not witness.broken()


def test_a_delivery_whose_execution_failed(made: Made) -> None:
    world, witness = made
    world.receiver.statuses.extend([500])
    create(world, witness, two_agents(world, lives_ms=(100, 100)))
    while not world.receiver.received:
        world.run_for(100)
    [execution] = world.executions("webhook-delivery")
    execution.stop()
    world.run_for(30 * MINUTE_MS)
    assert reconcile(world) == {"delivery_stalled": 1}
    execution.status = "SUCCEEDED"
    assert not witness.broken()


@pytest.mark.parametrize("session_id", ["00000000-0000-4000-8000-000000000000", "no session"])
def test_a_task_without_a_session(made: Made, session_id: str) -> None:
    world, _ = made
    world.run_task(f"{session_id}/0")
    world.run_for(5 * MINUTE_MS)
    assert reconcile(world) == {}
    world.run_for(5 * MINUTE_MS)
    assert reconcile(world) == {"task_stray": 1}
    assert not world.ecs.running()


@pytest.mark.parametrize("started_by", ["ecs-svc-123", "/", "/0", "somebody/else", ""])
def test_a_task_of_somebody_else_is_left_alone(made: Made, started_by: str) -> None:
    world, _ = made
    world.run_task(started_by)
    world.run_for(20 * MINUTE_MS)
    assert reconcile(world) == {}
    assert len(world.ecs.running()) == 1


def test_a_namespace_left_deleting_without_sessions(made: Made) -> None:
    world, _ = made
    world.ask("POST", NAMESPACES, {"name": "tests"})
    leave_deleting(world)
    assert reconcile(world) == {}
    world.run_for(11 * MINUTE_MS)
    assert reconcile(world) == {"namespace_left_deleting": 1}
    assert not world.items("namespaces")


def test_a_namespace_left_deleting_with_a_session(made: Made) -> None:
    world, witness = made
    running(world, witness)
    leave_deleting(world)
    world.run_for(11 * MINUTE_MS)
    assert reconcile(world) == {"namespace_left_deleting": 1}
    assert world.items("namespaces")[0]["state"] == "active"
    assert len(world.ecs.running()) == 2


def test_a_deletion_by_request_that_was_broken_off(made: Made) -> None:
    world, witness = made
    running(world, witness)
    create(world, witness, session(sleeper("c"), defer=True))
    with losing(world, "namespaces"):
        assert world.request("DELETE", f"{NAMESPACES}/tests")[0] == 503
    world.run_for(11 * MINUTE_MS)
    assert reconcile(world)["namespace_left_deleting"] == 1
    assert not witness.broken()


def test_a_session_whose_namespace_is_gone(made: Made) -> None:
    world, witness = made
    running(world, witness)
    world.services.namespaces._table.delete({"name": "tests"})
    world.run_for(11 * MINUTE_MS)
    assert reconcile(world) == {"namespace_missing": 1}
    assert not witness.broken()


def test_items_of_a_session_that_never_was(made: Made) -> None:
    world, _ = made
    agent = AgentRecord(
        session_id="s",
        namespace="tests",
        name="a",
        position=0,
        registry_agent_identifier={},
        runtime="docker",
        expires_at=(world.now_ms + DAY_MS) // 1000,
        created_at_ms=world.now_ms,
    )
    world.services.agents.create_all([agent], {"a": "{}"})
    world.run_for(30 * MINUTE_MS)
    assert reconcile(world) == {}
    world.run_for(40 * MINUTE_MS)
    assert reconcile(world) == {"items_orphaned": 1}
    assert not world.items("session-items")


def test_an_entry_that_was_written_after_the_purge(made: Made) -> None:
    world, _ = made
    event = {"type": "agent_wait_start", "name": "a"}
    world.services.log.append("s", lambda _: event, expires_at=world.now_ms // 1000 + 30 * 24 * 3600)
    world.run_for(30 * MINUTE_MS)
    assert reconcile(world) == {}
    world.run_for(40 * MINUTE_MS)
    assert reconcile(world) == {"items_orphaned": 1}
    assert not world.items("session-items")


def test_items_of_sessions_that_live_are_left_alone(made: Made) -> None:
    world, witness = made
    running(world, witness)
    create(world, witness, session(sleeper("c"), defer=True))
    items = len(world.items("session-items"))
    world.run_for(90 * MINUTE_MS)
    assert reconcile(world) == {}
    assert len(world.items("session-items")) == items


def test_more_of_everything_than_one_page(made: Made) -> None:
    world, _ = made
    for number in range(250):
        world.run_task(f"s{number}/0")
    world.run_for(11 * MINUTE_MS)
    assert reconcile(world) == {"task_stray": 250}


def test_a_run_ends_when_its_time_does(made: Made) -> None:
    world, witness = made
    running(world, witness)
    for task in world.ecs.running():
        world.ecs.end(task, silently=True)
    world.run_for(11 * MINUTE_MS)
    assert reconciler.reconcile(world.services, lambda: True) == {}
    assert reconcile(world) == {"task_gone": 2, "agents_gone": 1}


def _all_at_once(world: World, witness: Witness) -> None:
    running(world, witness)
    for task in world.ecs.running():
        world.ecs.end(task, silently=True)
    leave_deleting(world)
    world.run_for(11 * MINUTE_MS)


def test_a_part_that_aws_refuses_is_left_for_the_next_run(emulator: Emulator) -> None:
    """Every call of a run is refused once: the other parts are done, and the next run does the rest."""
    number = 0
    while True:
        world, witness = begin(emulator)
        witness.reasons = {"agents_exited"}
        _all_at_once(world, witness)
        refuse: Callable[[str], Exception | None] = _refusing(number)
        world.outage = refuse
        reconcile(world)
        world.outage = None
        if refuse.left >= 0:  # type: ignore[attr-defined]
            break
        world.run_for(11 * MINUTE_MS)
        reconcile(world)
        assert not witness.broken(), f"call {number}"
        number += 1
    assert number > 10


def _refusing(number: int) -> Callable[[str], Exception | None]:
    from tests.faults.services import refused

    def refuse(operation: str) -> Exception | None:
        refuse.left -= 1  # type: ignore[attr-defined]
        return refused(operation, "ThrottlingException") if refuse.left == -1 else None  # type: ignore[attr-defined]

    refuse.left = number  # type: ignore[attr-defined]
    return refuse


def test_two_runs_beside_each_other(emulator: Emulator) -> None:
    """A second run goes through whole before each call of the first."""
    number = 0
    while True:
        world, witness = begin(emulator)
        witness.reasons = {"agents_exited"}
        _all_at_once(world, witness)
        calls = len(world.calls)

        def second(_: Any, world: World = world, at: int = calls + number + 1) -> None:
            if len(world.calls) == at:
                world.invoke("atoll-local-reconcile", {})

        world.before_call.append(second)
        reconcile(world)
        if len(world.calls) < calls + number + 1 or number > 60:
            break
        assert not witness.broken(), f"call {number}"
        number += 7
    assert number > 10


def test_repairs_are_measured(made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    world, _ = made
    monkeypatch.setattr(telemetry, "_IN_LAMBDA", True)
    monkeypatch.setenv("ATOLL_STAGE", "local")
    world.ask("POST", NAMESPACES, {"name": "tests"})
    leave_deleting(world)
    world.run_for(11 * MINUTE_MS)
    reconcile(world)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    assert [metric["stage"] for metric in lines] == ["local", "local"]
    dimensions = [metric["_aws"]["CloudWatchMetrics"][0]["Dimensions"] for metric in lines]
    # The first is what the alarm of infra/templates/stack.yaml looks at.
    assert (lines[0]["Repairs"], dimensions[0]) == ([1.0], [["stage"]])
    assert (lines[1]["RepairsByKind"], lines[1]["kind"]) == ([1.0], "namespace_left_deleting")
    assert {metric["_aws"]["CloudWatchMetrics"][0]["Namespace"] for metric in lines} == {"Atoll"}


def test_a_deletion_that_was_broken_off_takes_the_history_along(made: Made) -> None:
    world, witness = made
    assert world.ask("POST", NAMESPACES, {"name": "tests", "deleteOnLastSessionExit": False})[0] == 200
    world.ask("DELETE", running(world, witness))
    world.run_for(MINUTE_MS)
    assert world.items("history")
    with losing(world, "namespaces"):
        assert world.services.namespaces.force_deletion("tests", now_ms=world.now_ms)
        world.run_for(11 * MINUTE_MS)
    assert reconcile(world) == {"namespace_left_deleting": 1}
    assert world.items("history") == []
    assert not witness.broken()


def nudged_again(made: Made, operation: str, reason: str) -> None:
    """Let a function's messages of a kind be lost, and see that it has its turn all the same."""
    world, witness = made
    witness.reasons, witness.functions = {"agents_exited"}, {"f"}
    world.outside(lambda: register_local(world.services, TURNER))
    world.run()
    world.function.answer = lambda turn: {"exit": True} if turn["reason"] == reason else {"wait": {"maxWaitMs": 60_000}}
    with patch.object(world.queues, operation, lambda _: {"Successful": []}):
        create(world, witness, session(function("f"), webhooks=WEBHOOKS))
        world.run_for(2 * MINUTE_MS)
    world.run_for(11 * MINUTE_MS)
    assert reason not in [turn["reason"] for turn in world.function.turns]
    assert reconcile(world) == {"turn_overdue": 1}
    assert world.function.turns[-1]["reason"] == reason
    assert reconcile(world) == {}
    assert not witness.broken()


def test_a_function_whose_first_nudge_was_lost(made: Made) -> None:
    nudged_again(made, "send_message_batch", "started")


def test_a_function_whose_deadline_was_lost(made: Made) -> None:
    nudged_again(made, "send_message", "timeout")
