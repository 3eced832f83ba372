"""The log step by step: a writer between ticket and put, a reader who closes its position, and what a purge leaves."""

import contextlib
import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from chalicelib.store import log as module
from chalicelib.store.followers import SessionFollower
from chalicelib.store.items import Unprocessed
from chalicelib.store.log import HOLE_MS, SESSION_CLOSING, VOID, Log, LogEntry, Room, Sealed
from tests.mcp_world import NEVER_S, SESSION, TestClock, World

KIND = "runtime_started"


@pytest.fixture
def clock(here: World) -> TestClock:
    return TestClock()


@pytest.fixture
def there(here: World, clock: TestClock) -> Iterator[World]:
    with here.on(clock):
        yield here


def beside(there: World) -> Log:
    """The log as another process has it."""
    return Log(there.services.table("session-items"), Room(entries=1_000, size_bytes=1_000_000, threads=10))


def event_at(name: str, stamp_ms: int) -> dict[str, Any]:
    return {"type": KIND, "name": name, "timestamp": stamp_ms}


def append(log: Log, name: str) -> LogEntry:
    return log.append(SESSION, partial(event_at, name), expires_at=NEVER_S)


def names(log: Log, first: int = 1, **how: Any) -> list[str]:
    """Read the log as names; a void is one too."""
    return [str(entry.event.get("name", entry.event["type"])) for entry in log.read(SESSION, first, **how)]


def stamps(log: Log) -> list[int]:
    return [entry.stamp_ms for entry in log.read(SESSION, live=False)]


def test_positions_and_stamps_rise_by_one_while_the_clock_stands_still(there: World, clock: TestClock) -> None:
    entries = [append(there.services.log, str(number)) for number in range(3)]
    assert [entry.position for entry in entries] == [1, 2, 3]
    assert [entry.stamp_ms for entry in entries] == [clock.now_ms(), clock.now_ms() + 1, clock.now_ms() + 2]


def test_an_entry_costs_a_ticket_and_a_put(there: World, clock: TestClock) -> None:
    append(there.services.log, "first")
    for _ in range(3):  # whether the clock goes on, or stands still
        with there.counting() as calls:
            append(there.services.log, "next")
        assert calls == ["UpdateItem", "PutItem"]
        clock.pass_ms(1)


def append_in_a_row(log: Log, *those: str) -> None:
    events_at = [partial(event_at, name) for name in those]
    log.append_in_a_row(SESSION, events_at, expires_at=NEVER_S)


def test_entries_in_a_row_cost_one_ticket(there: World, clock: TestClock) -> None:
    log = there.services.log
    append_in_a_row(log, "first", "second")
    for _ in range(2):  # whether the clock stands still, or goes on
        with there.counting() as calls:
            append_in_a_row(log, "next", "and next")
        assert calls == ["UpdateItem", "PutItem", "PutItem"]
        clock.pass_ms(10)
    append(log, "last")
    assert names(log) == ["first", "second", "next", "and next", "next", "and next", "last"]
    assert [entry.position for entry in log.read(SESSION)] == list(range(1, 8))
    assert stamps(log) == sorted(set(stamps(log)))
    assert [entry.event["timestamp"] for entry in log.read(SESSION)] == stamps(log)


@pytest.mark.parametrize("put", [1, 2])
def test_entries_in_a_row_keep_their_order_when_readers_close_a_position(
    there: World, clock: TestClock, put: int
) -> None:
    """Somebody appends and reads past the hole before the writer's first or second put."""
    log, seen = there.services.log, itertools.count(1)

    def cut_in(name: str, params: dict[str, Any]) -> None:
        if name == "PutItem" and next(seen) == put:
            there.before_call = lambda *_: None
            append(beside(there), "beside")
            assert "beside" in names(log)

    there.before_call = cut_in
    append_in_a_row(log, "first", "second")
    read = names(log)
    assert [name for name in read if name in ("first", "second")] == ["first", "second"]
    assert sorted(read) == sorted(["first", "second", "beside", *[VOID] * (3 - put)])
    assert stamps(log) == sorted(set(stamps(log)))


