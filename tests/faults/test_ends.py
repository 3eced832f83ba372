"""Ends that are complete: whatever a session has left behind goes, in slices, and nothing that has expired is seen."""

import json
import os
from typing import Any

import pytest
from moto.dynamodb.models import dynamodb_backends

from chalicelib.domain.registry import register_local
from chalicelib.reactions import lifecycle
from chalicelib.store.items import encode
from infra.local.environment import ACCOUNT, REGION
from tests.agents import BOXED
from tests.client import boxed, session, sleeper
from tests.faults.platform import Call, Emulator, World
from tests.faults.scenarios import DAY_MS, HOLD, NAMESPACES, begin, create, two_agents
from tests.faults.services import variables

#: How long the log is here; a purge takes the same calls for each slice, whatever comes after it.
ENTRIES = int(os.environ.get("ATOLL_LOG_ENTRIES", "12000"))

#: DynamoDB takes about so long for one BatchWriteItem of 25 deletions, and for a page of a Query, in ms.
BATCH_MS = 25
PAGE_MS = 50
#: A function that runs longer is ended (`TimeoutSeconds` of the state, and Lambda's own limit).
FUNCTION_MS = 900_000


def fill_log(world: World, session_id: str, entries: int) -> None:
    """Write entries into a session's log, straight into the emulator: through its API they would take minutes."""
    table = dynamodb_backends[ACCOUNT][REGION].tables["atoll-local-session-items"]
    about = {"sessionId": session_id, "expiresAt": world.now_ms // 1000 + DAY_MS}
    head = world.services.log.head(session_id)
    assert head is not None
    for number in range(1, entries + 1):
        entry: dict[str, Any] = {
            "item": f"EVENT#{head.position + number:013d}",
            "id": str(number),
            "stampMs": head.stamp_ms + number,
            "event": '{"type":"agent_wait_start","timestamp":"2027-01-15T08:00:00.000Z","name":"a","filters":[]}',
        }
        table.put_item(encode({**about, **entry}))
    last = {"item": "HEAD", "position": head.position + entries, "stampMs": head.stamp_ms + entries}
    table.put_item(encode({**about, **last}))


def ends_waits(item: dict[str, Any]) -> bool:
    """Tell whether an item is one of the two that are left for an hour: they end the waits of their session."""
    return item.get("id") == "session_closing" or item["item"] == "HEAD"


def test_a_session_with_a_long_log_closes_and_is_purged_in_slices(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"closed_by_user"}
    path = create(world, witness, session(sleeper("a")))
    world.run_for(5_000)
    fill_log(world, path.rpartition("/")[2], ENTRIES)
    begun = len(world.calls)
    assert world.request("DELETE", path)[0] == 200
    closing = [call for call in world.calls[begun:] if call.function == "DELETE session"]
    assert len(closing) <= 3, "closing does not look at the log"
    world.run()
    assert not [item for item in world.items("session-items") if not ends_waits(item)]
    assert not world.items("sessions")
    slices: dict[int, list[str]] = {}
    for call in world.calls[begun:]:
        if call.function == "remove_session":
            slices.setdefault(call.invocation, []).append(call.operation)
    assert len(slices) == ENTRIES // lifecycle.PURGE_SLICE + 1
    for operations in slices.values():
        assert operations.count("BatchWriteItem") <= lifecycle.PURGE_SLICE / 25
        # Even if each call took as long as one under load: far from the end of the function's time.
        assert (
            operations.count("BatchWriteItem") * BATCH_MS * 10 + operations.count("Query") * PAGE_MS < FUNCTION_MS / 10
        )
    assert [execution.entered.count("RemoveSession") for execution in world.executions("session-lifecycle")] == [
        len(slices)
    ]


def test_a_purge_that_dies_in_the_middle_goes_on(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"closed_by_user"}
    path = create(world, witness, session(sleeper("a")))
    world.run_for(5_000)
    fill_log(world, path.rpartition("/")[2], 200)
    writes = 0

    def outage(operation: str) -> Exception | None:
        nonlocal writes
        from tests.faults.services import refused

        writes += operation == "BatchWriteItem"
        return refused(operation, "ThrottlingException") if operation == "BatchWriteItem" and writes % 2 else None

    world.outage = outage
    world.request("DELETE", path)
    world.run()
    assert writes > 10
    world.outage = None
    assert not world.items("sessions")
    assert not witness.broken()


def test_what_is_held_of_a_budget_is_booked_at_the_end_where_no_history_is_kept(emulator: Emulator) -> None:
    """What a call of a model may have cost counts, though its process has died, and what is low is told."""
    world, witness = begin(emulator)
    world.services.settings = world.services.settings.model_copy(update={"history_days": 0})
    witness.reasons = {"closed_by_user"}
    request = two_agents(world)
    request["agentGraphRequest"]["budget"] = {"usd": "0.000100"}
    path = create(world, witness, request)
    world.run_for(5_000)
    assert world.model_call("b", 90, None)
    assert world.ask("DELETE", path)[0] == 200
    world.run()
    told = [(kind, detail["spent"]) for kind, detail in world.published if kind.startswith("budget_")]
    assert told == [("budget_low", 90)], told
    assert not world.items("history")
    assert not [item for item in world.items("session-items") if not ends_waits(item)]


def test_who_follows_a_session_that_is_held_for_long_gets_nothing_twice(emulator: Emulator) -> None:
    """How far its log was pushed is known for as long as somebody follows, whenever the last entry expires."""
    world, witness = begin(emulator)
    witness.reasons, witness.longest_ms = {"agents_exited"}, 5 * 3_600_000
    hold = {**HOLD, "duration": 3 * 3_600_000}
    path = create(world, witness, two_agents(world, lives_ms=(300, 500), persistenceMode=hold))
    world.follow(path, "here")
    world.run_for(2 * 3_600_000)
    late = {"type": "runtime_stopped", "name": "c", "timestamp": "2027-01-15T10:00:00.000Z"}
    session_id, expires_at = path.rpartition("/")[2], world.now_ms // 1000 + DAY_MS
    world.outside(lambda: world.services.log.append(session_id, lambda _: late, expires_at=expires_at))
    before = list(world.sockets.sent["here"])
    world.run_for(5_000)
    assert [json.loads(frame) for frame in world.sockets.sent["here"]] == [*map(json.loads, before), late]
    assert not witness.broken()


@pytest.mark.parametrize("executed", [True, False])
def test_who_comes_while_a_session_is_removed_gets_all_of_it_or_a_404(emulator: Emulator, *, executed: bool) -> None:
    """A connection is made before each call of the removal: whichever of the two is first, nobody is left behind."""
    answers = []
    for number in range(1, 30):
        world, witness = begin(emulator)
        witness.reasons = {"closed_by_user"}
        path = create(world, witness, two_agents(world, defer=not executed))
        world.run_for(5_000)
        if executed:
            fill_log(world, path.rpartition("/")[2], 20)
        remover = "remove_session" if executed else "on_change"
        calls: list[Call] = []

        def comes(
            call: Call, world: World = world, calls: list[Call] = calls, number: int = number, path: str = path
        ) -> None:
            calls += [call] if call.function == remover else []  # noqa: B023
            if call.function == remover and len(calls) == number:  # noqa: B023
                answers.append(world.outside(lambda: world.connect(path, "late", after="0")))

        world.request("DELETE", path)
        world.before_call.append(comes)
        world.run()
        if len(calls) < number:
            break
        if answers[-1] == 200:
            assert len(world.sockets.sent["late"]) >= 20, f"at call {number}: {calls[-1]}"
            assert "late" in world.sockets.closed
        assert not [item for item in world.items("session-items") if not ends_waits(item)], number
    assert set(answers) == ({200, 404} if executed else {404})


@pytest.mark.parametrize("defer", [False, True])
def test_every_item_has_an_end_from_its_first_write(emulator: Emulator, defer: bool) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"closed_by_user"}
    request = session(sleeper("a"), sleeper("b"), defer=True) if defer else two_agents(world, persistenceMode=HOLD)
    path = create(world, witness, request)
    seen = 0

    def all_end(_: Any = None) -> None:
        nonlocal seen
        for table in ("sessions", "session-items", "deliveries"):
            for item in world.items(table):
                assert item["expiresAt"] * 1000 > world.now_ms, item
                seen += 1

    world.before_call.append(all_end)
    world.run_for(5_000)
    if not defer:
        thread = world.tool("a", "coral_create_thread", threadName="t", participantNames=["b"])["thread"]
        world.tool("a", "coral_send_message", threadId=thread["id"], content="Hello", mentions=["b"])
        world.tool("b", "coral_wait_for_message", currentUnixTime=world.now_ms, maxWaitMs=500)
        world.ask("DELETE", path)
        world.run_for(30_000)
    all_end()
    assert seen > 10


