"""Archiving whatever the size, whatever is in the way, and what becomes of an archive."""

import tracemalloc
from typing import Any
from unittest.mock import patch

import pytest
from moto.dynamodb.models import dynamodb_backends

from chalicelib.domain import threads
from chalicelib.domain.actors import Actor
from chalicelib.domain.errors import NotFound
from chalicelib.reactions import archive, lifecycle
from chalicelib.store import log
from chalicelib.store.history import HistoryRecord
from chalicelib.store.items import encode
from infra.local.environment import ACCOUNT, REGION
from tests.client import session, sleeper
from tests.faults.invariants import Witness
from tests.faults.platform import Call, Emulator, World
from tests.faults.scenarios import DAY_MS, HOLD, NAMESPACES, begin, create
from tests.faults.test_ends import fill_log
from tests.faults.test_races import ANY_REFUSAL, about_to_end, delete_namespace, interleave


def kept(world: World) -> list[HistoryRecord]:
    """Return the history of the namespace of all sessions here."""
    return list(world.services.history.of_namespace("tests"))


def held(world: World, witness: Witness) -> str:
    """Make a session that is held for a minute."""
    path = create(world, witness, session(sleeper("a"), persistenceMode=HOLD))
    witness.reasons = {"closed_by_user"}
    world.run_for(5_000)
    assert world.ask("DELETE", path)[0] == 200
    world.run_for(5_000)
    return path