def test_a_writer_whose_clock_is_behind_learns_it_once(there: World, clock: TestClock) -> None:
    append(there.services.log, "ahead")
    behind = beside(there)
    clock.pass_ms(-3_600_000)
    clock._now_ms -= 3_600_000
    costs = []
    for _ in range(2):
        with there.counting() as calls:
            append(behind, "behind")
        costs.append(len(calls))
    assert costs == [3, 2]
    assert stamps(behind) == sorted(set(stamps(behind)))


def test_a_reader_waits_a_second_for_a_position_and_closes_it(there: World, clock: TestClock) -> None:
    log = there.services.log
    append(log, "first")
    ticket = log.draw(SESSION, expires_at=NEVER_S)
    append(log, "behind")
    assert names(log) == ["first", VOID, "behind"]
    assert HOLE_MS <= clock.now_ms() - clock.start_ms <= HOLE_MS + 200
    # The slow writer finds its position closed, draws anew, and is behind all that anybody has read.
    slow = log.append(SESSION, lambda _: {"type": KIND, "name": "slow"}, expires_at=NEVER_S, ticket=ticket)
    assert slow.position == 4
    assert names(log) == ["first", VOID, "behind", "slow"]
    assert stamps(log) == sorted(set(stamps(log)))


def test_a_writer_who_comes_within_the_second_is_where_its_ticket_says(there: World, clock: TestClock) -> None:
    log = there.services.log
    ticket = log.draw(SESSION, expires_at=NEVER_S)
    append(log, "behind")
    clock.plan(
        HOLE_MS - 100,
        lambda: log.append(SESSION, lambda _: {"type": KIND, "name": "slow"}, expires_at=NEVER_S, ticket=ticket),
    )
    assert names(log) == ["slow", "behind"]


def test_what_is_before_a_hole_is_read_without_waiting(there: World, clock: TestClock) -> None:
    log = there.services.log
    append(log, "first")
    log.draw(SESSION, expires_at=NEVER_S)
    append(log, "behind")
    pages = log.pages(SESSION)
    assert [entry.event["name"] for entry in next(pages)] == ["first"]
    assert clock.now_ms() == clock.start_ms


@pytest.mark.parametrize("at", range(1, 4))
def test_writer_and_reader_meet_at_every_call(there: World, clock: TestClock, at: int) -> None:
    """Between two calls of one who reads past a hole comes its writer, and before that another reader."""
    log = there.services.log
    ticket = log.draw(SESSION, expires_at=NEVER_S)
    append(log, "behind")
    seen = itertools.count(1)

    def cut_in(_name: str, _params: dict[str, Any]) -> None:
        if clock.now_ms() - clock.start_ms >= HOLE_MS and next(seen) == at:
            there.before_call = lambda *_: None
            other.extend(names(beside(there)))
            slow.append(
                log.append(SESSION, lambda _: {"type": KIND, "name": "slow"}, expires_at=NEVER_S, ticket=ticket)
            )

    other: list[str] = []
    slow: list[LogEntry] = []
    there.before_call = cut_in
    read = names(log)
    assert slow, "nobody came"
    whole = names(log)
    assert whole[: len(other)] == other
    assert whole[: len(read)] == read
    assert sorted(whole) == ["behind", "slow", VOID]


def test_a_put_that_the_sdk_repeats_is_made_once(there: World, clock: TestClock) -> None:
    put_item = there.services.dynamodb.put_item

    def twice(**request: Any) -> Any:
        put_item(**request)
        return put_item(**request)

    there.services.dynamodb.put_item = twice  # type: ignore[method-assign]
    try:
        append(there.services.log, "once")
    finally:
        there.services.dynamodb.put_item = put_item  # type: ignore[method-assign]
    assert names(there.services.log) == ["once"]