def test_expired_items_are_not_returned(emulator: Emulator) -> None:
    """DynamoDB may delete it days late: until then it is stored, and every reader ignores it."""
    world, witness = begin(emulator)
    witness.right_refusals = {("GET", 404), ("POST", 404), ("DELETE", 404)}
    path = create(world, witness, session(sleeper("a"), defer=True))
    world.run_for(DAY_MS + 2_000)
    assert len(world.items("sessions")) == 1
    assert [world.ask(method, path, {} if method == "POST" else None)[0] for method in ("GET", "POST", "DELETE")] == [
        404
    ] * 3
    assert world.ask("GET", f"{path}/extended")[0] == 404
    assert world.ask("GET", f"{NAMESPACES}/tests")[1] == []
    assert world.services.sessions.any_in("tests") is False
    world.expire()
    assert not witness.broken()


def test_only_the_delivery_is_left_two_days_after_the_end(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"agents_exited"}
    create(world, witness, two_agents(world, lives_ms=(100, 200)))
    world.run()
    world.now_ms += 2 * DAY_MS
    world.expire()
    tables = ("namespaces", "sessions", "session-items")
    assert {table: world.items(table) for table in tables} == {table: [] for table in tables}
    assert [delivery["state"] for delivery in world.items("deliveries")] == ["delivered"]
    world.now_ms += 29 * DAY_MS
    world.expire()
    assert not world.items("deliveries")


