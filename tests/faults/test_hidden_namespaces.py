"""A namespace that is deleted by request is hidden from the write on, whatever follows it and when."""

from urllib.parse import quote

from tests.client import session, sleeper
from tests.faults.invariants import Witness
from tests.faults.platform import Emulator, World
from tests.faults.scenarios import NAMESPACES, SESSIONS, begin, create


def with_two_sessions(emulator: Emulator) -> tuple[World, Witness]:
    world, witness = begin(emulator)
    witness.reasons = {"namespace_deleted"}
    for _ in range(2):
        create(world, witness, session(sleeper("a")))
    world.run_for(5_000)
    return world, witness


def hide(world: World) -> None:
    """Write what a DELETE writes; nothing has reacted to it yet."""
    assert world.atoll.namespaces.force_deletion("tests", world.atoll.sessions, now_ms=world.now_ms)


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
    sessions = world.atoll.sessions
    known = {path.rpartition("/")[2] for path in witness.created}
    for found in (sessions.all(), sessions.of_namespace("tests"), sessions.stored((0, 1))):
        assert {record.session_id for record in found} == known
    assert sessions.find("tests", "!") is None
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