def test_a_writer_who_is_always_too_slow_gives_up_with_what_can_be_repeated(there: World, clock: TestClock) -> None:
    log = there.services.log

    def slow(name: str, params: dict[str, Any]) -> None:
        if name == "PutItem" and "slow" in params["Item"].get("event", {}).get("S", ""):
            there.before_call = lambda *_: None
            append(log, "behind")
            names(log)
            clock.pass_ms(5_000)
            there.before_call = slow

    there.before_call = slow
    with pytest.raises(Unprocessed):
        append(log, "slow")
    there.before_call = lambda *_: None
    assert "slow" not in names(log)


@pytest.mark.parametrize("calls", range(1, 8))
def test_what_is_told_twice_is_in_the_log_once_wherever_the_first_was_cut_off(
    there: World, clock: TestClock, calls: int
) -> None:
    """The first dies before its n-th call; a reader closes what it left, or does not; the second tells it again."""

    class Dead(Exception):
        pass

    log = there.services.log

    def tell() -> None:
        log.append_once(SESSION, {"type": KIND, "name": "once"}, entry_id="runtime_started-0", expires_at=NEVER_S)

    for reads_between in (False, True):
        there.clear()
        left = itertools.count(1)

        def die(_name: str, _params: dict[str, Any], left: Any = left) -> None:
            if next(left) == calls:
                raise Dead

        there.before_call = die
        with contextlib.suppress(Dead):
            tell()
        there.before_call = lambda *_: None
        append(log, "behind")
        before = names(log) if reads_between else []
        tell()
        tell()
        whole = names(log)
        assert whole.count("once") == 1
        assert whole[: len(before)] == before
        assert stamps(log) == sorted(set(stamps(log)))


def test_who_comes_after_the_purge_does_not_begin_the_log_anew(there: World, clock: TestClock) -> None:
    """The entry that ends every wait may be written after the purge: it is behind all that a waiter has read."""
    log, items = there.services.log, there.services.session_items
    for number in range(3):
        append(log, str(number))
    late = log.draw(SESSION, expires_at=NEVER_S)
    for _ in range(2):
        items.close_log(SESSION, "tests")
        assert items.purge(SESSION, at_most=100, waits_end=True)
    closing = log.append(SESSION, lambda _: {"type": SESSION_CLOSING}, expires_at=NEVER_S, entry_id=SESSION_CLOSING)
    assert closing.position == 5
    assert [entry.event["type"] for entry in log.read(SESSION, 4)] == [SESSION_CLOSING]
    assert clock.now_ms() == clock.start_ms, "nobody waits for what is missing in a purged log"
    log.append(SESSION, lambda _: {"type": KIND, "name": "late"}, expires_at=NEVER_S, ticket=late)
    clock.pass_ms(3_601_000)
    assert log.head(SESSION) is None, "the head of a purged log expires within the hour"
    [remains] = items.remains((0, 1))
    assert remains.written_at_ms == late.stamp_ms, "what came late is found by who looks for orphans"


def test_a_purge_leaves_what_is_to_be_pushed_and_no_more(there: World) -> None:
    log, items, followers = there.services.log, there.services.session_items, there.services.session_followers
    for number in range(1, 8):
        append(log, str(number))
    for connection_id, position in {"reads little": 4, "reads all": 5}.items():
        followers.add(SESSION, SessionFollower(connection_id, position, cursors=True, expires_at=NEVER_S))
    followers.caught_up(SESSION, "reads all", 5)
    followers.pushed(SESSION, 5, expires_at=NEVER_S)

    followed = followers.of_session(SESSION)
    items.close_log(SESSION, "tests")
    assert items.purge(SESSION, at_most=100, waits_end=True, first_unpushed=followed.first_unpushed)

    assert names(log, live=False) == ["5", "6", "7"]
    assert followers.of_session(SESSION) == followed
    followers.caught_up(SESSION, "reads little", 6)
    followers.pushed(SESSION, 6, expires_at=NEVER_S)
    assert followers.of_session(SESSION).first_unpushed == 7
    assert items.purge(SESSION, at_most=100, waits_end=True)
    assert followers.of_session(SESSION).first_unpushed is None
    assert not names(log)


