"""Events that come twice, late or in another order change nothing; an unprocessable record blocks no other."""

import copy
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.domain.registry import register_local
from tests.agents import BOXED
from tests.client import boxed, session, sleeper
from tests.faults.platform import Emulator, World
from tests.faults.scenarios import HOLD, SCENARIOS, WEBHOOKS, Scenario, begin, create, judge, two_agents

MINUTE_MS = 60_000


def each_at_once(world: World) -> None:
    world.again_after_ms = (0,)


def each_a_little_later(world: World) -> None:
    world.again_after_ms = (150, 1_000)


def each_when_all_is_over(world: World) -> None:
    world.again_after_ms = (30 * MINUTE_MS,)


def streams_reversed(world: World) -> None:
    for stream in world.streams.values():
        stream.reversed = True
        stream.delay_ms = 400


def streams_late(world: World) -> None:
    for stream in world.streams.values():
        stream.delay_ms = 3_000


WAYS = [each_at_once, each_a_little_later, each_when_all_is_over, streams_reversed, streams_late]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_nothing_changes_when_all_comes(emulator: Emulator, scenario: Scenario, way: Callable[[World], None]) -> None:
    world, witness = begin(emulator)
    way(world)
    broken = judge(scenario, world, witness)
    assert broken is None, str(broken)


def test_a_task_stops_before_run_task_has_returned(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    run_task = world.ecs.run_task

    def run_and_stop(request: dict[str, Any]) -> dict[str, Any]:
        answer = run_task(request)
        task = world.ecs.tasks[answer["tasks"][0]["taskArn"]]
        if task.last_status == "PROVISIONING":
            world.ecs.start_now(task)
            world.ecs.end(task, exit_code=0, silently=True)
            world.outside(lambda: world.invoke("atoll-local-on_task_change", world.ecs.event(task)))
        return answer

    world.ecs.run_task = run_and_stop  # type: ignore[method-assign]
    create(world, witness, two_agents(world))
    assert not witness.broken()


@pytest.mark.parametrize("order", ["RS", "SR", "RSR", "SRS", "RRSS", "SSR"], ids=str)
def test_a_container_is_told_of_once_whatever_ecs_tells_first(emulator: Emulator, order: str) -> None:
    world, witness = begin(emulator)
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    world.outside(lambda: register_local(world.services, BOXED))
    world.run()
    world.ecs.silent = True
    create(world, witness, session(boxed("a"), persistenceMode=HOLD))
    world.run_for(5_000)
    [task] = world.ecs.running()
    events = {"R": world.ecs.event(task)}
    world.ecs.end(task, exit_code=0)
    events["S"] = world.ecs.event(task)
    for which in order:
        world.invoke("atoll-local-on_task_change", events[which])
        world.run_for(1_000)
    assert not witness.broken()


@pytest.mark.parametrize("started_by", ["unknown", "unknown/0", "00000000-0000-4000-8000-000000000000/7", "/", ""])
def test_an_unknown_task_stops(emulator: Emulator, started_by: str) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"agents_exited"}
    create(world, witness, two_agents(world, lives_ms=(60_000, 60_000)))
    world.run_for(5_000)
    task = dataclasses.replace(
        world.ecs.running()[0], started_by=started_by, last_status="STOPPED", stopped_ms=world.now_ms
    )
    event = world.ecs.event(task)
    world.invoke("atoll-local-on_task_change", event)
    del event["detail"]["startedBy"]
    world.invoke("atoll-local-on_task_change", event)
    assert len(world.ecs.running()) == 2
    assert not witness.broken()


def test_the_stop_of_one_of_two_agents_comes_many_times(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    path = create(world, witness, two_agents(world, lives_ms=(1_000, 60_000)))
    world.run_for(5_000)
    stopped = [task for task in world.ecs.tasks.values() if task.last_status == "STOPPED"]
    for _ in range(3):
        world.invoke("atoll-local-on_task_change", world.ecs.event(stopped[0]))
    assert world.ask("GET", path)[1]["status"]["type"] == "executed", "the other one runs"
    assert not witness.broken()


def spoilt(world: World, table: str) -> dict[str, Any]:
    """Return a stream record that no code can process."""
    record = copy.deepcopy(next(iter(world.streams[f"atoll-local-{table}"].carried)))
    record["eventName"] = "INSERT"
    record["dynamodb"]["NewImage"] = {**record["dynamodb"]["Keys"], "status": {"S": "executed"}, "round": {"S": "x"}}
    record["dynamodb"]["NewImage"]["forced"] = {"BOOL": True}
    record["dynamodb"].pop("OldImage", None)
    return record


@pytest.mark.parametrize("table", ["sessions", "deliveries", "namespaces", "registry"])
def test_one_bad_record_holds_up_nothing(emulator: Emulator, table: str) -> None:
    world, witness = begin(emulator)
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    create(world, witness, session(sleeper("a"), webhooks=WEBHOOKS))
    world.ecs.lives_ms = {"a": 100}
    world.run()
    stream = world.streams[f"atoll-local-{table}"]
    bad = spoilt(world, table)
    bad["dynamodb"]["NewImage"] = {"createdAtMs": {"S": "nonsense"}, "round": {"S": "nonsense"}}
    stream.carried.pop()
    stream._waiting.append(bad)
    stream.wake()
    began_ms = world.now_ms
    create(world, witness, session(sleeper("a"), webhooks=WEBHOOKS))
    while world.items("sessions"):
        world.run_for(100)
    assert world.now_ms - began_ms < 30_000, "the good records waited for the bad one"
    world.run_for(MINUTE_MS)
    assert not stream._waiting
    [letter] = letters(world)
    assert letter["sequenceNumber"] == bad["dynamodb"]["SequenceNumber"]
    assert "nonsense" not in json.dumps(letter), "a dead letter holds identifiers and no content"


def test_a_record_that_aws_refuses_comes_again_until_it_is_done(emulator: Emulator) -> None:
    from tests.faults.services import refused

    world, witness = begin(emulator)
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    world.outage = lambda operation: (
        refused(operation, "ThrottlingException") if operation in ("PutEvents", "StartExecution") else None
    )
    create(world, witness, two_agents(world, lives_ms=(100, 100)))
    world.run_for(45 * MINUTE_MS)
    assert world.items("sessions")
    assert not letters(world)
    world.outage = None
    assert not witness.broken()


def letters(world: World) -> list[dict[str, Any]]:
    """Receive what is in the dead-letter queue."""
    client = world.services.client("sqs")
    url = client.get_queue_url(QueueName="atoll-local-dead-letters")["QueueUrl"]
    found = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    for message in found:
        client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return [json.loads(message["Body"]) for message in found]
