"""A namespace that is deleted by request is hidden from the write on, whatever follows it and when."""

from unittest.mock import patch
from urllib.parse import quote

from chalicelib.domain import namespaces
from tests.client import session, sleeper
from tests.faults.invariants import Witness
from tests.faults.platform import Emulator, World
from tests.faults.scenarios import NAMESPACES, SESSIONS, begin, create

HOUR_MS = 3_600_000


def with_two_sessions(emulator: Emulator) -> tuple[World, Witness]:
    world, witness = begin(emulator)
    witness.reasons = {"namespace_deleted"}
    for _ in range(2):
        create(world, witness, session(sleeper("a")))
    world.run_for(5_000)
    return world, witness


def hide(world: World) -> None:
    """Write what a DELETE writes; nothing has reacted to it yet."""
    assert world.services.namespaces.force_deletion("tests", now_ms=world.now_ms)


def test_nothing_of_it_is_seen_before_anything_has_reacted(emulator: Emulator) -> None:
    world, witness = with_two_sessions(emulator)
    witness.right_refusals = {("GET", 404), ("DELETE", 404)}
    hide(world)
    for path in (f"{NAMESPACES}/tests", f"{NAMESPACES}/tests/extended", *witness.created, f"{SESSIONS}/tests/%21"):
        assert world.request("GET", path)[0] == 404, path
    assert world.request("GET", NAMESPACES)[1] == []
    assert not witness.broken()


def test_a_listing_that_was_begun_before_goes_on_with_what_is_still_there(emulator: Emulator) -> None:
    world, witness = with_two_sessions(emulator)
    _, first, headers = world.request("GET", f"{NAMESPACES}/tests?limit=1")
    hide(world)
    rest = f"{NAMESPACES}/tests?limit=1&cursor={quote(headers['Next-Cursor'], safe='')}"
    status, second, _ = world.request("GET", rest)
    assert status == 200
    assert {each["id"] for each in [*first, *second]} == {path.rpartition("/")[2] for path in witness.created}
    world.run_for(5_000)
    assert world.request("GET", rest)[0] == 404
    witness.right_refusals = {("GET", 404)}
    assert not witness.broken()


def test_what_hides_it_is_no_session(emulator: Emulator) -> None:
    world, witness = with_two_sessions(emulator)
    hide(world)
    sessions = world.services.sessions
    known = {path.rpartition("/")[2] for path in witness.created}
    for found in (sessions.all(), sessions.of_namespace("tests"), sessions.stored((0, 1))):
        assert {record.session_id for record in found} == known
    assert sessions.find("tests", "!") is None
    reads = world.services.reads
    assert reads.session("tests", "!")[1] is None
    assert reads.agent("tests", "!", "a")[0] is None
    assert reads.agent_in_namespace("tests", "!", "a")[1] is None
    for session_id in known:
        sessions.remove("tests", session_id, status="executed")
    assert not sessions.any_in("tests")


def test_a_namespace_of_the_same_name_is_seen_again(emulator: Emulator) -> None:
    world, witness = with_two_sessions(emulator)
    assert world.ask("DELETE", f"{NAMESPACES}/tests")[0] == 200
    assert world.items("sessions") == []
    create(world, witness, session(sleeper("a")))
    [listed] = world.ask("GET", f"{NAMESPACES}/tests")[1]
    assert listed["id"] == witness.created[-1].rpartition("/")[2]
    world.ask("DELETE", f"{NAMESPACES}/tests")
    assert not witness.broken()


def test_what_is_left_of_it_when_its_sessions_have_expired_is_nothing(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    create(world, witness, session(sleeper("a"), defer=True))
    world.now_ms += 25 * HOUR_MS
    assert world.ask("DELETE", f"{NAMESPACES}/tests")[0] == 200
    assert world.items("sessions"), "DynamoDB takes its time to delete what has expired"
    for path in (f"{NAMESPACES}/tests", f"{NAMESPACES}/tests/extended"):
        assert world.request("GET", path)[0] == 404


def test_what_hides_nothing_any_more_is_passed_over(emulator: Emulator) -> None:
    """As after a table was restored to a moment of which its neighbour knows nothing."""
    world, witness = with_two_sessions(emulator)
    world.services.sessions._table.write(world.services.sessions.hiding("tests"))
    listed = world.ask("GET", f"{NAMESPACES}/tests")[1]
    assert {each["id"] for each in listed} == {path.rpartition("/")[2] for path in witness.created}


def test_a_late_reaction_leaves_a_namespace_alone_that_was_made_anew(emulator: Emulator) -> None:
    world, witness = with_two_sessions(emulator)
    old = world.services.namespaces.find("tests")
    assert old is not None
    assert world.ask("DELETE", f"{NAMESPACES}/tests")[0] == 200
    assert world.ask("POST", NAMESPACES, {"name": "tests", "deleteOnLastSessionExit": False})[0] == 200
    find = world.services.namespaces.find
    with patch.object(world.services.namespaces, "find", lambda name: old):
        namespaces.delete_when_empty(world.services, "tests")
    assert find("tests") is not None
    world.ask("DELETE", f"{NAMESPACES}/tests")
    assert not witness.broken()
