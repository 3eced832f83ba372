"""Times that an item carries: until when a session may be collected, until when it is held, and when an agent ran."""

import json
from pathlib import Path
from typing import Any

import pytest

from chalicelib.domain.registry import register_local
from chalicelib.settings import Settings
from chalicelib.wire.base import iso_from_ms
from tests.client import agent, session, sleeper
from tests.faults.platform import Call, Emulator, World
from tests.faults.scenarios import DAY_MS, HOLD, NAMESPACES, WEBHOOKS, begin, create, two_agents
from tests.faults.services import variables


def record_of(world: World) -> dict[str, Any]:
    """Return the one session record that is stored."""
    (record,) = world.items("sessions")
    return record


def stopped_event(world: World, name: str) -> dict[str, Any]:
    """End an agent's task without a word, and return the event that ECS would have sent."""
    (task,) = [task for task in world.ecs.running() if variables(task)["CORAL_AGENT_ID"] == name]
    world.ecs.end(task, exit_code=0, silently=True)
    return world.ecs.event(task)


def end_report(world: World) -> Any:
    """Return what the webhook was sent."""
    ((_, body),) = world.receiver.received
    return json.loads(body)


def test_a_deferred_session_that_is_executed_outlives_its_pending_time(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"closed_by_user"}
    path = create(world, witness, session(sleeper("a"), defer=True))
    world.run_for(DAY_MS - 60_000)
    assert world.ask("POST", path, {})[0] == 200
    world.run_for(2 * DAY_MS)
    world.expire()
    assert world.ask("GET", path)[1]["status"]["type"] == "executed"
    assert world.ask("GET", f"{path}/extended")[1]["agents"][0]["status"]["type"] == "running"
    world.ask("DELETE", path)
    assert not witness.broken()


def test_a_held_session_expires_when_its_hold_and_the_retention_are_over(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"closed_by_user"}
    path = create(world, witness, two_agents(world, persistenceMode=HOLD))
    world.run_for(5_000)
    world.ask("DELETE", path)
    world.run_for(30_000)
    record = record_of(world)
    assert record["holdUntilMs"] == record["closingAtMs"] + HOLD["duration"]
    assert record["expiresAt"] == record["holdUntilMs"] // 1000 + Settings().retention_s
    assert "taskToken" not in record
    assert not witness.broken()


def test_a_namespace_that_is_deleted_just_before_the_hold_forgoes_it(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"closed_by_user", "namespace_deleted"}
    witness.right_refusals = {("GET", 404), ("DELETE", 503)}
    path = create(world, witness, two_agents(world, persistenceMode={**HOLD, "duration": DAY_MS}))
    world.run_for(5_000)
    deleted_at_ms: list[int] = []

    def delete_namespace(call: Call) -> None:
        is_hold = "holdUntilMs" in call.parameters.get("ExpressionAttributeNames", {}).values()
        if call.function == "close_session" and is_hold and "SET" in call.parameters["UpdateExpression"]:
            world.before_call.clear()
            deleted_at_ms.append(world.now_ms)
            world.outside(lambda: world.request("DELETE", f"{NAMESPACES}/tests"))

    world.before_call.append(delete_namespace)
    world.ask("DELETE", path)
    world.run_for(60_000)
    assert deleted_at_ms, "the hold was never written"
    assert world.items("sessions") == []
    assert world.ask("GET", f"{NAMESPACES}/tests")[0] == 404
    assert not witness.broken()


def test_a_stop_without_its_time_is_of_now(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"agents_exited"}
    create(world, witness, session(sleeper("a"), webhooks=WEBHOOKS))
    world.run_for(5_000)
    event = stopped_event(world, "a")
    del event["detail"]["stoppedAt"]
    world.now_ms += 7_000
    now_ms = world.now_ms
    world.invoke("atoll-local-on_task_change", event)
    world.run()
    (run,) = end_report(world)["agentStats"]
    assert run["endTime"] == iso_from_ms(now_ms)
    assert not witness.broken()


def test_a_stop_that_names_another_start_moves_no_known_one(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"agents_exited"}
    create(world, witness, session(sleeper("a"), webhooks=WEBHOOKS))
    world.run_for(5_000)
    (before,) = [item for item in world.items("session-items") if item["item"] == "AGENT#a"]
    event = stopped_event(world, "a")
    event["detail"]["startedAt"] = "2001-01-01T00:00:00.000Z"
    world.invoke("atoll-local-on_task_change", event)
    (after,) = [item for item in world.items("session-items") if item["item"] == "AGENT#a"]
    assert after["startedAtMs"] == before["startedAtMs"]
    world.run()
    assert not witness.broken()


@pytest.mark.parametrize("extended", [False, True])
def test_events_and_reports_carry_the_creation_time_of_their_session(emulator: Emulator, extended: bool) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"agents_exited"}
    world.ecs.lives_ms = {"a": 5_000}
    create(world, witness, session(sleeper("a"), webhooks=WEBHOOKS, extendedEndReport=extended))
    (record,) = world.items("sessions")
    world.run()
    state = end_report(world)["sessionState"]["state"]
    states = [state["base"] if extended else state]
    for _, detail in world.published:
        states += [detail[key] for key in ("initialSessionState", "sessionState", "finalSessionState") if key in detail]
    assert len(states) == 5
    assert {state["timestamp"] for state in states} == {iso_from_ms(record["createdAtMs"])}
    assert not witness.broken()


#: An agent of which nothing is said that may be left unsaid.
UNDESCRIBED = """
edition = 4
[agent]
name = "quiet"
version = "1.0.0"
[runtimes.executable]
path = "sh"
"""


@pytest.mark.parametrize("extended", [False, True])
def test_a_report_leaves_out_what_is_null(emulator: Emulator, tmp_path: Path, extended: bool) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"agents_exited"}
    (tmp_path / "coral-agent.toml").write_text(UNDESCRIBED)
    world.outside(lambda: register_local(world.services, tmp_path))
    world.run()
    world.ecs.lives_ms = {"a": 5_000, "b": 6_000}
    create(world, witness, session(agent("a", "quiet"), sleeper("b"), webhooks=WEBHOOKS, extendedEndReport=extended))
    world.run_for(3_000)
    thread = world.tool("a", "coral_create_thread", threadName="t", participantNames=["b"])["thread"]
    world.tool("a", "coral_send_message", threadId=thread["id"], content="hello", mentions=[])
    world.run()
    report = end_report(world)
    assert (report["sessionState"]["type"] == "extended") is extended
    assert list(nulls(report)) == []
    assert not witness.broken()


def nulls(value: Any, path: str = "$") -> Any:
    """Yield the path of every null in a JSON document."""
    if value is None:
        yield path
    for name, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from nulls(part, f"{path}.{name}")