def test_whose_session_it_was_is_known_unless_its_log_was_closed_before_that_was_noted(there: World) -> None:
    log, items = there.services.log, there.services.session_items
    append(log, "one")
    assert items.removed_from(SESSION) is None, "it is not being removed"
    items.close_log(SESSION, "tests")
    assert items.removed_from(SESSION) == "tests"
    closed_before = {**module.head_key_of("before"), "closed": True, "position": 1, "stampMs": 1, "expiresAt": NEVER_S}
    items._table.put(closed_before)
    assert items.removed_from("before") is None


def test_a_purge_that_leaves_nothing_leaves_nothing(there: World) -> None:
    log, items = there.services.log, there.services.session_items
    append(log, "one")
    log.append_once(SESSION, {"type": KIND, "name": "two"}, entry_id="two", expires_at=NEVER_S)
    assert items.purge(SESSION, at_most=100)
    assert not list(items.remains((0, 1)))


def test_a_reader_in_a_session_that_is_purged_leaves_nothing_behind(there: World, clock: TestClock) -> None:
    log, items = there.services.log, there.services.session_items
    append(log, "first")
    log.draw(SESSION, expires_at=NEVER_S)
    append(log, "behind")

    def purge() -> None:
        items.close_log(SESSION, "tests")
        items.purge(SESSION, at_most=100, waits_end=True)

    clock.plan(500, purge)
    names(log)
    assert items.purge(SESSION, at_most=100, waits_end=True)
    assert [remains.written_at_ms for remains in items.remains((0, 1))] == [None]


def test_a_sealed_log_takes_no_entry_but_the_one_that_ends_waits(there: World, clock: TestClock) -> None:
    log = there.services.log
    append(log, "one")
    last = log.seal(SESSION, expires_at=NEVER_S)
    assert log.seal(SESSION, expires_at=NEVER_S) == last == 2
    for writer in (log, beside(there)):  # whether it knows the log or not
        with pytest.raises(Sealed):
            append(writer, "late")
    log.append_once(SESSION, {"type": KIND, "name": "late"}, entry_id="late", expires_at=NEVER_S)
    assert names(log) == ["one", VOID]
    log.append(SESSION, lambda _: {"type": SESSION_CLOSING}, expires_at=NEVER_S, entry_id=SESSION_CLOSING)
    assert names(log, past_end=True) == ["one", VOID, SESSION_CLOSING]
    assert log.seal(SESSION, expires_at=NEVER_S) == last
    assert stamps(log) == sorted(set(stamps(log)))


def test_a_log_without_entries_is_sealed_too(there: World) -> None:
    log = there.services.log
    assert log.seal(SESSION, expires_at=NEVER_S) == 1
    with pytest.raises(Sealed):
        append(log, "late")
    assert names(log) == [VOID]


def test_who_has_drawn_before_the_seal_is_waited_for(there: World, clock: TestClock) -> None:
    log = there.services.log
    quick, slow = (log.draw(SESSION, expires_at=NEVER_S) for _ in range(2))
    log.seal(SESSION, expires_at=NEVER_S)

    def put(name: str, ticket: Any) -> None:
        log.append(SESSION, lambda _: {"type": KIND, "name": name}, expires_at=NEVER_S, ticket=ticket)

    clock.plan(500, lambda: put("quick", quick))
    assert names(log, past_end=True) == ["quick", VOID, VOID]
    with pytest.raises(Sealed):  # never acknowledged
        put("slow", slow)


def test_a_reader_holds_few_large_entries_at_once(there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE_BYTES", 1_000)
    for number in range(8):
        append(there.services.log, f"{number}" * 400)
    pages = list(there.services.log.pages(SESSION))
    assert [len(page) for page in pages] == [3, 3, 2]
    assert [entry.position for page in pages for entry in page] == list(range(1, 9))
