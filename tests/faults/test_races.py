"""Two things at once: the second happens, whole, between every two AWS calls of the first, and before and after it."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.client import session, sleeper
from tests.faults.invariants import Witness
from tests.faults.platform import Call, Emulator, World
from tests.faults.scenarios import HOLD, NAMESPACES, SESSIONS, WEBHOOKS, begin, create, two_agents

Deed = Callable[[World, Witness], Any]

ANY_REFUSAL = {("POST", 400), ("POST", 404), ("DELETE", 404), ("DELETE", 400), ("GET", 404), ("POST", 503)}


def interleave(emulator: Emulator, prepare: Deed, first: Deed, second: Deed, after: Deed | None = None) -> int:
    """Play every interleaving; return how many there were."""
    number = 0
    while True:
        number += 1
        world, witness = begin(emulator)
        witness.reasons = {"agents_exited", "closed_by_user", "closed_by_agent", "namespace_deleted"}
        witness.right_refusals = ANY_REFUSAL
        world.in_window = False
        prepare(world, witness)
        world.in_window = True
        seen = 0

        def cut_in(_: Call, world: World = world, witness: Witness = witness, number: int = number) -> None:
            nonlocal seen
            if world.in_window:
                seen += 1
                if seen == number:
                    world.in_window = False
                    second(world, witness)

        world.before_call.append(cut_in)
        first(world, witness)
        over = world.in_window
        world.in_window = False
        if over:
            second(world, witness)
        if after:
            after(world, witness)
        broken = witness.broken() + witness.refused_and_ran()
        assert not broken, f"the second before call {number} of the first: {broken} {world.answers}"
        if over:
            assert number > 1
            return number


def settled(world: World, _: Witness) -> None:
    world.run_for(5_000)


def last_path(witness: Witness) -> str:
    return witness.created[-1]


def running(world: World, witness: Witness) -> None:
    create(world, witness, two_agents(world))
    world.run_for(5_000)


def held(world: World, witness: Witness) -> None:
    create(world, witness, two_agents(world, persistenceMode=HOLD))
    world.run_for(5_000)


def pending(world: World, witness: Witness) -> None:
    create(world, witness, two_agents(world, defer=True, lives_ms=(100, 200)))
    world.run_for(1_000)


def about_to_end(world: World, witness: Witness) -> None:
    """A session, the only one, that is closing: what follows is the end of its namespace."""
    create(world, witness, two_agents(world, persistenceMode=HOLD))
    world.run_for(5_000)
    world.ask("DELETE", last_path(witness))
    world.run_for(50_000)


def close(world: World, witness: Witness) -> None:
    world.request("DELETE", witness.created[0])


def execute(world: World, witness: Witness) -> None:
    world.request("POST", witness.created[0], {"webhooks": WEBHOOKS})


def all_exit(world: World, _: Witness) -> None:
    for task in world.ecs.running():
        world.ecs.end(task, exit_code=0)
    world.run_for(300)


def one_exits(world: World, _: Witness) -> None:
    world.ecs.end(world.ecs.running()[0], exit_code=0)
    world.run_for(300)


def delete_namespace(world: World, _: Witness) -> None:
    world.request("DELETE", f"{NAMESPACES}/tests")


def hide_namespace(world: World, _: Witness) -> None:
    """What a DELETE writes, in the moment before anything reacts to it."""
    world.services.namespaces.force_deletion("tests", now_ms=world.now_ms)


def hide_namespace_later(world: World, witness: Witness) -> None:
    """As `hide_namespace`, once all that was written before has led to what it leads to."""
    world.run_for(500)
    hide_namespace(world, witness)


def create_another(world: World, witness: Witness) -> None:
    _create(world, witness, session(sleeper("a"), webhooks=WEBHOOKS), (200, 503))


def create_in_existing(world: World, witness: Witness) -> None:
    request = session(sleeper("a"), webhooks=WEBHOOKS)
    request["namespaceProvider"] = {"type": "use_existing", "name": "tests"}
    _create(world, witness, request, (200, 404, 503))


def _create(world: World, witness: Witness, request: dict[str, Any], answers: tuple[int, ...]) -> None:
    world.ecs.lives_ms = {"a": 60_000}
    status, body, _ = world.request("POST", SESSIONS, request)
    assert status in answers, (status, body)
    if status == 200:
        witness.created.append(f"{SESSIONS}/tests/{body['sessionId']}")


def is_seen_as_long_as_it_lives(world: World, witness: Witness) -> None:
    """What was created last, and not deleted, can be looked at: its namespace did not go away under it."""
    created_at_ms = world.now_ms
    world.run_for(500)
    for record in world.items("sessions"):
        if record["status"] == "executed" and record["createdAtMs"] <= created_at_ms:
            path = f"{SESSIONS}/tests/{record['sessionId']}"
            assert world.request("GET", path)[0] == 200, "a session lives in a namespace that is gone"


def the_end(world: World, _: Witness) -> None:
    """The hold ends: the session goes, and its namespace after it."""
    world.run_for(15_000)


def is_listed_as_it_is_seen(world: World, _: Witness) -> None:
    """The listing of a namespace has the sessions that can be looked at, and is not there when they cannot."""
    for pause_ms in (0, 500, 5_000):
        world.run_for(pause_ms)
        paths = [f"{SESSIONS}/tests/{record['sessionId']}" for record in world.items("sessions")]
        seen = {path.rpartition("/")[2] for path in paths if world.request("GET", path)[0] == 200}
        status, listed, _headers = world.request("GET", f"{NAMESPACES}/tests")
        there = world.services.namespaces.find("tests")
        assert status == (404 if there is None or there.forced else 200)
        assert {each["id"] for each in listed if status == 200} == seen


PAIRS: list[tuple[str, Deed, Deed, Deed, Deed | None]] = [
    ("close and close", held, close, close, None),
    ("close and the last exits", running, close, all_exit, None),
    ("the last exits and close", running, all_exit, close, None),
    ("one exit and another", running, one_exits, one_exits, settled),
    ("execute and delete", pending, execute, close, None),
    ("delete and execute", pending, close, execute, None),
    ("execute and delete the namespace", pending, execute, delete_namespace, None),
    ("delete the namespace and execute", pending, delete_namespace, execute, None),
    ("close and delete the namespace", held, close, delete_namespace, None),
    ("delete the namespace and close", held, delete_namespace, close, None),
    ("delete the namespace twice", held, delete_namespace, delete_namespace, None),
    ("create and delete the namespace", running, create_another, delete_namespace, is_listed_as_it_is_seen),
    ("create in an existing one and delete it", running, create_in_existing, delete_namespace, None),
    ("create and hide the namespace", running, create_another, hide_namespace, is_listed_as_it_is_seen),
    ("create and hide the namespace later", running, create_another, hide_namespace_later, None),
    ("create in an existing one and hide it later", running, create_in_existing, hide_namespace_later, None),
    ("delete the namespace and create", running, delete_namespace, create_another, is_listed_as_it_is_seen),
    ("delete the namespace and create in it", running, delete_namespace, create_in_existing, is_listed_as_it_is_seen),
    ("the last session ends and delete the namespace", about_to_end, the_end, delete_namespace, None),
    ("the last session ends and hide the namespace", about_to_end, the_end, hide_namespace, None),
    ("delete the namespace and the last session ends", about_to_end, delete_namespace, the_end, None),
]


@pytest.mark.parametrize(
    ("_name", "prepare", "first", "second", "after"), PAIRS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_two_things_at_once(
    emulator: Emulator, _name: str, prepare: Deed, first: Deed, second: Deed, after: Deed | None
) -> None:
    interleave(emulator, prepare, first, second, after)


@pytest.mark.parametrize("creating", [create_another, create_in_existing])
def test_a_session_is_created_while_its_namespace_deletes_itself(emulator: Emulator, creating: Deed) -> None:
    interleave(emulator, about_to_end, the_end, creating, is_seen_as_long_as_it_lives)
    interleave(emulator, about_to_end, creating, the_end, is_seen_as_long_as_it_lives)


@pytest.mark.parametrize(("creating", "status"), [(create_another, 200), (create_in_existing, 404)])
def test_a_session_does_not_run_before_its_namespace_was_seen(emulator: Emulator, creating: Deed, status: int) -> None:
    """The namespace goes just before the record is written, and two seconds pass before its creation looks again."""
    world, witness = begin(emulator)
    witness.reasons = {"agents_exited", "namespace_deleted"}
    witness.right_refusals = ANY_REFUSAL
    running(world, witness)
    deeds = [("PutItem", delete_namespace), ("GetItem", lambda world, _: world.run_for(2_000))]

    def cut_in(call: Call) -> None:
        if deeds and (call.function, call.operation) == ("POST session", deeds[0][0]):
            deeds.pop(0)[1](world, witness)

    world.before_call.append(cut_in)
    creating(world, witness)
    assert not deeds
    assert [answered for method, path, answered, _ in world.answers if (method, path) == ("POST", SESSIONS)][
        -1
    ] == status
    broken = witness.broken() + witness.refused_and_ran()
    assert not broken, broken


def test_a_deletion_that_was_overtaken_does_not_take_what_came_since(emulator: Emulator) -> None:
    """Between two calls of a deletion a session is created, and another deletion begins and sees it."""
    from chalicelib.domain import namespaces

    def both(world: World, witness: Witness) -> None:
        create_another(world, witness)
        record = world.services.namespaces.find("tests")
        if record is not None:
            # The other one is only just beginning: it has marked the namespace, and not looked yet.
            world.services.namespaces.start_deleting(record, "another", now_ms=world.now_ms)

    def other_goes_on(world: World, witness: Witness) -> None:
        is_seen_as_long_as_it_lives(world, witness)
        world.services.namespaces.stop_deleting("tests", "another")
        namespaces.delete_when_empty(world.services, "tests")

    interleave(emulator, about_to_end, the_end, both, other_goes_on)


@pytest.mark.parametrize(
    ("function", "lives_ms"),
    [("run_agents", (3_000_000, 3_000_000)), ("close_session", (400, 900)), ("on_task_change", (400, 900))],
)
def test_a_session_is_closed_between_the_steps_of_its_lifecycle(
    emulator: Emulator, function: str, lives_ms: tuple[int, int]
) -> None:
    """The end, with all that follows from it for half a minute, comes at every call of a launch, an end or an exit."""

    def nothing(world: World, witness: Witness) -> None:
        create(world, witness, two_agents(world, lives_ms=lives_ms, persistenceMode=HOLD))

    def life(world: World, _: Witness) -> None:
        inside = {"now": True}

        def only_here(call: Call) -> None:
            world.in_window = inside["now"] and call.function == function

        world.before_call.insert(0, only_here)
        world.run_for(3_000)
        world.before_call.remove(only_here)
        world.in_window = not cut["in"]

    cut = {"in": False}

    def close_now(world: World, witness: Witness) -> None:
        cut["in"] = True
        world.request("DELETE", witness.created[0])
        world.run_for(30)

    interleave_once(emulator, nothing, life, close_now, cut)


def interleave_once(emulator: Emulator, prepare: Deed, first: Deed, second: Deed, cut: dict[str, bool]) -> None:
    """As `interleave`, for a first deed that says itself where the second may come."""
    number = 0
    while True:
        number += 1
        cut["in"] = False
        world, witness = begin(emulator)
        witness.reasons = {"agents_exited", "closed_by_user"}
        witness.right_refusals = ANY_REFUSAL
        world.in_window = False
        prepare(world, witness)
        seen = 0

        def cut_in(_: Call, world: World = world, witness: Witness = witness, number: int = number) -> None:
            nonlocal seen
            if world.in_window and not cut["in"]:
                seen += 1
                if seen == number:
                    second(world, witness)

        world.before_call.append(cut_in)
        first(world, witness)
        broken = witness.broken()
        assert not broken, f"the second before call {number} of the first: {broken} {world.answers}"
        if not cut["in"]:
            assert number > 3
            return


def talking(world: World, witness: Witness) -> None:
    agents = [sleeper(name) for name in ("a", "b")]
    create(world, witness, session(*agents))
    world.run_for(5_000)
    thread = world.tool("a", "coral_create_thread", threadName="t", participantNames=["b"])["thread"]
    world.thread_id = thread["id"]  # type: ignore[attr-defined]
    world.sent = []  # type: ignore[attr-defined]


def send(world: World, _: Witness) -> None:
    thread_id = world.thread_id  # type: ignore[attr-defined]
    answer = world.tool("a", "coral_send_message", threadId=thread_id, content="Hello", mentions=["b"])
    if "error" not in answer:
        world.sent.append(answer["message"]["id"])  # type: ignore[attr-defined]


def close_thread(world: World, _: Witness) -> None:
    thread_id = world.thread_id  # type: ignore[attr-defined]
    assert "error" not in world.tool("b", "coral_close_thread", threadId=thread_id, summary="over")


def log_is_right(world: World, witness: Witness) -> None:
    """Each message that was acknowledged is in the log, once; a closed thread shows none and takes no more."""
    items = world.items("session-items")
    logged = [item for item in items if "thread_message_sent" in item.get("event", "")]
    assert len(logged) == len(world.sent)  # type: ignore[attr-defined]
    assert "error" in world.tool("a", "coral_send_message", threadId=world.thread_id, content="x", mentions=[])  # type: ignore[attr-defined]
    [thread] = world.ask("GET", f"{witness.created[0]}/extended")[1]["threads"]
    assert (thread["state"]["state"], thread.get("messages", [])) == ("closed", [])
    world.ask("DELETE", witness.created[0])


@pytest.mark.parametrize(("first", "second"), [(send, close_thread), (close_thread, send)])
def test_a_message_is_sent_while_its_thread_is_closed(emulator: Emulator, first: Deed, second: Deed) -> None:
    interleave(emulator, talking, first, second, log_is_right)


def test_hundreds_of_sessions_are_created_at_once_in_one_namespace(emulator: Emulator) -> None:
    """Each creation begins in the middle of another, ten deep, and none of them sees or holds up the others."""
    world, witness = begin(emulator)
    witness.reasons = {"agents_exited"}
    world.ecs.lives_ms = {"a": 60_000}
    request = session(sleeper("a"))
    depth = 0

    def another(call: Call) -> None:
        nonlocal depth
        if call.operation == "PutItem" and call.function.startswith("POST") and depth < 10:
            depth += 1
            create(world, witness, request)

    world.before_call.append(another)
    while len(witness.created) < 300:
        depth = 0
        create(world, witness, request)
    assert len(set(witness.created)) == len(witness.created)
    listed = world.ask("GET", f"{NAMESPACES}/tests")[1]
    assert {each["id"] for each in listed} == {path.rpartition("/")[2] for path in witness.created}
    creations = [call for call in world.calls if call.function == "POST session"]
    assert max(Counter(call.invocation for call in creations).values()) <= 7, (
        "no creation is retried because of another"
    )
    assert len(world.streams["atoll-local-namespaces"].carried) == 1