def test_the_secrets_of_a_session_stop_working_when_its_end_is_answered(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"closed_by_user"}
    path = create(world, witness, two_agents(world, persistenceMode=HOLD))
    world.run_for(5_000)
    hello = {"jsonrpc": "2.0", "id": 1, "method": "resources/list", "params": {"name": "resources/list"}}
    assert world.agent_request(world.secret_of("a"), hello)[0] == 200
    witness.right_refusals = {("MCP", 404)}
    assert world.request("DELETE", path)[0] == 200
    # Nothing has reacted to it yet: no time has passed.
    assert world.agent_request(world.secret_of("a"), hello)[0] == 404
    assert not witness.broken()


@pytest.mark.parametrize("after_ms", [0, 1, 50, 200, 1_000])
def test_an_agent_that_is_being_started_is_taken_back(emulator: Emulator, after_ms: int) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"closed_by_user"}
    path = create(world, witness, session(sleeper("a"), sleeper("b")))
    world.run_for(after_ms)
    assert world.ask("DELETE", f"{path.replace('/local/session/', '/puppet/')}/a")[0] == 200
    world.run_for(20_000)
    agents = world.ask("GET", f"{path}/agent")[1]
    assert [each["status"]["type"] for each in agents] == ["stopped", "running"]
    assert [variables(task)["CORAL_AGENT_ID"] for task in world.ecs.running()] == ["b"]
    assert world.ask("DELETE", path)[0] == 200
    world.run()
    assert not witness.broken()


@pytest.mark.parametrize("after_ms", [0, 1, 50, 200, 1_000])
def test_a_session_ends_with_the_last_agent_that_was_taken_back(emulator: Emulator, after_ms: int) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"agents_exited"}
    path = create(world, witness, session(sleeper("a")))
    world.run_for(after_ms)
    assert world.ask("DELETE", f"{path.replace('/local/session/', '/puppet/')}/a")[0] == 200
    world.run_for(20_000)
    assert (world.items("sessions"), world.ecs.running()) == ([], [])
    assert not witness.broken()


def test_an_environment_file_is_gone_as_soon_as_its_task_runs(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    world.outside(lambda: register_local(world.services, BOXED))
    world.run()
    witness.reasons = {"closed_by_user"}
    path = create(world, witness, session(boxed("a"), persistenceMode=HOLD))
    world.run_for(40)
    [key] = world.objects("environments/")
    assert key == f"environments/{path.rpartition('/')[2]}/0-agent.env"
    world.run_for(5_000)
    assert len(world.ecs.running()) == 1
    assert not world.objects("environments/")
    assert world.ask("DELETE", path)[0] == 200
    assert not witness.broken()