def fill_with_messages(world: World, session_id: str, count: int, text: str) -> None:
    """Write messages into a session's log, straight into the emulator: through its API they would take minutes."""
    table = dynamodb_backends[ACCOUNT][REGION].tables["atoll-local-session-items"]
    head = world.services.log.head(session_id)
    assert head is not None
    about = {"sessionId": session_id, "expiresAt": world.now_ms // 1000 + DAY_MS}
    for number in range(1, count + 1):
        message = '{"id":"m","threadId":"t","senderName":"a","mentionNames":[],"timestamp":"2027-01-15T08:00:00.000Z"}'
        entry: dict[str, Any] = {
            "item": f"EVENT#{head.position + number:013d}",
            "id": str(number),
            "stampMs": head.stamp_ms + number,
            "event": f'{{"type":"thread_message_sent","timestamp":"2027-01-15T08:00:00.000Z","message":{message}}}',
            "text": text,
        }
        table.put_item(encode({**about, **entry}))
    last = {"item": "HEAD", "position": head.position + count, "stampMs": head.stamp_ms + count}
    table.put_item(encode({**about, **last}))


def test_a_long_log_is_archived_in_slices(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    fill_log(world, held(world, witness).rpartition("/")[2], 3_000)
    # A Query takes 2 ms here, and a part one more call.
    with patch.object(archive, "SLICE_MS", 6), patch.object(archive, "PART_BYTES", 40_000):
        world.run()
    [row] = kept(world)
    assert row.last_position > 3_000
    assert row.waits == 3_000
    assert 5 < len(row.parts) < 20
    [execution] = world.executions("session-lifecycle")
    assert 3 < execution.entered.count("RemoveSession") < 20
    assert not witness.broken()


def test_the_memory_that_archiving_takes_does_not_grow_with_the_messages(emulator: Emulator) -> None:
    def peak(messages: int) -> int:
        world, witness = begin(emulator)
        fill_with_messages(world, held(world, witness).rpartition("/")[2], messages, "x" * 300_000)
        with patch.object(archive, "PART_BYTES", 1_000_000), patch.object(log, "_PAGE_BYTES", 1_000_000):
            tracemalloc.start()
            world.run()
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        [row] = kept(world)
        assert (row.messages, row.message_bytes) == (messages, 300_000 * messages)
        return found

    few, many = peak(10), peak(60)
    assert many < few + 3_000_000, f"{few} bytes for 10 messages, {many} for 60"


def test_nothing_is_kept_where_no_days_are_set(emulator: Emulator) -> None:
    with patch.dict(emulator.settings, {"history_days": 0}):
        world, witness = begin(emulator)
        held(world, witness)
        world.run()
        assert (world.items("history"), world.objects("history/")) == ([], [])
        assert not witness.broken()


def test_the_history_is_forgotten_after_its_days(emulator: Emulator) -> None:
    with patch.dict(emulator.settings, {"history_days": 7}):
        world, witness = begin(emulator)
        held(world, witness)
        world.run()
    world.now_ms += 7 * DAY_MS - 60_000
    listing = f"{NAMESPACES}/tests/history"
    [entry] = world.ask("GET", listing)[1]
    world.now_ms += 120_000
    witness.right_refusals = {("GET", 404)}
    assert world.ask("GET", listing)[1] == [], "DynamoDB takes its time to delete what has expired"
    assert world.ask("GET", f"{listing}/{entry['sessionId']}")[0] == 404
    world.expire()
    assert world.items("history") == []


def remove(world: World) -> None:
    """Let all that is due of the lifecycles happen."""
    world.run_for(120_000)


def test_two_that_archive_a_session_archive_it_once(emulator: Emulator) -> None:
    """One is overtaken at every call, by one that does it all and purges the session."""

    def other(world: World, witness: Witness) -> None:
        event = {"namespace": "tests", "sessionId": witness.created[0].rpartition("/")[2]}
        while not world.outside(lambda: world.invoke("atoll-local-remove_session", event)["done"]):
            pass

    with patch.object(archive, "PART_BYTES", 1), patch.object(archive, "SLICE_MS", 8):
        interleave(emulator, about_to_end, lambda world, _: remove(world), other)


def test_a_namespace_is_deleted_while_a_session_of_it_is_archived(emulator: Emulator) -> None:
    def gone(world: World, _: Witness) -> None:
        world.run()
        [status] = {status for method, path, status, _ in world.answers if (method, path) == deletion}
        assert len(world.items("history")) == (2 if status == 404 else 0), "it had gone with its last session before"

    deletion = ("DELETE", f"{NAMESPACES}/tests")

    interleave(emulator, about_to_end, lambda world, _: remove(world), delete_namespace, gone)


def test_a_message_is_in_the_archive_or_refused(emulator: Emulator) -> None:
    """It is sent at every call of the removal, by somebody who has seen the session executed."""
    answers: list[bool] = []
    prepared: dict[str, Any] = {}

    def prepare(world: World, witness: Witness) -> None:
        about_to_end(world, witness)
        session_id = witness.created[0].rpartition("/")[2]
        agent = next(agent for agent in world.services.agents.of_session(session_id) if agent.name == "a")
        prepared.update(id=session_id, agent=agent, record=world.services.sessions.find("tests", session_id))

    def send(world: World, _: Witness) -> None:
        actor = Actor(prepared["record"], prepared["agent"])
        try:
            prepared["thread"] = threads.create(world.services, actor, "late", ["b"]).id
        except NotFound:
            prepared["thread"] = None

    def check(world: World, _: Witness) -> None:
        world.run()
        [row] = kept(world)
        found = [event for _, event in archive.events_of(world.services, row) if event is not None]
        created = [event.thread.id for event in found if event.type == "thread_created"]
        assert created == ([prepared["thread"]] if prepared["thread"] else [])
        answers.append(prepared["thread"] is not None)

    interleave(emulator, prepare, lambda world, _: remove(world), send, check)
    assert True in answers
    assert False in answers


@pytest.mark.parametrize("every", [1, 2, 3, 5, 8])
def test_who_follows_a_session_through_its_purge_misses_nothing(emulator: Emulator, every: int) -> None:
    """It reads a page at some calls of the removal; where it is told that the session is gone, its history goes on."""
    world, witness = begin(emulator)
    witness.right_refusals = ANY_REFUSAL
    path = held(world, witness)
    session_id = path.rpartition("/")[2]
    fill_log(world, session_id, 60)
    found: list[Any] = []
    where = {"path": path, "cursor": "0"}

    def read() -> bool:
        query = f"events?after={where['cursor']}&limit=5"
        status, page, headers = world.request("GET", f"{where['path']}/{query}")
        if status == 404:
            where["path"] = f"{NAMESPACES}/tests/history/{session_id}"
            return True
        assert status == 200
        before, where["cursor"] = where["cursor"], headers["Next-Cursor"]
        found.extend(page)
        return before != where["cursor"]

    seen = 0

    def look(call: Call) -> None:
        nonlocal seen
        if call.function == "remove_session" and where["path"] == path:
            seen += 1
            if seen % every == 0:
                read()

    world.before_call.append(look)
    with patch.object(lifecycle, "PURGE_SLICE", 10):
        world.run()
    assert seen > 10
    while read():
        pass
    [row] = kept(world)
    whole = [event.to_wire() for _, event in archive.events_of(world.services, row) if event is not None]
    assert len(whole) > 60
    assert found == whole
    assert not witness.broken()
